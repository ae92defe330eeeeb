"""The page in a browser, beside a real service: asking, correcting, and looking after the knowledge."""

import json
import re
from functools import partial
from typing import Any

import pytest
from page_visit import ENTRIES, LABELS, other_label

import hundredth
from hundredth.runtime.knowledge import Given

pytest_plugins = ["page_fixtures"]
pytestmark = pytest.mark.browser

TEXT = "my card the machine ate"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def percent(text: str) -> int:
    found = re.search(r"(\d+)\s%", text)
    assert found is not None, text
    return int(found[1])


def test_an_answer_shows_what_the_model_says(page_model: Any, page_service: Any, visit: Any) -> None:
    folder = page_model()
    address = page_service(folder)
    with hundredth.load(folder, threads=1) as model:
        why = model.explain(TEXT)
    one = visit(address)
    answer = one.ask(TEXT).locator(".answer")
    assert answer.locator(".label").text_content() == why.label
    names = answer.locator(".bars .name").all_text_contents()
    shares = [percent(text) for text in answer.locator(".bars .number").all_text_contents()]
    ranked = sorted(why.probabilities.items(), key=lambda item: -item[1])
    assert names == [name for name, _ in ranked]
    assert shares == [pytest.approx(100 * share, abs=0.51) for _, share in ranked]
    assert f"about {round(100 * why.probability)} should be right" in answer.inner_text()
    assert why.label in one.heard()


