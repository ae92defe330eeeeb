"""The STS readers: SentEval's layouts, what they leave out, and what they refuse."""

import os
from pathlib import Path

import pytest

from hundredth.errors import UserError
from hundredth.tasks.sts import (
    STS_TASKS,
    MissingTaskError,
    read_sts,
    read_sts_benchmark,
    read_sts_dev,
    senteval_folder,
)

STS = Path("senteval/downstream/STS")
# Scored pairs of the real files.
SIZES = {"sts12": 3108, "sts13": 1500, "sts14": 3750, "sts15": 3000, "sts16": 1186, "stsb": 1379, "sickr": 4927}


def write_year(root, subsets, year="STS16"):
    folder = root / STS / f"{year}-en-test"
    folder.mkdir(parents=True)
    for name, (pairs, gold) in subsets.items():
        (folder / f"STS.input.{name}.txt").write_text("".join(f"{pair}\n" for pair in pairs), encoding="utf-8")
        (folder / f"STS.gs.{name}.txt").write_text("".join(f"{score}\n" for score in gold))
    return folder


def write_benchmark(root):
    folder = root / STS / "STSBenchmark"
    folder.mkdir(parents=True)
    for split, score in (("train", 1.0), ("dev", 2.0), ("test", 3.0)):
        rows = [f'captions\tf\t2012\t{i}\t{score + i}\t{split} one {i}\t"{split}" two' for i in range(2)]
        (folder / f"sts-{split}.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_pairs_without_a_score_are_left_out_and_the_others_keep_theirs(tmp_path):
    write_year(tmp_path, {"b": (["a\tb", "c\td", "e\tf"], ["1.5", "", "4"]), "a": (["x\ty", "z\tz"], ["0", "5"])})
    first, second = read_sts(tmp_path, "sts16")
    assert (first.name, second.name) == ("a", "b")
    assert (second.first, second.second, second.scores.tolist()) == (["a", "e"], ["b", "f"], [1.5, 4.0])


def test_quotes_and_line_separators_inside_sentences_are_text(tmp_path):
    write_year(tmp_path, {"a": (['"he said\tyes" he said', "one\u2028line\tb"], ["1", "2"])})
    (subset,) = read_sts(tmp_path, "sts16")
    assert subset.first == ['"he said', "one\u2028line"]


@pytest.mark.parametrize("inner", ["", "senteval", "senteval/downstream", STS, STS / "STS16-en-test"])
def test_the_root_may_be_any_folder_on_the_way(tmp_path, inner):
    write_year(tmp_path, {"a": (["x\ty", "z\tz"], ["0", "5"])})
    assert len(read_sts(tmp_path / inner, "sts16")) == 1


def test_another_tasks_own_folder_is_not_taken_for_the_task(tmp_path):
    folder = write_year(tmp_path, {"a": (["x\ty", "z\tz"], ["0", "5"])}, year="STS15")
    with pytest.raises(MissingTaskError, match=r"does not hold .*STS16-en-test"):
        read_sts(folder, "sts16")


def test_the_splits_of_sts_b(tmp_path):
    folder = write_benchmark(tmp_path)
    (test,) = read_sts(folder, "stsb")
    assert (test.first[0], test.second[0], test.scores.tolist()) == ("test one 0", '"test" two', [3.0, 4.0])
    assert read_sts_dev(tmp_path).scores.tolist() == [2.0, 3.0]
    assert read_sts_benchmark(tmp_path).scores.tolist() == [1.0, 2.0, 2.0, 3.0, 3.0, 4.0]


def test_sick_is_read_by_its_header(tmp_path):
    folder = tmp_path / "SICK"
    folder.mkdir()
    header = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
    rows = "1\tA man\tA dog\t1.5\tNEUTRAL\n2\tA cat\tThe cat\t4.9\tENTAILMENT\n"
    (folder / "SICK_test_annotated.txt").write_text(header + rows)
    (subset,) = read_sts(folder, "sickr")
    assert (subset.first, subset.second, subset.scores.tolist()) == (
        ["A man", "A cat"],
        ["A dog", "The cat"],
        [1.5, 4.9],
    )


@pytest.mark.parametrize(
    ("pairs", "gold", "said"),
    [
        (["a\tb", "c\td"], ["1"], "has 2 pairs, but STS.gs.a.txt has 1 lines"),
        (["a\tb", "c d"], ["1", "2"], "line 2: 1 columns"),
        (["a\tb", "c\td"], ["1", "two"], "STS.gs.a.txt line 2: 'two' is not a score"),
        (["a\tb", "c\td"], ["1", "nan"], "line 2: 'nan' is not a score"),
        (["a\tb", "c\td"], ["1", ""], "has 1 scored pairs"),
    ],
)
def test_damaged_files_are_refused_with_their_place(tmp_path, pairs, gold, said):
    write_year(tmp_path, {"a": (pairs, gold)})
    with pytest.raises(UserError, match=said):
        read_sts(tmp_path, "sts16")


def test_a_root_that_is_no_folder_is_not_a_missing_task(tmp_path):
    """Else a mistyped folder would pass for one that merely lacks some tasks."""
    (tmp_path / "file").write_text("x")
    for root, said in ((tmp_path / "file", "is a file"), (tmp_path / "nowhere", "does not exist")):
        with pytest.raises(UserError, match=said) as caught:
            senteval_folder(root, "senteval/downstream/MR", "rt-polarity.pos")
        assert not isinstance(caught.value, MissingTaskError)


@pytest.mark.data
@pytest.mark.parametrize("task", STS_TASKS)
def test_counts_of_the_real_files(task):
    folder = os.environ.get("HUNDREDTH_DATA")
    if not folder:
        pytest.skip("HUNDREDTH_DATA does not name the folder of the benchmark data")
    subsets = read_sts(Path(folder), task)
    assert sum(len(one.scores) for one in subsets) == SIZES[task]
    assert all(one.first[i] and one.second[i] for one in subsets for i in range(len(one.scores)))
