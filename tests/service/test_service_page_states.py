"""The page in a browser, where not all is well: no token, no service, no knowledge, too much of something."""

from typing import Any

import pytest
from callers import TOKEN

pytest_plugins = ["page_fixtures"]
pytestmark = pytest.mark.browser

TEXT = "my card the machine ate"


def kept(one: Any) -> list[Any]:
    """What the page keeps beyond a reload: the token in its two storages, and cookies."""
    storages = one.page.evaluate("[sessionStorage, localStorage].map((each) => each.getItem('hundredth.token'))")
    return [*storages, one.page.context.cookies()]


def test_a_wrong_token_is_refused_and_the_right_one_kept_in_the_tab(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    one = visit(page_service(page_model()), token=None)
    panel = one.ask(TEXT)
    assert panel.get_by_role("button", name="Save").count() == 0
    one.enter_token(panel, "not-the-token-at-all")
    assert "not the token" in panel.get_by_role("alert").inner_text()
    assert kept(one) == [None, None, []]
    one.enter_token(panel)
    panel.get_by_role("button", name="Save").wait_for()
    assert panel.get_by_label("The right label").evaluate("node => node === document.activeElement")
    assert kept(one) == [TOKEN, None, []]
    menu = one.page.locator(".access")
    assert menu.inner_text() == "Editing as Ada"
    menu.locator("summary").click()
    menu.get_by_role("button", name="Forget the token").click()
    panel.locator("form.identity").wait_for()
    assert kept(one) == [None, None, []]


def test_a_token_that_is_no_longer_right_is_asked_for_anew(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()), token="the-token-of-yesterday")
    panel = one.ask(TEXT)
    panel.get_by_label("The right label").select_option("refund")
    panel.get_by_role("button", name="Save").click()
    assert "token is not the right one" in panel.get_by_role("alert").inner_text()
    one.enter_token(panel)
    panel.get_by_role("alert").wait_for(state="detached")
    panel.get_by_role("button", name="Save").click()
    panel.get_by_text("→ refund 100").wait_for()


def test_without_a_token_configured_the_page_is_read_only_and_says_how_to_change_that(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    one = visit(page_service(page_model(), token_file=None), token=None)
    panel = one.ask(TEXT)
    assert "read-only" in panel.inner_text()
    assert "hundredth serve MODEL --token-file FILE" in panel.inner_text()
    assert panel.get_by_role("button", name="Save").count() == 0
    knowledge = one.tab("Knowledge")
    knowledge.locator(".entry").first.wait_for()
    assert knowledge.get_by_role("button", name="Delete").count() == 0
    knowledge.get_by_text("Add texts").click()
    assert "read-only" in knowledge.inner_text()
    assert one.page.locator(".access summary").inner_text() == "Read-only"


def test_where_everyone_may_change_the_knowledge_no_token_is_asked_for(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    one = visit(page_service(page_model(), token_file=None, allow_anonymous_writes=True), token=None)
    panel = one.ask(TEXT)
    assert one.page.locator(".access summary").inner_text() == "Editing"
    assert panel.locator("form.identity").count() == 0
    panel.get_by_label("The right label").select_option("refund")
    panel.get_by_role("button", name="Save").click()
    panel.get_by_text("→ refund 100").wait_for()


def test_protected_reads_ask_for_the_token_first(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model(), protect_reads=True), token=None)
    start = one.page.locator("#start")
    start.get_by_role("alert").wait_for()
    assert one.page.get_by_role("tab").count() == 0
    one.enter_token(start)
    one.ask(TEXT).locator(".label").wait_for()
    assert one.page.get_by_role("alert").count() == 0


def test_what_goes_wrong_is_said_and_can_be_tried_again(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))

    def busy(route: Any) -> None:
        error = {"code": "too_many", "message": "too many requests wait"}
        route.fulfill(status=429, headers={"Retry-After": "3"}, json={"error": error})

    cases = [
        (lambda route: route.abort(), "The service does not answer"),
        (busy, "too many requests wait Try again in 3 s."),
        (lambda route: route.fulfill(status=502, body="<html>Bad gateway</html>"), "The service answered 502"),
        (lambda route: route.fulfill(status=200, body="<html>Log in first</html>"), "The service answered 200"),
    ]
    for answer, expected in cases:
        one.page.route("**/v1/explain", answer, times=1)
        panel = one.ask(TEXT)
        alert = panel.get_by_role("alert")
        assert expected in alert.inner_text()
        assert panel.locator(".why").count() == 0
        alert.get_by_role("button", name="Try again").click()
        panel.locator(".label").wait_for()

    one.page.route("**/v1/knowledge?*", lambda route: route.abort(), times=1)
    panel = one.tab("Knowledge")
    panel.get_by_role("button", name="Try again").click()
    panel.locator(".entry").first.wait_for()
    one.page.route("**/v1/model", lambda route: route.abort(), times=2)
    panel = one.tab("About")
    panel.get_by_role("alert").wait_for()
    one.page.reload()
    one.page.locator("#start").get_by_role("button", name="Try again").click()
    panel.locator(".card").first.wait_for()


