"""A run that makes its model anew takes over what users taught the one before, whatever happens meanwhile."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hundredth
from hundredth.errors import UnavailableError
from hundredth.files import replace_folder
from hundredth.pipeline.config import make_config
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run
from hundredth.pipeline.transfer import transfer
from hundredth.runtime import Manifest
from hundredth.store import KnowledgeStore


class Crash(BaseException):
    """What stands for the end of the process."""


def make_anew(root: Path, k: str = "[1]") -> Run:
    """Make the model anew, and no other stage."""
    return transfer(make_config({}, root / "run.yaml", (f"model.retrieval.k={k}",)), root, Reporter())


def told(root: Path) -> list[tuple[Any, ...]]:
    with KnowledgeStore.open(root / "model") as store:
        return [(one.kind, one.at, one.by, one.note) for one in store.changes() if one.by]


def shown(root: Path) -> list[tuple[Any, ...]]:
    with KnowledgeStore.open(root / "model") as store:
        return sorted((one.texts, one.shown_label, one.origin) for one in store.entries())


@pytest.fixture
def taught(finished_run: Path) -> Path:
    """A finished run whose model users have taught."""
    with hundredth.load(finished_run / "model") as model:
        ids = [entry.id for entry in model.store.entries()]
        model.forget([ids[3], ids[-1]], by="Ada", note="not ours")
        model.correct("the atm gobbled up my visa", "card_swallowed", by="Bo")
    return finished_run


def test_a_run_takes_over_what_users_taught_and_says_so(
    taught: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, log, tried = shown(taught), told(taught), []

    def exchange(new: Path, target: Path) -> None:
        # What is taught now can no longer be taken over: it must not seem to be stored.
        with KnowledgeStore.open(target) as store:
            with pytest.raises(UnavailableError, match="another process keeps it locked"):
                store.forget([1])
            replace_folder(new, target)
            with pytest.raises(UnavailableError, match="was replaced or removed"):
                store.forget([1])
        tried.append(target.name)

    monkeypatch.setattr("hundredth.store.access.BUSY_MS", 50)
    monkeypatch.setattr("hundredth.pipeline.stages.replace_folder", exchange)
    run = make_anew(taught)
    assert tried == ["model"]
    assert "  1 entry added and 2 deleted by users were taken over\n" in capsys.readouterr().err
    assert (shown(taught), told(taught)) == (before, log)
    metrics = run.record("model")["metrics"]
    assert metrics["entries"] == len(before)
    assert (metrics["taken_over"]["added"], metrics["taken_over"]["deleted"]) == (1, 2)
    with hundredth.load(taught / "model") as model:
        assert model.explain("the atm gobbled up my visa").decided_by_user
        model.undo(next(one.id for one in model.log() if one.kind == "delete"), by="Cy")
    assert len(shown(taught)) == len(before) + 2


@pytest.mark.slow
@pytest.mark.parametrize("renamed", [0, 1, 2])
def test_killed_while_the_models_change_places_it_loses_nothing(
    taught: Path, renamed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent otherwise: with the old model, what users taught it would be gone."""
    before, log = shown(taught), told(taught)
    rename, remove, done = Path.rename, shutil.rmtree, []

    def crashing(path: Path, target: Path) -> Path:
        if target.parent == taught and len(done) == renamed:
            raise Crash
        done.append(path)
        return rename(path, target)

    def crashing_at_old(path: Path | str, **options: Any) -> None:
        if Path(path).parent == taught and Path(path).exists():
            raise Crash
        remove(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", crashing)
        if renamed == 2:
            patched.setattr("hundredth.files.shutil.rmtree", crashing_at_old)
        with pytest.raises(Crash):
            make_anew(taught)
    assert len(done) == renamed
    make_anew(taught)
    assert (shown(taught), told(taught)) == (before, log)
    assert {path.name for path in taught.iterdir() if path.name.startswith(".")} == {".lock"}


def test_a_store_of_which_users_deleted_everything_stays_empty_and_can_be_used(finished_run: Path) -> None:
    """Silent otherwise: a similarity of minus infinity in hundredth.json, which nothing reads again."""
    with hundredth.load(finished_run / "model") as model:
        deleted = model.forget([entry.id for entry in model.store.entries()], by="Ada").removed
    run = make_anew(finished_run)
    assert run.record("model")["metrics"]["entries"] == 0
    assert Manifest.read(finished_run / "model").dev.similarity == ()
    with hundredth.load(finished_run / "model") as model:
        np.testing.assert_allclose(model.predict_proba(["my card"]).sum(), 1)
        model.undo(1, by="Bo")
        assert len(model.store) == len(deleted)
