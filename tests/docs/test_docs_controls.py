"""The benchmark of the controls: what it gathers from finished runs, and the tables that are made of it."""

import importlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_tables import cells
from safetensors.numpy import save_file

from hundredth.evaluation.results import Row, write_results
from hundredth.files import write_json
from hundredth.pipeline.extract import write_task
from hundredth.pipeline.knowledge import Knowledge
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run
from hundredth.tasks.schema import Example, Task, TaskData
from hundredth.tasks.verbalisation import Verbalisation

ROOT = Path(__file__).parents[2]
TEXTS = 200
# How many of the 200 test texts each system has right, on each task and seed.
RIGHT = {
    "cb": {"llm": (190, 188), "student": (120, 122), "kd-gold": (121, 123), "full": (154, 156)},
    "rte": {"llm": (104, 108), "student": (100, 104), "kd-gold": (60, 62), "full": (101, 103)},
}


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """The scripts, which are no part of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module


def put_run(folder: Path, task: str, seed: int, right: dict[str, int]) -> None:
    """A finished run, as far as the benchmark reads it: test texts, probabilities and results."""
    test = [Example((f"text {number}",), number % 2) for number in range(TEXTS)]
    words = Verbalisation("Write .", ("no", "yes"), ("Text",))
    (folder / "task").mkdir(parents=True)
    write_task(TaskData(Task(task, ("text",), ("no", "yes"), words), [], [], test=test), folder / "task")
    gold = np.arange(TEXTS) % 2
    rows = []
    for system, number in right.items():
        predicted = np.where(np.arange(TEXTS) < number, gold, 1 - gold)
        cell = folder / "evaluation" / "systems" / (system if system == "llm" else f"{system}-0")
        cell.mkdir(parents=True)
        save_file({"probabilities": np.eye(2)[predicted]}, cell / "probabilities.safetensors")
        rows.append(Row(task, system, "score", [number / TEXTS], "fraction"))
    write_results(folder / "evaluation" / "controls.json", task, [seed], rows)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Two tasks with two seeds, of which one has the full system with unlabelled texts too."""
    for task, systems in RIGHT.items():
        for seed in (0, 1):
            right = {system: numbers[seed] for system, numbers in systems.items()}
            more = {"full+unlabelled": 170} if task == "cb" else {}
            put_run(tmp_path / f"{task}-{seed}-pruned", task, seed, {**right, **more})
    return tmp_path


@pytest.fixture
def gathered(script: Any, work: Path) -> dict[tuple[str, str, str], list[float]]:
    """What is written for them."""
    script("controls").gather(work, [0, 1, 2], "pruned", work / "controls.json")
    rows = json.loads((work / "controls.json").read_text())["rows"]
    assert len({(row["task"], row["system"], row["metric"]) for row in rows}) == len(rows)
    return {(row["task"], row["system"], row["metric"]): row["values"] for row in rows}


def test_values_stand_in_the_order_of_the_seeds(gathered: dict[tuple[str, str, str], list[float]]) -> None:
    for task, systems in RIGHT.items():
        for system, numbers in systems.items():
            assert gathered[task, system, "score"] == [number / TEXTS for number in numbers]


def test_differences_are_of_the_means_over_the_seeds_with_an_interval_around_them(
    gathered: dict[tuple[str, str, str], list[float]],
) -> None:
    for task, pair, worth in (("cb", "full - student", 0.17), ("rte", "kd-gold - student", -0.205)):
        [value], [low], [high] = (
            gathered[task, pair, name] for name in ("difference", "difference_low", "difference_high")
        )
        assert value == pytest.approx(worth)
        assert low < worth < high


def test_the_mean_over_the_tasks_is_of_those_that_have_both_systems(
    gathered: dict[tuple[str, str, str], list[float]],
) -> None:
    """Silent otherwise: one task without unlabelled texts, and that question would go unanswered, or be of it."""
    assert gathered["all", "full - student", "difference"] == [pytest.approx((0.17 + 0.0) / 2)]
    assert gathered["all", "full - student", "tasks"] == [2]
    assert gathered["all", "full+unlabelled - full", "difference"] == [pytest.approx(0.85 - 0.775)]
    assert gathered["all", "full+unlabelled - full", "tasks"] == [1]


def test_a_share_of_the_gap_has_its_interval_where_the_gap_is_clear(
    gathered: dict[tuple[str, str, str], list[float]],
) -> None:
    assert gathered["cb", "full", "gap_closed"] == [pytest.approx((0.775 - 0.605) / (0.945 - 0.605))]
    assert ("cb", "full", "gap_closed_low") in gathered
    assert ("rte", "full", "gap_closed") in gathered
    assert ("rte", "full", "gap_closed_low") not in gathered
    assert ("cb", "llm", "gap_closed") not in gathered