def test_a_text_is_needed_and_a_long_one_is_taken_or_refused(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    one = visit(page_service(page_model()))
    panel = one.ask("   ")
    assert "There is no text" in panel.get_by_role("alert").inner_text()
    long = "my card " * 1250
    panel = one.ask(long)
    panel.locator(".label").wait_for()
    panel.get_by_label("The right label").select_option("refund")
    panel.get_by_role("button", name="Save").click()
    panel.get_by_text("→ refund 100").wait_for()
    passage = panel.locator(".neighbour .passage")
    assert len(passage.inner_text()) < 300
    panel.get_by_role("button", name="Show all", exact=True).click()
    assert passage.text_content() == long
    panel = one.ask(long * 3)
    assert "longer than 20000 characters" in panel.get_by_role("alert").inner_text()


def test_many_labels_are_shown_on_demand(page_model: Any, page_service: Any, visit: Any) -> None:
    labels = tuple(f"intent_{number:03d}" for number in range(150))
    one = visit(page_service(page_model(labels=labels)))
    panel = one.ask(TEXT)
    bars = panel.locator(".answer .bars li")
    assert bars.count() == 8
    more = panel.get_by_role("button", name="Show all 150 labels")
    more.click()
    assert bars.count() == 150
    assert panel.get_by_role("region", name="All labels").evaluate("node => node.scrollHeight > node.clientHeight")
    assert panel.get_by_label("The right label").locator("option").count() == 152  # none, and a new one
    panel.get_by_role("button", name="Show 8 labels").click()
    assert bars.count() == 8


def test_an_empty_store_and_a_model_without_one_are_told_apart(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    one = visit(page_service(page_model(entries=())))
    panel = one.ask(TEXT)
    assert "The knowledge store is empty: the classifier decides alone." in panel.locator(".why").inner_text()
    one.tab("Knowledge").get_by_text("The store is empty.").wait_for()
    one = visit(page_service(page_model(entries=None)))
    panel = one.ask(TEXT)
    assert "This model has no knowledge store" in panel.locator(".why").inner_text()
    assert "cannot be corrected" in panel.inner_text()
    one.tab("Knowledge").get_by_text("This model has no knowledge store").wait_for()
    one.tab("About").get_by_text("it is a plain classifier").wait_for()


def test_no_undo_is_offered_for_what_stays(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    panel = one.ask(TEXT)
    panel.get_by_label("The right label").select_option("refund")
    panel.get_by_role("button", name="Save").click()
    panel.locator(".notice").wait_for()
    knowledge = one.tab("Knowledge")
    knowledge.get_by_text("Changes").click()
    rows = knowledge.locator(".log li")
    rows.first.wait_for()
    assert [row.get_by_role("button", name="Undo change").count() for row in rows.all()] == [1, 0]
    assert "#1" in rows.last.inner_text()


def test_each_field_of_a_task_has_its_place(page_model: Any, page_service: Any, visit: Any) -> None:
    entries = [(("my card", "the machine ate"), 0), (("money", "is back"), 1)]
    one = visit(page_service(page_model(entries=entries, fields=("premise", "the_claim"))))
    panel = one.ask("my card", "is back")
    assert panel.locator("form label").all_text_contents()[:2] == ["Premise", "The claim"]
    names = panel.locator(".neighbour").first.locator("dt").all_text_contents()
    assert names == ["premise", "the_claim"]
    panel = one.tab("Knowledge")
    panel.get_by_text("Add texts").click()
    for area, text in zip(panel.locator("textarea").all(), ("where", "is my parcel"), strict=True):
        area.fill(text)
    panel.get_by_label("Their label").select_option("delivery")
    panel.get_by_role("button", name="Add", exact=True).click()
    panel.get_by_text("1 text added.").wait_for()
    panel.get_by_text("1 to 3 of 3 entries").wait_for()
    assert panel.locator(".entry").last.locator("dd").all_text_contents() == ["where", "is my parcel"]
    panel.get_by_label("Nearest in meaning: Premise").fill("where")
    panel.get_by_label("Nearest in meaning: The claim").fill("is my parcel")
    panel.get_by_role("button", name="Search").click()
    panel.get_by_text("nearest first").wait_for()
    assert panel.locator(".entry").first.locator("dd").all_text_contents() == ["where", "is my parcel"]


def test_a_model_that_has_changed_is_noticed(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))

    def renewed(route: Any) -> None:
        route.fulfill(json={**route.fetch().json(), "model_version": "another"})

    one.page.route("**/v1/explain", renewed, times=1)
    panel = one.ask(TEXT)
    panel.get_by_role("button", name="Reload the page").click()
    assert one.ask(TEXT).get_by_text("another model").count() == 0
