"""Examples for /openapi.json."""

from typing import Any

from pydantic import ConfigDict

TEXT = "my card was swallowed"
LABEL = "card_swallowed"
NEW_LABEL = "card_damaged"
PROBABILITIES = {"card_swallowed": 0.91, "refund": 0.06, "lost_phone": 0.03}
ENTRY = {
    "id": 17,
    "texts": {"text": "the machine ate my card"},
    "label": LABEL,
    "likeliest": LABEL,
    "probability": 1.0,
    "soft_label": {"card_swallowed": 1.0, "refund": 0.0, "lost_phone": 0.0},
    "origin": "user",
    "added": "2026-11-22T12:38:00+00:00",
}
# No example holds a null: FastAPI leaves them out, and what is left would be no right example.
CHANGE = {
    "id": 5,
    "kind": "undo",
    "at": "2026-11-22T12:38:00+00:00",
    "by": "Ada",
    "note": "ticket 17",
    "added": [],
    "removed": [[17, 17]],
    "undoes": 4,
    "undone": False,
    "undoable": True,
}
VERSION = "5f0c2a9e1b7d4c36"


def shown(*examples: dict[str, Any], **more: Any) -> ConfigDict:
    """Return the config of what goes in or out: nothing but its fields, each of the very type, with examples."""
    return ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra={"examples": [*examples], **more})