def test_runs_of_each_kind_are_found_by_their_folders(script: Any, tmp_path: Path) -> None:
    """Silent otherwise: students with a whole vocabulary among those with a pruned one."""
    right = {"pruned": 100, "whole": 120, "factorised": 130, "pruned-ppo": 140, "gemma": 150}
    for kind, number in right.items():
        put_run(tmp_path / f"cb-0-{kind}", "cb", 0, {"full": number})
    for kind in right:
        variant = kind.removeprefix("pruned-")
        target = tmp_path / f"controls-{variant}.json"
        script("controls").gather(tmp_path, [0], variant, target)
        [row] = [row for row in script("publish").published_rows(target) if row.metric == "score"]
        assert (row.system, row.values) == ("full", [right[kind] / TEXTS])


def test_runs_on_other_test_texts_are_not_put_together(script: Any, work: Path) -> None:
    rows = (work / "cb-1-pruned" / "task" / "test.jsonl").read_text().replace("text 7", "text seven")
    (work / "cb-1-pruned" / "task" / "test.jsonl").write_text(rows)
    with pytest.raises(SystemExit, match="the runs of cb have different test texts"):
        script("controls").gather(work, [0, 1], "pruned", work / "controls.json")


def results_of(script: Any, work: Path, seeds: list[int]) -> dict[tuple[str, str, str], list[float]]:
    """What is published after one more look at the finished runs."""
    script("controls").gather(work, seeds, "pruned", work / "controls.json")
    rows = script("publish").published_rows(work / "controls.json")
    return {(row.task, row.system, row.metric): row.values for row in rows}


def test_runs_of_other_machines_stay_and_a_seed_is_added_to_them(script: Any, work: Path, gathered: Any) -> None:
    """Silent otherwise: a new machine has no runs, and its first would take the place of all that is published."""
    for run in work.glob("*-pruned"):
        shutil.rmtree(run)
    assert results_of(script, work, [0]) == {key: pytest.approx(values) for key, values in gathered.items()}
    put_run(work / "rte-2-pruned", "rte", 2, dict.fromkeys(RIGHT["rte"], 100))
    after = results_of(script, work, [2])
    assert after["rte", "student", "score"] == [0.5, 0.52, 0.5]
    assert after["rte", "full - student", "difference"] == [pytest.approx((0.005 - 0.005 + 0) / 3)]
    assert after["cb", "student", "score"] == gathered["cb", "student", "score"]


def test_a_kept_run_changes_only_with_its_numbers(script: Any, work: Path, gathered: Any) -> None:
    """Silent otherwise: every gathering would date all runs anew, on a machine that did not make them."""
    files = sorted((work / "controls").glob("*.json"))
    assert [file.name for file in files] == ["cb-0.json", "cb-1.json", "rte-0.json", "rte-1.json"]
    before = [file.stat().st_mtime_ns for file in files]
    shutil.rmtree(work / "cb-1-pruned")
    put_run(work / "cb-1-pruned", "cb", 1, dict.fromkeys(RIGHT["cb"], 100))
    results_of(script, work, [0, 1])
    same = [was == file.stat().st_mtime_ns for was, file in zip(before, files, strict=True)]
    assert same == [True, False, True, True]


def test_tasks_of_which_no_run_was_kept_stay_and_count_in_the_mean(script: Any, work: Path, gathered: Any) -> None:
    for file in (work / "controls").glob("*.json"):
        file.unlink()
    for run in ("cb-0-pruned", "cb-1-pruned", "rte-1-pruned"):
        shutil.rmtree(work / run)
    assert results_of(script, work, [0]) == {key: pytest.approx(values) for key, values in gathered.items()}
    # With as many seeds as before a task is that of the kept runs.
    put_run(work / "rte-1-pruned", "rte", 1, dict.fromkeys(RIGHT["rte"], 100))
    after = results_of(script, work, [0, 1])
    assert after["rte", "student", "score"] == [0.5, 0.5]
    assert after["cb", "student", "score"] == gathered["cb", "student", "score"]
    assert after["all", "full - student", "difference"] == [pytest.approx((0.17 + 0.0025) / 2)]


@pytest.fixture
def site(work: Path, gathered: Any, tmp_path: Path) -> Path:
    """A checkout with these results and a page that shows them."""
    names = ("controls", "controls-worth", "late-class", "late-subdomain", "late-correction", "late-size")
    page = "".join(f"<!-- begin {name} -->\nnothing\n<!-- end {name} -->\n" for name in names)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "evaluation.md").write_text(page)
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (work / "controls.json").rename(results / "controls.json")
    late = [
        *(Row(f"class-{name}", "before", "accuracy_new", [0.0], "fraction") for name in ("LOC", "NUM")),
        *(Row(f"class-{name}", "5, served", "accuracy_new", [0.1], "fraction") for name in ("LOC", "NUM")),
        Row("class-LOC", "5, tuned", "accuracy_new", [0.3], "fraction"),
        Row("class-NUM", "5, tuned", "accuracy_new", [0.5], "fraction"),
        Row("class-LOC", "5, tuned", "accuracy_others", [0.8], "fraction"),
        Row("class-LOC", "retrained", "accuracy_new", [0.9], "fraction"),
        Row("class-DESC", "retrained", "accuracy_new", [0.1], "fraction"),  # nothing else is known of it yet
        Row("correction", "all", "entries_wrong", [226], "count"),
        *(
            Row("correction", state, "a typo", [one], "fraction")
            for state, one in (("before", 0.2), ("after", 0.4))
        ),
        *(Row("correction", state, "accuracy", [0.8], "fraction") for state in ("before", "after")),
        Row("size-trec", "none, served", "accuracy", [0.7], "fraction"),
        Row("size-trec", "none, tuned", "accuracy", [0.71], "fraction"),
        Row("size-trec", "none, tuned", "weight", [0.3], "fraction"),
        Row("size-trec", "retrained", "accuracy", [0.75], "fraction"),
    ]
    write_results(results / "late-knowledge.json", "late-knowledge", [0], late)
    return tmp_path


