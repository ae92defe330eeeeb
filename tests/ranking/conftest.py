"""What the tests of teachers share."""

from typing import Any

import pytest

from hundredth.ranking.teacher_models import EncoderTeacher


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that any encoder was given, in order."""
    seen: list[str] = []
    encode = EncoderTeacher.encode

    def watched(self: EncoderTeacher, texts: list[str]) -> Any:
        seen.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(EncoderTeacher, "encode", watched)
    return seen
