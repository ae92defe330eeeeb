"""The stage engine: what is redone, what is kept, and what a crash at any moment leaves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hundredth import files
from hundredth.errors import UserError
from hundredth.pipeline import stages
from hundredth.pipeline.stages import Stage, first_unfinished, read_record, refuse_strangers, run_stages


class Crash(BaseException):
    """What stands for the end of the process: nothing may catch it and go on."""


class Chain:
    """Stages that write down that they were made: `b` and `c` need `a`, `d` needs `b`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings: dict[str, Any] = {"a": 1, "b": 1, "c": 1, "d": 1}
        self.texts: dict[str, str] = {}
        self.made: list[str] = []

    def stages(self) -> list[Stage]:
        needs = {"a": (), "b": ("a",), "c": ("a",), "d": ("b",)}
        return [Stage(name, needs[name], self.settings[name], self.maker(name)) for name in needs]

    def maker(self, name: str) -> Callable[[Path], dict[str, Any]]:
        def make(folder: Path) -> dict[str, Any]:
            self.made.append(name)
            (folder / "inner").mkdir()
            (folder / "inner" / "out.txt").write_text(self.texts.get(name, f"{name} from {self.settings[name]}"))
            return {"name": name}

        return make

    def run(self) -> list[str]:
        """Run all stages; return the names of those that were made."""
        self.made = []
        outcomes = run_stages(self.root, self.stages())
        assert [name for name, outcome in outcomes.items() if outcome.made] == self.made
        return self.made

    def text(self, name: str) -> str:
        return (self.root / name / "inner" / "out.txt").read_text()


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path / "run")


def left_over(root: Path) -> list[str]:
    names = {path.name for path in root.iterdir() if path.name.startswith(".")}
    return sorted(names - {".lock"})


def test_a_stage_is_made_once_and_found_whole_afterwards(chain: Chain) -> None:
    assert chain.run() == ["a", "b", "c", "d"]
    assert chain.run() == []
    record = read_record(chain.root / "d")
    assert record is not None
    assert record["metrics"] == {"name": "d"}
    assert record["inputs"] == {"b": read_record(chain.root / "b")["outputs"]}  # type: ignore[index]
    assert left_over(chain.root) == []


def test_what_a_stage_made_is_on_the_disk_before_its_record_says_so(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent otherwise: after a power cut a stage is whole by its record, and its files are empty."""
    flushed = []

    def flush(path: Path) -> None:
        work = next(folder for folder in path.parents if folder.name.endswith(".work"))
        flushed.append((work.name, path.name, (work / stages.STAGE_RECORD).exists()))

    monkeypatch.setattr(stages, "flush_to_disk", flush)
    chain.run()
    assert flushed == [(f".{name}.work", "out.txt", False) for name in "abcd"]


def test_a_changed_setting_redoes_the_stage_and_what_depends_on_it_alone(chain: Chain) -> None:
    chain.run()
    chain.settings["b"] = 2
    assert chain.run() == ["b", "d"]
    assert chain.text("b") == "b from 2"
    assert chain.text("c") == "c from 1"


def test_a_stage_redone_with_the_same_result_leaves_the_stages_after_it_alone(chain: Chain) -> None:
    chain.texts["a"] = "always this"
    chain.run()
    chain.settings["a"] = 2
    assert chain.run() == ["a"]


def test_stages_of_an_older_version_are_made_again(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    chain.run()
    monkeypatch.setattr("hundredth.pipeline.stages._STAGES_VERSION", 0)
    assert chain.run() == ["a", "b", "c", "d"]


def test_the_order_of_settings_does_not_matter(chain: Chain) -> None:
    chain.settings["a"] = {"x": 1, "y": [2, 3]}
    chain.run()
    chain.settings["a"] = {"y": (2, 3), "x": 1}
    assert chain.run() == []


def test_announce_is_told_of_every_stage_before_it_is_made(chain: Chain) -> None:
    told: list[tuple[str, bool, int]] = []

    def announce(stage: Stage, fresh: bool) -> None:
        told.append((stage.name, fresh, len(chain.made)))

    run_stages(chain.root, chain.stages(), announce)
    assert told == [("a", False, 0), ("b", False, 1), ("c", False, 2), ("d", False, 3)]


def test_a_missing_folder_is_made_again(chain: Chain) -> None:
    chain.run()
    for path in sorted((chain.root / "b").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (chain.root / "b").rmdir()
    assert chain.run() == ["b"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fingerprint": "x"}'])
def test_a_stage_whose_record_cannot_be_read_is_made_again(chain: Chain, content: str) -> None:
    """Silent otherwise: half a stage would be taken for a whole one."""
    chain.run()
    (chain.root / "c" / "stage.json").write_text(content)
    assert chain.run() == ["c"]


def test_what_users_change_in_a_finished_folder_is_kept(chain: Chain) -> None:
    """The model's store is edited in place: that must not make the run redo, and so lose, it."""
    chain.run()
    (chain.root / "d" / "inner" / "out.txt").write_text("edited")
    assert chain.run() == []
    assert chain.text("d") == "edited"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), Crash()])