def test_the_tables_show_scores_and_what_each_part_is_worth(script: Any, site: Path) -> None:
    assert script("render").main(["--root", str(site)]) == 0
    page = site / "docs" / "evaluation.md"
    heads = cells(page, "task", "n")
    assert heads[2:] == ["`llm`", "`student`", "`kd-gold`", "`full`", "`full+unlabelled`"]
    assert cells(page, "cb")[1:4] == ["2", "94.5 ± 0.7", "60.5 ± 0.7"]
    assert cells(page, "rte")[-1] == "–"
    worth = cells(page, "everything that the LLM gave")
    assert worth[1] == "`full` − `student`"
    assert worth[2].startswith("+8.5 (+")
    assert worth[3:] == ["cb", "–", "1"]
    assert cells(page, "the LLM's soft labels of the gold texts")[3:] == ["–", "rte", "1"]


def test_the_tables_of_late_knowledge_are_means_over_the_classes_kept_out(script: Any, site: Path) -> None:
    script("render").main(["--root", str(site)])
    page = site / "docs" / "evaluation.md"
    assert cells(page, "nothing")[1:3] == ["0.0", "–"]
    assert cells(page, "5 of its texts") == ["5 of its texts", "10.0", "40.0", "–", "80.0"]
    assert cells(page, "(trained with them)")[1] == "90.0"
    assert cells(page, "a typo") == ["a typo", "20.0", "40.0"]
    assert cells(page, "trec", "none") == ["trec", "none", "70.0", "71.0", "0.3"]
    assert cells(page, "trec", "retrained") == ["trec", "retrained", "75.0", "–", "–"]
    text = page.read_text()
    assert "mean over `LOC`, `NUM`, each kept out in its turn. One seed. From" in text
    assert "<!-- begin late-subdomain -->\nnothing\n" in text


def test_without_results_nothing_is_written(script: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "other.json", {})
    script("controls").gather(tmp_path, [0], "ppo", tmp_path / "controls-ppo.json")
    assert not (tmp_path / "controls-ppo.json").exists()


def test_a_label_that_is_kept_out_leaves_no_trace_in_the_soft_labels(script: Any) -> None:
    """Silent otherwise: a student that was told of the class would seem to learn it from its store."""
    late = script("late_models")
    soft = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], dtype=np.float32)
    origins: list[Any] = ["gold", "unlabelled"]
    knowledge = Knowledge([("a",), ("b",)], origins, np.array([0, -1]), soft, soft, np.zeros(2, np.bool_))
    found = late.without_label(knowledge, 1)
    np.testing.assert_allclose(found.soft_labels, [[5 / 7, 2 / 7], [1 / 9, 8 / 9]], rtol=1e-6)
    assert late.without_label(knowledge.rows(np.array([False, True])), 0).labels.tolist() == [-1]
    later = Knowledge([("a",)], origins[:1], np.array([2]), soft[:1], soft[:1], np.zeros(1, np.bool_))
    assert late.without_label(later, 1).labels.tolist() == [1]


def test_a_label_that_came_late_is_scored_as_the_run_counts_it(
    script: Any, finished_run: Path, ticket_rows: list[tuple[str, str]]
) -> None:
    """Silent otherwise: the deployed model has the late label last, the run has it among the others."""
    late = script("late_models")
    run = Run.open(finished_run, Reporter(quiet=True))
    labels = run.data.task.labels
    run.data.test.extend(Example((text,), labels.index(label)) for text, label in ticket_rows)
    bench = late.Bench(run, finished_run)
    rest = labels[1:]
    knowledge = bench.run.knowledge.of(("gold",), augmented=False)
    taught = late.without_label(knowledge.rows(knowledge.labels != 0), 0)
    dev = late.relabelled(run.data.dev, labels, rest)
    assert {rest[one.label or 0] for one in dev} <= set(rest)
    words = Verbalisation.default(run.data.task.fields, rest)
    model = bench.model(taught, dev, replace(run.data.task, labels=rest, verbalisation=words))
    assert 0 not in bench.predicted(model)
    everything = [(one.texts, labels[0]) for one in bench.test]
    assert set(bench.predicted(bench.with_entries(model, everything))) == {0}


def test_a_typo_changes_two_letters_of_the_longest_word(script: Any) -> None:
    mistyped = script("late_knowledge").mistyped
    assert mistyped("Where is the museum ?") == "Where is the muesum ?"
    assert mistyped("A tattoo ?") == "A ttatoo ?"
    assert mistyped("a a") == "a a"
