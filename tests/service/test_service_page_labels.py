"""The page in a browser: labels that the model was not taught."""

from typing import Any

import pytest
from callers import BEARER
from page_visit import ENTRIES, LABELS

pytest_plugins = ["page_fixtures"]
pytestmark = pytest.mark.browser

TEXT = "my card the machine ate"
NEW = "a new label…"
NAME = "Name of the new label"


def offered(select: Any) -> list[str]:
    return [str(text) for text in select.locator("option").all_text_contents()]


def test_a_correction_with_a_new_label_holds_and_all_selects_know_it(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    one = visit(page_service(page_model()))
    panel = one.ask(TEXT)
    before = panel.locator(".label").text_content()
    right, name = panel.get_by_label("The right label"), panel.get_by_label(NAME)
    assert offered(right) == ["Choose…", *LABELS, NEW]
    assert not name.is_visible()
    right.select_option(NEW)
    assert "name of the new label" in one.heard()
    save = panel.get_by_role("button", name="Save")
    for nothing in ("", "   "):
        name.fill(nothing)
        save.click()
        assert name.evaluate("node => !node.validity.valid && node === document.activeElement")
    name.fill("  card   <b>melted</b> ")
    save.click()
    panel.locator(".notice").wait_for()
    assert one.predicted(TEXT) == panel.locator(".label").text_content() == "card <b>melted</b>"
    assert f"{before} " in panel.locator(".notice").inner_text()
    assert not name.is_visible()
    assert right.input_value() == "card <b>melted</b>"
    panel.get_by_role("button", name="Undo").click()
    panel.get_by_text("Taken back").wait_for()
    assert panel.locator(".label").text_content() == before

    labels = ["card <b>melted</b>"]
    assert offered(right) == ["Choose…", *LABELS, *labels, NEW]
    knowledge = one.tab("Knowledge")
    assert offered(knowledge.get_by_label("Label", exact=True)) == ["All", *LABELS, *labels]
    knowledge.get_by_text("Add texts").click()
    assert offered(knowledge.get_by_label("Their label")) == ["Choose…", *LABELS, *labels, NEW]
    knowledge.get_by_text("Changes").click()
    row = knowledge.locator(".log li").filter(has_text="new label 'card <b>melted</b>'")
    row.wait_for()
    assert row.get_by_role("button").count() == 0
    one.tab("About").get_by_text(f"{len(LABELS) + 1} labels").wait_for()


def test_texts_are_added_with_a_new_label_and_found_by_it(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    panel = one.tab("Knowledge")
    panel.get_by_text("Add texts").click()
    panel.locator("textarea").fill(f"{TEXT}\nmoney parcel")
    panel.get_by_label("Their label").select_option(NEW)
    panel.get_by_label(NAME).fill("complaint")
    panel.get_by_role("button", name="Add 2 texts").click()
    panel.get_by_text("2 texts added.").wait_for()
    panel.get_by_label("Label", exact=True).select_option("complaint")
    panel.get_by_text("1 to 2 of 2 entries").wait_for()
    assert one.predicted(TEXT) == "complaint"
    # One that is typed though it is there is no new one.
    panel.locator("textarea").fill("card parcel")
    panel.get_by_label("Their label").select_option(NEW)
    panel.get_by_label(NAME).fill("refund")
    panel.get_by_role("button", name="Add", exact=True).click()
    panel.get_by_text("1 text added.").wait_for()
    assert one.predicted("card parcel") == "refund"
    assert offered(panel.get_by_label("Their label")) == ["Choose…", *LABELS, "complaint", NEW]


def test_a_label_that_somebody_else_adds_is_offered_once_it_is_seen(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    one = visit(page_service(page_model()))
    panel = one.ask(TEXT)
    sent = {"text": TEXT, "label": "complaint", "new_label": True}
    assert one.page.request.post(f"{one.address}v1/knowledge/correct", data=sent, headers=BEARER).ok
    one.ask(TEXT)
    assert panel.locator(".label").text_content() == "complaint"
    assert offered(panel.get_by_label("The right label")) == ["Choose…", *LABELS, "complaint", NEW]
    sent = {"texts": ["parcel parcel"], "labels": ["praise"], "new_labels": True}
    assert one.page.request.post(f"{one.address}v1/knowledge", data=sent, headers=BEARER).ok
    knowledge = one.tab("Knowledge")
    knowledge.get_by_text(f"1 to 20 of {len(ENTRIES) + 2} entries").wait_for()
    assert offered(knowledge.get_by_label("Label", exact=True))[-2:] == ["complaint", "praise"]


def test_what_the_service_refuses_is_said_and_can_be_put_right(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    one = visit(page_service(page_model()))
    panel = one.ask(TEXT)
    panel.get_by_label("The right label").select_option(NEW)
    panel.get_by_label(NAME).fill("up\u202edown")
    panel.get_by_role("button", name="Save").click()
    assert "a new label cannot be named" in panel.get_by_role("alert").inner_text()
    panel.get_by_label(NAME).fill("complaint")
    panel.get_by_role("button", name="Save").click()
    panel.get_by_text("→ complaint 100").wait_for()
    assert panel.get_by_role("alert").count() == 0
    # Another question begins with no choice at all.
    one.ask("parcel")
    assert panel.get_by_label("The right label").input_value() == ""
    assert not panel.get_by_label(NAME).is_visible()


def test_a_new_label_is_named_with_the_keyboard_alone(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    panel = one.ask(TEXT)
    right = panel.get_by_label("The right label")
    right.focus()
    one.page.keyboard.press("End")
    assert right.evaluate("node => node.selectedOptions[0].textContent") == NEW
    one.page.keyboard.press("Tab")
    assert panel.get_by_label(NAME).evaluate("node => node === document.activeElement")
    one.page.keyboard.type("complaint")
    one.page.keyboard.press("Enter")
    panel.get_by_text("→ complaint 100").wait_for()