def test_a_stage_that_fails_leaves_the_old_one_and_no_litter(chain: Chain, error: BaseException) -> None:
    chain.run()
    chain.settings["b"] = 2
    stages = chain.stages()

    def fail(folder: Path) -> dict[str, Any]:
        (folder / "half.txt").write_text("half")
        raise error

    stages[1] = Stage("b", ("a",), 2, fail)
    with pytest.raises(type(error)):
        run_stages(chain.root, stages)
    assert chain.text("b") == "b from 1"
    assert left_over(chain.root) == []
    assert chain.run() == ["b", "d"]


@pytest.mark.parametrize("moment", range(8))
def test_a_crash_at_any_moment_of_the_exchange_loses_nothing(
    chain: Chain, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent otherwise: a run killed between two renames would lose the stage it had."""
    chain.run()
    chain.settings["b"] = 2
    moments = 0

    def crashing(action: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal moments
            result = None
            for part in (lambda: None, lambda: action(*arguments, **options)):
                result = part()
                if moments == moment:
                    raise Crash
                moments += 1
            return result

        return wrapped

    def exchange(new: Path, target: Path) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", crashing(Path.rename))
            patched.setattr(files.shutil, "rmtree", crashing(files.shutil.rmtree))
            files.replace_folder(new, target)

    with monkeypatch.context() as patched:
        patched.setattr("hundredth.pipeline.stages.replace_folder", exchange)
        with pytest.raises(Crash):
            run_stages(chain.root, chain.stages())
    record = read_record(chain.root / "b")
    assert record is None or record["settings"] in (1, 2)
    made = chain.run()
    # From the second rename on the new folder is in its place; before, it is made again or taken over.
    assert made == {0: ["b", "d"], 1: ["b", "d"], 2: ["b", "d"]}.get(moment, ["d"])
    assert (chain.text("b"), chain.text("c"), chain.text("d")) == ("b from 2", "c from 1", "d from 1")
    assert left_over(chain.root) == []
    assert chain.run() == []


def test_a_whole_folder_that_was_not_yet_in_its_place_is_taken(chain: Chain) -> None:
    """The work of hours is in it: a crash after the first rename must not throw it away."""
    chain.run()
    (chain.root / "c").rename(chain.root / ".c.work")
    assert chain.run() == []
    assert chain.text("c") == "c from 1"


def test_the_old_folder_comes_back_when_the_new_one_is_not_whole(chain: Chain) -> None:
    chain.run()
    (chain.root / "c").rename(chain.root / ".c.old")
    (chain.root / ".c.work").mkdir()
    assert chain.run() == []
    assert chain.text("c") == "c from 1"
    assert left_over(chain.root) == []


def test_a_folder_that_no_stage_made_is_refused_and_left_alone(chain: Chain) -> None:
    """Silent otherwise: `--out .` beside a folder called `model` would delete it."""
    (chain.root / "c").mkdir(parents=True)
    (chain.root / "c" / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match=r"c was not made by a run and would be replaced"):
        refuse_strangers(chain.root, chain.stages())
    assert (chain.root / "c" / "precious.txt").read_text() == "mine"


def test_whole_and_empty_folders_are_no_strangers(chain: Chain) -> None:
    chain.run()
    (chain.root / "b" / "stage.json").write_text("damaged")
    refuse_strangers(chain.root, chain.stages())
    assert chain.run() == ["b"]
    empty = chain.root.parent / "new"
    (empty / "a").mkdir(parents=True)
    refuse_strangers(empty, chain.stages())
    # What was let pass is what tells: one file in it makes it a stranger.
    (empty / "a" / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match="a was not made by a run"):
        refuse_strangers(empty, chain.stages())


def test_the_first_stage_that_is_not_made_from_the_others_is_found(chain: Chain) -> None:
    needs = {stage.name: stage.needs for stage in chain.stages()}
    chain.run()
    assert first_unfinished(chain.root, needs) is None
    assert first_unfinished(chain.root, {**needs, "d": ("b", "c")}) == "d"
    assert first_unfinished(chain.root, {**needs, "d": ()}) == "d"
    chain.settings["b"] = 2
    run_stages(chain.root, chain.stages()[:2])
    assert first_unfinished(chain.root, needs) == "d"
    (chain.root / "c" / "stage.json").unlink()
    assert first_unfinished(chain.root, needs) == "c"


def test_the_record_says_what_was_done(chain: Chain) -> None:
    chain.run()
    record = json.loads((chain.root / "b" / "stage.json").read_text())
    assert record["stage"] == "b"
    assert record["settings"] == 1
    assert record["seconds"] >= 0
    assert record["peak_memory_mb"] > 1
    assert record["finished"].endswith("+00:00")
