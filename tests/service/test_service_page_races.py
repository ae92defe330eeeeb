"""The page in a browser, where answers come late, or in another order than they were asked for."""

from typing import Any

import pytest
from page_visit import ENTRIES, other_label

pytest_plugins = ["page_fixtures"]
pytestmark = pytest.mark.browser

TEXT = "my card the machine ate"
OTHER = "where is the parcel"


def hold(one: Any, path: str, held: list[Any]) -> None:
    """Let the next request wait; it is to be continued."""

    def keep(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    # Not `times=1`: with the last route gone, the browser lets go of all that waits.
    one.page.route(path, keep)


def saving(one: Any, held: list[Any]) -> tuple[Any, str]:
    """Correct an answer, and hold the request; return the panel and the label."""
    panel = one.ask(TEXT)
    right = other_label(panel.locator(".label").text_content())
    hold(one, "**/v1/knowledge/correct", held)
    panel.get_by_label("The right label").select_option(right)
    panel.get_by_label("Note").fill("ticket 17")
    with one.page.expect_request("**/v1/knowledge/correct"):
        panel.get_by_role("button", name="Save").click()
    return panel, right


def test_a_save_that_ends_while_another_text_is_asked_leaves_the_question_alone(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    """Silent otherwise: the first text is asked again, and the question is never answered."""
    one, held, asked = visit(page_service(page_model())), [], []
    panel, right = saving(one, held)
    hold(one, "**/v1/explain", asked)
    panel.locator("textarea").fill(OTHER)
    with one.page.expect_request("**/v1/explain"):
        panel.get_by_role("button", name="Ask", exact=True).click()
    held[0].continue_()
    panel.get_by_text("Saved, for the text asked before.").wait_for()
    asked[0].continue_()
    panel.locator("form:not([aria-busy]) ~ .answers .label").wait_for()
    panel.locator(".notice").wait_for(state="detached")
    assert panel.locator(".label").text_content() == one.predicted(OTHER)
    assert one.predicted(TEXT) == right


def test_a_save_that_ends_after_another_answer_is_not_told_of_that(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    """Silent otherwise: it says so of the wrong text, and presets the label for it."""
    one, held = visit(page_service(page_model())), []
    panel, right = saving(one, held)
    one.ask(OTHER)
    held[0].continue_()
    panel.get_by_text("Saved, for the text asked before.").wait_for()
    assert one.heard() == "Saved, for the text asked before."
    assert panel.get_by_label("The right label").input_value() == ""
    assert panel.get_by_label("Note").input_value() == ""
    assert panel.locator(".label").text_content() == one.predicted(OTHER)
    assert one.predicted(TEXT) == right
    panel.get_by_role("button", name="Undo").click()
    panel.get_by_text("Taken back, for the text asked before.").wait_for()
    assert one.predicted(TEXT) != right


def test_an_answer_can_be_corrected_while_another_text_is_asked(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    one, asked = visit(page_service(page_model())), []
    panel = one.ask(TEXT)
    right = other_label(panel.locator(".label").text_content())
    panel.get_by_label("The right label").select_option(right)
    hold(one, "**/v1/explain", asked)
    panel.locator("textarea").fill(OTHER)
    with one.page.expect_request("**/v1/explain"):
        panel.get_by_role("button", name="Ask", exact=True).click()
    panel.get_by_role("button", name="Save").click()
    panel.get_by_text("Saved, for the text asked before.").wait_for()
    asked[0].continue_()
    panel.locator("form:not([aria-busy]) ~ .answers .label").wait_for()
    assert panel.locator(".label").text_content() == one.predicted(OTHER)
    assert one.predicted(TEXT) == right


def test_what_is_added_is_told_though_the_log_cannot_be_read(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    one = visit(page_service(page_model()))
    panel = one.tab("Knowledge")
    panel.get_by_text("Add texts").click()
    one.page.route("**/v1/knowledge/log*", lambda route: route.abort())
    panel.locator("textarea").fill(TEXT)
    panel.get_by_label("Their label").select_option("refund")
    panel.get_by_role("button", name="Add", exact=True).click()
    panel.get_by_text("1 text added.").wait_for()
    panel.get_by_text(f"of {len(ENTRIES) + 1} entries").wait_for()
    assert one.predicted(TEXT) == "refund"
    assert panel.locator("details:has(textarea) [role=alert]").count() == 0
    panel.locator(".notice").get_by_role("button", name="Undo").click()
    panel.get_by_text(f"of {len(ENTRIES)} entries").wait_for()


def test_an_entry_can_be_opened_again_from_a_list_that_came_after_it(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    """Silent otherwise: the address is still that of the entry, and the link leads nowhere."""
    one = visit(page_service(page_model()))
    panel = one.tab("Knowledge")
    opened = panel.get_by_text("Entry 3", exact=True)
    for find in (
        lambda: panel.get_by_label("Origin").select_option("gold"),
        lambda: (panel.get_by_label("Origin").select_option(""), panel.get_by_text("1 to 20 of").wait_for()),
    ):
        panel.get_by_text(f"1 to 20 of {len(ENTRIES)}").wait_for()
        panel.get_by_role("link", name="Entry 3", exact=True).click()
        opened.wait_for()
        assert one.page.url.endswith("#/knowledge/3")
        find()
        panel.get_by_text("1 to 20 of").wait_for()
        assert one.page.url.endswith("#/knowledge")