def test_why_names_the_entries_with_their_shares_and_what_would_be_without_them(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    folder = page_model()
    address = page_service(folder)
    with hundredth.load(folder, threads=1) as model:
        why = model.explain(TEXT)
    rows = visit(address).ask(TEXT).locator(".neighbour")
    assert rows.count() == len(why.neighbours) == 4
    for row, neighbour in zip(rows.all(), why.neighbours, strict=True):
        said = row.inner_text()
        assert neighbour.texts[0] in said
        assert row.locator(".chip").text_content() == neighbour.label
        assert neighbour.origin in said
        assert f"similarity {neighbour.similarity:.2f}" in said
        assert f"without it: {neighbour.label_without} {round(100 * neighbour.probability_without)}" in said
        assert percent(row.locator(".number").inner_text().replace(".", "")) > 0


def test_below_the_threshold_there_is_no_answer(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    panel = one.ask(TEXT)
    label = panel.locator(".label").text_content()
    probability = percent(panel.locator(".sure").inner_text())
    number = panel.get_by_label("Answer only above, in percent")
    number.fill(str(probability + 2))
    assert panel.locator(".label").text_content() == "No answer"
    assert f"The likeliest is {label}" in panel.locator(".confidence").inner_text()
    number.press("Tab")
    assert one.heard().startswith("No answer")
    panel.get_by_label("Answer only above", exact=True).fill(str(probability - 2))
    assert panel.locator(".label").text_content() == label
    assert number.input_value() == str(probability - 2)


def test_it_says_how_near_a_text_is(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    cases = [
        (0.02, "Farther from anything it knows than 98 % of the development texts: may be out of scope."),
        (0.0, "Farther from anything it knows than all of the development texts: may be out of scope."),
        (0.6, "At least as near to what it knows as 60 % of the development texts."),
        (1.0, "At least as near to what it knows as all of the development texts."),
        (None, "this model keeps no record to judge that by"),
    ]
    for quantile, expected in cases:
        change = partial(changed, similarity_quantile=quantile)
        one.page.route("**/v1/explain", change, times=1)
        near = one.ask(TEXT).locator(".near")
        assert expected in near.inner_text().replace("\u00a0", " ")
        assert ("far" in near.get_attribute("class").split()) is ("out of scope" in expected)


def changed(route: Any, **values: Any) -> None:
    """Answer as the service does, but for some values."""
    route.fulfill(json={**route.fetch().json(), **values})


def test_a_correction_changes_the_answer_and_can_be_taken_back(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    one = visit(page_service(page_model()))
    panel = one.ask(TEXT)
    before = panel.locator(".label").text_content()
    right = other_label(before)
    panel.get_by_label("The right label").select_option(right)
    panel.get_by_label("Note").fill("as said on the phone")
    panel.get_by_role("button", name="Save").click()
    notice = panel.locator(".notice")
    notice.wait_for()
    assert re.search(rf"{before} \d+\s% → {right} 100\s%", notice.inner_text())
    assert panel.locator(".label").text_content() == right
    assert "A person said so" in panel.locator(".confidence").inner_text()
    assert "decided alone" in panel.locator(".why").inner_text()
    assert f"without it: {before}" in panel.locator(".neighbour").inner_text()
    panel.get_by_role("button", name="Undo").click()
    panel.get_by_text("Taken back").wait_for()
    assert panel.locator(".label").text_content() == before
    log = one.tab("Knowledge")
    log.get_by_text("Changes").click()
    rows = log.locator(".log li")
    rows.first.wait_for()
    assert "took back change" in rows.nth(0).inner_text()
    assert "Ada corrected" in rows.nth(1).inner_text()
    assert "as said on the phone" in rows.nth(1).inner_text()


def test_a_name_in_any_letters_comes_into_the_log(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()), token=None)
    panel = one.ask(TEXT)
    one.enter_token(panel, name="Žofie 李")
    panel.get_by_label("The right label").select_option(other_label(panel.locator(".label").text_content()))
    panel.get_by_role("button", name="Save").click()
    panel.locator(".notice").wait_for()
    log = one.tab("Knowledge")
    log.get_by_text("Changes").click()
    assert log.locator(".log li").first.inner_text().startswith("Žofie 李 corrected")


def test_a_newer_question_cancels_the_older(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    one.page.route("**/v1/explain", hold, times=1)
    area = one.panel("Ask").locator("textarea")
    area.fill("where is the parcel")
    with one.page.expect_event("requestfailed") as failed:
        with one.page.expect_request("**/v1/explain"):
            area.press("Control+Enter")
        panel = one.ask("refund money")
    assert "where is the parcel" in failed.value.post_data
    before = one.predicted("refund money")
    assert panel.locator(".label").text_content() == before

    # The same where a correction was just being asked anew: it is saved, and the next one can be.
    one.page.route("**/v1/explain", hold, times=1)
    right = panel.get_by_label("The right label")
    right.select_option(other_label(before))
    with one.page.expect_request("**/v1/explain"):
        panel.get_by_role("button", name="Save").click()
    one.ask("refund money")
    assert panel.locator(".label").text_content() == other_label(before)
    right.select_option(before)
    panel.get_by_role("button", name="Save").click()
    panel.get_by_text(f"→ {before} 100").wait_for()
    assert len(held) == 2


def test_the_knowledge_is_looked_through_in_pages_and_filtered(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    panel = visit(page_service(page_model())).tab("Knowledge")
    total = len(ENTRIES)
    panel.get_by_text(f"1 to 20 of {total} entries").wait_for()
    panel.get_by_role("button", name="Next").click()
    panel.get_by_text(f"21 to 40 of {total} entries").wait_for()
    assert panel.locator(".entry .texts").first.text_content() == ENTRIES[20][0][0]
    panel.get_by_role("button", name="Next").click()
    panel.get_by_text(f"41 to {total} of {total} entries").wait_for()
    assert panel.get_by_role("button", name="Next").count() == 0
    panel.get_by_role("button", name="Previous").click()
    panel.get_by_text(f"21 to 40 of {total} entries").wait_for()

    panel.get_by_label("Contains").fill("BACK")
    panel.get_by_label("Label", exact=True).select_option("refund")
    expected = [texts[0] for texts, label in ENTRIES if "back" in texts[0] and label == 1]
    assert len(expected) == 2
    panel.get_by_text(f"1 to {len(expected)} of").wait_for()
    assert panel.locator(".entry .texts").all_text_contents() == expected
    panel.get_by_label("Origin").select_option("generated")
    panel.get_by_text("No entry fits.").wait_for()


def test_the_least_sure_entries_are_looked_at_and_relabelled(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    folder = page_model()
    chances = {"back my": (0.9, 0.1, 0.0), "card back": (0.4, 0.35, 0.25), "refund parcel": (0.5, 0.1, 0.4)}
    with hundredth.load(folder, threads=1) as model:
        soft = [dict(zip(LABELS, row, strict=True)) for row in chances.values()]
        model.store.put([Given((text,), None, one, "generated") for text, one in zip(chances, soft, strict=True)])
    panel = visit(page_service(folder)).tab("Knowledge")
    panel.get_by_text(f"of {len(ENTRIES) + 3} entries").wait_for()
    panel.get_by_label("The least sure").check()
    panel.get_by_text("The least sure of 3 entries").wait_for()
    assert panel.locator(".entry .texts").all_text_contents() == ["card back", "refund parcel", "back my"]
    first = panel.locator(".entry").first
    first.get_by_role("button", name="Relabel").click()
    first.get_by_label("Its right label").select_option("delivery")
    first.get_by_role("button", name="Save").click()
    panel.get_by_text("The least sure of 2 entries").wait_for()
    assert panel.locator(".entry .texts").all_text_contents() == ["refund parcel", "back my"]
    panel.get_by_label("Nearest in meaning to").fill(TEXT)
    panel.get_by_role("button", name="Search").click()
    panel.get_by_text("nearest first").wait_for()
    assert not panel.get_by_label("The least sure").is_checked()


def test_the_knowledge_is_searched_by_meaning(page_model: Any, page_service: Any, visit: Any) -> None:
    folder = page_model()
    address = page_service(folder)
    with hundredth.load(folder, threads=1) as model:
        hits = model.store.search(TEXT, 20)
    panel = visit(address).tab("Knowledge")
    panel.get_by_label("Nearest in meaning to").fill(TEXT)
    panel.get_by_role("button", name="Search").click()
    panel.get_by_text("nearest first").wait_for()
    rows = panel.locator(".entry").all_inner_texts()
    assert len(rows) == len(hits)
    for row, hit in zip(rows, hits, strict=True):
        assert f"#{hit.entry.id}" in row
        assert f"similarity {hit.similarity:.2f}" in row


def test_an_entry_that_decided_is_one_link_away(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    link = one.ask(TEXT).locator(".neighbour a").first
    name = link.get_attribute("aria-label")
    link.click()
    panel = one.panel("Knowledge")
    panel.get_by_text(name, exact=True).wait_for()
    assert panel.locator(".entry").count() == 1
    assert percent(panel.locator(".entry .bars .number").first.inner_text()) >= 85
    assert panel.locator(".title").evaluate("node => node === document.activeElement")
    panel.get_by_role("link", name="All entries").click()
    panel.get_by_text("1 to 20 of").wait_for()
    one.page.go_back()
    panel.get_by_text(name, exact=True).wait_for()
    panel.get_by_role("button", name=f"Delete {name.lower()}", exact=True).click()
    panel.get_by_role("group").get_by_role("button", name="Delete").click()
    panel.get_by_text(f"{name} is deleted.").wait_for()
    panel.get_by_text(f"1 to 20 of {len(ENTRIES) - 1} entries").wait_for()


def test_added_texts_decide_at_once_and_can_be_taken_back(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    before = one.ask(TEXT).locator(".label").text_content()
    right = other_label(before)
    panel = one.tab("Knowledge")
    panel.get_by_text("Add texts").click()
    panel.locator("textarea").fill(f"{TEXT}\n\n  the parcel is back  \n")
    panel.get_by_label("Their label").select_option(right)
    panel.get_by_role("button", name="Add 2 texts").click()
    panel.get_by_text("2 texts added.").wait_for()
    panel.get_by_text(f"of {len(ENTRIES) + 2} entries").wait_for()
    panel.get_by_label("Origin").select_option("user")
    panel.get_by_text("1 to 2 of 2 entries").wait_for()
    assert panel.locator(".entry .texts").all_text_contents() == [TEXT, "the parcel is back"]
    assert one.predicted(TEXT) == right
    panel.locator(".notice").get_by_role("button", name="Undo").click()
    panel.get_by_text("No entry fits.").wait_for()
    assert one.predicted(TEXT) == before


def test_an_entry_is_deleted_only_when_confirmed_and_comes_back(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    panel = visit(page_service(page_model())).tab("Knowledge")
    panel.get_by_role("button", name="Delete entry 2", exact=True).click()
    question = panel.get_by_role("group", name="Delete entry 2?")
    assert question.get_by_role("button", name="Keep").evaluate("node => node === document.activeElement")
    question.press("Escape")
    assert question.count() == 0
    assert panel.get_by_role("button", name="Delete entry 2", exact=True).evaluate(
        "node => node === document.activeElement"
    )
    panel.get_by_role("button", name="Delete entry 2", exact=True).click()
    question.get_by_role("button", name="Delete").click()
    panel.get_by_text("Entry 2 is deleted.").wait_for()
    panel.get_by_text(f"of {len(ENTRIES) - 1} entries").wait_for()
    assert panel.get_by_role("link", name="Entry 2", exact=True).count() == 0
    panel.get_by_text("Changes").click()
    panel.get_by_role("button", name="Undo change").first.click()
    panel.get_by_text(f"of {len(ENTRIES)} entries").wait_for()
    assert panel.get_by_role("link", name="Entry 2", exact=True).count() == 1
    panel.get_by_text("taken back", exact=True).wait_for()


def test_an_entry_is_given_another_label_which_holds_for_its_text(
    page_model: Any, page_service: Any, visit: Any
) -> None:
    one = visit(page_service(page_model()))
    text, given = " ".join(ENTRIES[1][0]), LABELS[ENTRIES[1][1]]
    other, before = other_label(given), one.predicted(text)
    panel = one.tab("Knowledge")
    relabel = panel.get_by_role("button", name="Relabel entry 2", exact=True)
    relabel.click()
    group = panel.get_by_role("group", name="Relabel entry 2", exact=True)
    label = group.get_by_label("Its right label")
    assert label.evaluate("node => node === document.activeElement")
    label.press("Escape")
    assert relabel.evaluate("node => node === document.activeElement")
    relabel.click()
    label.select_option(other)
    group.get_by_role("button", name="Save").click()
    panel.get_by_text(f"Entry {len(ENTRIES) + 1} says {other}, in place of entry 2.").wait_for()
    panel.get_by_role("link", name="Entry 2", exact=True).wait_for(state="detached")
    assert one.predicted(text) == other
    panel.get_by_role("button", name="Undo", exact=True).click()
    panel.get_by_role("link", name="Entry 2", exact=True).wait_for()
    assert one.predicted(text) == before


def test_what_cannot_be_undone_says_why(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    panel = one.ask(TEXT)
    label = panel.get_by_label("The right label")
    for choice in LABELS[:2]:
        label.select_option(choice)
        panel.get_by_role("button", name="Save").click()
        panel.get_by_text(f"→ {choice} 100").wait_for()
    knowledge = one.tab("Knowledge")
    knowledge.get_by_text("Changes").click()
    first = knowledge.locator(".log li").filter(has_text="corrected").last
    first.get_by_role("button", name="Undo change").click()
    assert "undo that first" in first.get_by_role("alert").inner_text()


def test_texts_labels_and_the_card_are_shown_and_never_run(page_model: Any, page_service: Any, visit: Any) -> None:
    """Silent otherwise: what somebody wrote into a ticket would run in the page of whoever looks at it."""
    folder = page_model(
        labels=(HOSTILE, "refund", "delivery"), entries=[((f"card {HOSTILE}",), 0)], fields=("<b>text",)
    )
    card = f"# {HOSTILE}\n\n| <i>a</i> | b |\n|---|---|\n| {HOSTILE} | [x](javascript:alert) |\n\n- `{HOSTILE}`"
    (folder / "README.md").write_text(card)
    manifest = folder / "hundredth.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "task": {**content["task"], "name": HOSTILE}}))
    one = visit(page_service(folder))
    panel = one.ask(HOSTILE)
    assert HOSTILE in panel.locator(".neighbour .passage").inner_text()
    panel.get_by_label("The right label").select_option(HOSTILE)
    panel.get_by_label("Note").fill(HOSTILE)
    panel.get_by_role("button", name="Save").click()
    panel.locator(".notice").wait_for()
    assert HOSTILE in panel.locator(".notice").inner_text()
    panel = one.tab("Knowledge")
    panel.get_by_text("Changes").click()
    panel.get_by_text(f"“{HOSTILE}”").wait_for()
    assert HOSTILE in panel.locator(".entry").first.inner_text()
    panel = one.tab("About")
    panel.get_by_role("heading", name=HOSTILE).wait_for()
    assert panel.locator("td").all_inner_texts() == [HOSTILE, "x"]
    assert one.page.locator("#task").text_content() == HOSTILE
    made = "img, body script, iframe, i, b, a[href^=javascript], [onerror]"
    assert one.page.locator(made).count() == 0


def test_the_page_says_what_the_model_is(page_model: Any, page_service: Any, visit: Any) -> None:
    folder = page_model()
    (folder / "README.md").write_text(
        "# The card\n\nMade **for tests**, see `code`.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    (folder / "stage.json").write_text(
        json.dumps({"metrics": {"dev": {"score": 0.875, "ece_before": 0.21, "ece": 0.125}, "entries": 40}})
    )
    one = visit(page_service(folder), path="#/about")
    panel = one.panel("About")
    panel.get_by_role("heading", name="The card").wait_for()
    assert panel.locator("strong").inner_text() == "for tests"
    assert panel.locator("td").all_inner_texts() == ["1", "2"]
    said = re.sub(r"\s+", " ", panel.inner_text())
    for part in (
        "3 labels",
        *LABELS,
        f"{len(ENTRIES)} entries",
        "dev.score 0.875",
        "ece before 0.21",
        "ece 0.125",
    ):
        assert part in said


def test_a_reload_keeps_the_tab_and_the_title_names_it(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    one.tab("Knowledge").locator(".entry").first.wait_for()
    assert one.page.title().startswith("Knowledge – tickets")
    one.page.reload()
    one.panel("Knowledge").locator(".entry").first.wait_for()
    assert one.panel("Ask").is_hidden()
    one.page.go_back()
    one.panel("Ask").locator("textarea").wait_for()
