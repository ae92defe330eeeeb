"""The page for everyone: by keyboard, by ear, on a narrow screen, in the dark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["page_fixtures"]
pytestmark = pytest.mark.browser

TEXT = "my card the machine ate"
OUTSIDE = """() => [...document.querySelectorAll("body *:not(.unseen)")].filter(node => {
  const { width, left, right } = node.getBoundingClientRect();
  return width > 0 && (left < 0 || right > document.documentElement.clientWidth + 1);
}).map(node => node.outerHTML.slice(0, 80))"""
LOOK = (Path(__file__).parent / "page_look.js").read_text()


def states(one: Any) -> Iterator[str]:
    """Bring the page into one state after the other, with all open that can be opened; yield what it shows."""
    one.panel("Ask").locator("textarea").wait_for()
    yield "nothing asked"
    panel = one.ask(TEXT)
    yield "an answer, and the token is asked for"
    one.enter_token(panel)
    panel.get_by_label("The right label").select_option("refund")
    panel.get_by_role("button", name="Save").click()
    panel.locator(".notice").wait_for()
    panel.get_by_label("The right label").select_option("a new label…")
    yield "a correction, and a new label is being named"
    panel = one.ask("parcel")
    panel.get_by_label("Answer only above, in percent").fill("99")
    panel.locator("textarea").fill(f"{TEXT} again")
    one.page.locator(".access summary").click()
    yield "no answer, another text by now, the menu open"
    one.page.keyboard.press("Escape")
    panel = one.tab("Knowledge")
    panel.get_by_text("Add texts").click()
    panel.get_by_label("Their label").select_option("a new label…")
    panel.get_by_text("Changes").click()
    panel.get_by_text("Soft label").first.click()
    panel.get_by_role("button", name="Delete entry").last.click()
    panel.locator(".log li").first.wait_for()
    yield "the knowledge"
    one.page.route("**/v1/knowledge/search", lambda route: route.abort())
    panel.get_by_label("Nearest in meaning to").fill("card")
    panel.get_by_role("button", name="Search").click()
    panel.get_by_role("alert").wait_for()
    yield "an error"
    one.tab("About").locator(".card").first.wait_for()
    yield "the model"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_and_controls_have_names(
    page_model: Any, page_service: Any, visit: Any, scheme: str
) -> None:
    """The contrast that WCAG 2.2 AA asks for, names of controls, references between parts, sizes of targets."""
    folder = page_model()
    (folder / "README.md").write_text("# A card\n\n| a | b |\n|---|---|\n| 1 | `2` |\n\n```\ncode\n```\n")
    one = visit(page_service(folder), token=None, scheme=scheme)
    for state in states(one):
        look = one.page.evaluate(LOOK)
        assert look["faults"] == [], state
        assert look["texts"] > 10


@pytest.mark.parametrize("width", [320, 640])
def test_nothing_is_cut_off_on_a_narrow_screen(page_model: Any, page_service: Any, visit: Any, width: int) -> None:
    """320 is the narrowest that WCAG asks for; 640 is 1280 at 200 %."""
    labels = ("a_label_of_very_many_letters_without_any_break_in_it", "refund", "delivery")
    entries = [(("w" * 200,), 0), (("my card",), 1)]
    one = visit(page_service(page_model(labels=labels, entries=entries)), token=None, width=width)
    for state in states(one):
        assert one.page.evaluate(OUTSIDE) == [], state


def test_the_keyboard_alone_is_enough(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    one.panel("Ask").locator("textarea").wait_for()

    def press(*keys: str) -> str:
        for key in keys:
            one.page.keyboard.press(key)
        focused = "document.activeElement"
        outline = one.page.evaluate(f"getComputedStyle({focused}).outlineStyle")
        assert outline != "none", one.page.evaluate(f"{focused}.outerHTML")
        return str(one.page.evaluate(f"({focused}.labels?.[0] ?? {focused}).textContent.trim()"))

    assert press("Tab") == "Editing as Ada"
    assert press("Enter", "Tab") == "Forget the token"
    assert press("Escape") == "Editing as Ada"
    assert press("Tab") == "Ask"
    assert press("ArrowRight") == "Knowledge"
    assert press("End") == "About"
    assert press("ArrowRight") == "Ask"
    assert press("Tab") == "Text"
    one.page.keyboard.type(TEXT)
    press("Control+Enter")
    panel = one.panel("Ask")
    panel.locator(".label").wait_for()
    assert press("Tab") == "Ask"
    assert press("Tab") == "Answer only above"
    assert press("Tab", "Tab") == "The right label"
    one.page.keyboard.type("refund")
    assert press("Tab") == "Note, if you like"
    press("Enter")
    panel.locator(".notice").wait_for()
    assert press("Tab") == "Save"
    assert press("Tab") == "Undo"
    press("Enter")
    panel.get_by_text("Taken back").wait_for()
    assert panel.locator(".notice").evaluate("node => node === document.activeElement")


def test_what_happens_is_told_to_screen_readers(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    panel = one.ask(TEXT)
    label = panel.locator(".label").text_content()
    assert one.heard().startswith(f"{label}, ")
    assert "similarity" in one.heard()
    panel.get_by_label("The right label").select_option("refund")
    panel.get_by_role("button", name="Save").click()
    panel.locator(".notice").wait_for()
    assert one.heard().startswith(f"Saved: {label}")
    one.tab("Knowledge").locator(".entry").first.wait_for()
    assert one.heard().startswith("1 to 20 of")
    status = one.page.locator("#live")
    assert status.get_attribute("role") == "status"


def test_tabs_say_which_is_selected(page_model: Any, page_service: Any, visit: Any) -> None:
    one = visit(page_service(page_model()))
    for name in ("Ask", "Knowledge", "About"):
        panel = one.tab(name)
        panel.wait_for()
        states = {
            tab.text_content(): (tab.get_attribute("aria-selected"), tab.get_attribute("tabindex"))
            for tab in one.page.get_by_role("tab").all()
        }
        assert [tab for tab, state in states.items() if state == ("true", "0")] == [name]
        assert list(states.values()).count(("false", "-1")) == 2
        assert one.page.get_by_role("tabpanel", name=name).count() == 1
        assert one.page.locator("[role=tabpanel]:visible").count() == 1


def test_texts_run_in_their_own_direction(page_model: Any, page_service: Any, visit: Any) -> None:
    arabic = "أين بطاقتي"
    one = visit(page_service(page_model(entries=[((arabic,), 0), (("my card",), 1)])))
    panel = one.ask(arabic)
    direction = "node => getComputedStyle(node).direction"
    assert panel.locator("textarea").evaluate(direction) == "rtl"
    found = {row.text_content(): row.evaluate(direction) for row in panel.locator(".passage").all()}
    assert found == {arabic: "rtl", "my card": "ltr"}
