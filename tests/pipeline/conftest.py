"""What the tests of runs share."""

from pathlib import Path

import pytest
from carried_models import make


@pytest.fixture
def old(tmp_path: Path) -> Path:
    make(tmp_path / "old")
    return tmp_path / "old"
