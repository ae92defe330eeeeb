"""The published numbers of sentence encoders: what the benchmark gathers, and what the docs' tables make of it."""

import gzip
import importlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from published_tables import lines, results

from hundredth.evaluation.results import Row, write_results

ROOT = Path(__file__).parents[2]
STS = ("sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sickr")


@pytest.fixture(scope="module", autouse=True)
def benchmarks() -> Iterator[None]:
    """The scripts are no part of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield


def test_encoders_stand_with_their_means_and_the_deviation_of_the_average() -> None:
    tables = importlib.import_module("published_encoders")
    rows = [("tiny", "simcse", task, [50.0, 52.0]) for task in STS]
    found = results("encoder-ranking", [*rows, ("tiny", "simcse", "sts_avg", [50.0, 52.0])])
    assert lines(tables.ranking_table(found, "sts")) == [["tiny", "`simcse`", "2", *["51.00"] * 7, "51.00 ± 1.41"]]
    assert tables.ranking_table(found, "transfer") is None


def test_an_ablation_stands_with_its_difference_from_the_defaults() -> None:
    tables = importlib.import_module("published_encoders")
    scores = {"defaults": [70.0, 72.0], "ranking_weight=3": [69.5]}
    found = results("encoder-ablations", [("tiny", name, "stsb_dev", values) for name, values in scores.items()])
    assert lines(tables.ablations_table(found)) == [
        ["`defaults`", "2", "71.00 ± 1.41", "–"],
        ["`ranking_weight=3`", "1", "69.50", "\N{MINUS SIGN}1.50"],
    ]


def test_a_race_stands_with_both_sides_and_the_ratio_of_ours() -> None:
    tables = importlib.import_module("published_encoders")
    rates = {"ours": [1200.0, 1000.0], "peer": [500.0, 500.0]}
    rows = [("alike", side, "sentences_per_s", values) for side, values in rates.items()]
    rows += [("alike", "ours", "ratio", [2.4, 2.0]), ("corpus-20000", "ours", "peak_mb", [801.2])]
    found = results("encoder-speed", rows)
    assert lines(tables.speed_table(found)) == [["`alike`", "`ours` 1,100", "`peer` 500", "2.20 (2.00 to 2.40)"]]
    assert lines(tables.memory_table(found)) == [["20,000", "801 MB"]]


def test_the_first_seed_of_all_systems_is_done_before_the_second() -> None:
    ranking = importlib.import_module("encoder_runs")
    runs = ranking.main_runs(ranking.BASES, ["start", "simcse", "rankcse"], ["minilm"], 5)
    named = [run.name for run in runs if run.base == "bert-tiny"]
    assert named[:3] == ["bert-tiny-start-0", "bert-tiny-simcse-0", "bert-tiny-rankcse-minilm-0"]
    assert named[3] == "bert-tiny-simcse-1"
    assert [run.name for run in runs[: len(named)]] == named
    assert [sum(run.base == base for run in runs) for base in ranking.BASES] == [11, 7]
    assert len({run.name for run in ranking.ablation_runs(3)}) == 3 * len(ranking.VARIANTS)


def test_finished_runs_are_gathered_in_the_order_of_their_seeds(tmp_path: Path) -> None:
    """Silent otherwise: values that belong to other seeds than those of the row beside them."""
    ranking = importlib.import_module("encoder_ranking")
    runs = [ranking.Run("bert-tiny", "simcse", (), seed) for seed in (2, 0, 1)]
    for run, score in zip(runs[:2], (62.0, 60.0), strict=True):
        rows = [("sts", "sts_avg", score), ("stsb", "spearman", score + 1)]
        named = [{"task": task, "metric": metric, "values": [value]} for task, metric, value in rows]
        file = tmp_path / run.name / "sts" / "results.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"rows": named}), encoding="utf-8")
    ranking.gather(runs, tmp_path, tmp_path / "out", ablations=False)
    made = json.loads((tmp_path / "out" / "encoder-ranking.json").read_text(encoding="utf-8"))
    assert made["seeds"] == [0, 2]
    assert {(row["task"], row["system"], row["metric"]): row["values"] for row in made["rows"]} == {
        ("bert-tiny", "simcse", "sts_avg"): [60.0, 62.0],
        ("bert-tiny", "simcse", "stsb"): [61.0, 63.0],
    }


def test_what_the_results_have_need_not_be_run_again(tmp_path: Path) -> None:
    ranking = importlib.import_module("encoder_ranking")
    runs = [ranking.Run("bert-tiny", "simcse", (), seed) for seed in range(4)]
    rows = [
        Row("bert-tiny", "simcse", "sts_avg", [60.0, 62.0, 61.0], "Spearman x 100", [0, 2, 3]),
        Row("bert-tiny", "simcse", "transfer_avg", [70.0], "x 100", [2]),
    ]
    write_results(tmp_path / "encoder-ranking.json", "encoder-ranking", [0, 2, 3], rows)

    def seeds(*, transfer: bool) -> list[int]:
        target = tmp_path / "encoder-ranking.json"
        return [run.seed for run in ranking.lacking(runs, target, transfer=transfer, ablations=False)]

    assert seeds(transfer=False) == [1]
    # The fourth seed has no transfer tasks to lack.
    assert seeds(transfer=True) == [0, 1]


def test_a_seed_draws_the_same_sentences_every_time(tmp_path: Path) -> None:
    parts = importlib.import_module("encoder_parts")
    (tmp_path / "wiki").mkdir()
    with gzip.open(tmp_path / "wiki" / "wiki_sentences_1m.txt.gz", "wt", encoding="utf-8") as file:
        file.writelines(f"sentence {number}\n" for number in range(100))
    seeds = {"one": 3, "again": 3, "other": 4}
    drawn = [parts.draw_sentences(tmp_path, 20, seed, tmp_path / name) for name, seed in seeds.items()]
    one, again, other = (path.read_text(encoding="utf-8").splitlines() for path in drawn)
    assert one == again != other
    assert len(set(one)) == 20
