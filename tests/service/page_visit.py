"""A visit to the page in a browser, and what the tiny model that is served to it knows."""

from typing import Any

from callers import TOKEN

LABELS = ("card_swallowed", "refund", "delivery")
_WORDS = ["card", "swallowed", "machine", "ate", "my", "the", "refund", "money", "back", "where", "is", "parcel"]
# Different texts, enough for three pages.
_PAIRS = zip(_WORDS * 4, _WORDS[5:] * 6, strict=False)
ENTRIES = [((f"{first} {second}",), number % len(LABELS)) for number, (first, second) in enumerate(_PAIRS)]


def other_label(answer: str) -> str:
    """A label that is not the answer."""
    return next(label for label in LABELS if label != answer)


class Visit:
    """A page that is looked at."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address

    def tab(self, name: str) -> Any:
        """Go to a tab; return its panel."""
        self.page.get_by_role("tab", name=name).click()
        return self.panel(name)

    def panel(self, name: str) -> Any:
        """The panel of a tab."""
        return self.page.locator(f"#{name.lower()}")

    def ask(self, *texts: str) -> Any:
        """Ask a text, one string a field; return the panel with the answer."""
        panel = self.panel("Ask")
        panel.locator("textarea").first.wait_for()
        for area, text in zip(panel.locator("textarea").all(), texts, strict=True):
            area.fill(text)
        panel.get_by_role("button", name="Ask", exact=True).click()
        panel.locator("form:not([aria-busy]) ~ .answers:not(:empty)").wait_for()
        return panel

    def enter_token(self, panel: Any, token: str = TOKEN, name: str = "Ada") -> None:
        """Give the token, and a name, in the place where the panel asks for them."""
        form = panel.locator("form.identity")
        form.get_by_label("Token").fill(token)
        form.get_by_label("Your name").fill(name)
        form.get_by_role("button", name="Use it").click()

    def predicted(self, text: str) -> str:
        """The label that the service itself gives."""
        reply = self.page.request.post(f"{self.address}v1/predict", data={"text": text})
        return str(reply.json()["predictions"][0]["label"])

    def heard(self) -> str:
        """What a screen reader was told last."""
        return str(self.page.locator("#live").text_content())
