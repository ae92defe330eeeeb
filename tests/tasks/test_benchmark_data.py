"""The benchmark readers on the real files: counts, labels and texts. HUNDREDTH_DATA names their folder."""

import os
from pathlib import Path

import pytest

from hundredth.tables import read_jsonl, read_tsv
from hundredth.tasks import BENCHMARKS, TaskConfig, cap, counts_per_label, load_task, read_benchmark

# Rows of the training pool and the test split, and the rows without text among them. Tasks without an official
# split: all rows, and the fifth of each class that is the test.
SIZES = {
    "trec": (5452, 500, 0),
    "trec-fine": (5452, 500, 0),
    "sst2": (67349, 1821, 0),
    "mr": (10662, None, 0),
    "cr": (3775, None, 4),
    "subj": (10000, None, 0),
    "mpqa": (10606, None, 3),
    "mrpc": (4076, 1725, 0),
    "cola": (8551, 1043, 0),
    "rte": (2490, 277, 0),
    "wnli": (635, 71, 0),
    "qnli": (9999, 5463, 0),
    "cb": (250, 56, 0),
    "boolq": (2000, 3270, 0),
    "copa": (400, 100, 0),
    "wic": (5428, 638, 0),
    "wsc": (554, 104, 0),
}
# A text of the training files with its label, looked up by hand.
KNOWN = {
    "trec": (("How did serfdom develop in and then leave Russia ?",), "DESC"),
    "trec-fine": (("How did serfdom develop in and then leave Russia ?",), "DESC:manner"),
    "sst2": (("contains no wit , only labored gags",), "negative"),
    "mr": (("simplistic , silly and tedious .",), "negative"),
    "cr": (("many of our disney movies do n 't play on this dvd player .",), "negative"),
    "subj": (("smart and alert , thirteen conversations about one thing is a small gem .",), "subjective"),
    "mpqa": (("failing to support",), "negative"),
    "mrpc": (
        (
            'Amrozi accused his brother , whom he called " the witness " , of deliberately distorting his '
            "evidence .",
            'Referring to him as only " the witness " , Amrozi accused his brother of deliberately distorting his '
            "evidence .",
        ),
        "paraphrase",
    ),
    "cola": (("One more pseudo generalization and I'm giving up.",), "acceptable"),
    "rte": (
        ("No Weapons of Mass Destruction Found in Iraq Yet.", "Weapons of Mass Destruction Found in Iraq."),
        "not_entailment",
    ),
    "wnli": (
        (
            "I stuck a pin through a carrot. When I pulled the pin out, it had a hole.",
            "The carrot had a hole.",
        ),
        "entailment",
    ),
    "qnli": (
        (
            "What sector has expanded radiply by selling outsourcing services to North America and Europe?",
            "The IT sector has been stimulated by new Egyptian entrepreneurs with government "
            "encouragement.[citation needed]",
        ),
        "not_entailment",
    ),
    "cb": (
        (
            "It was a complex language. Not written down but handed down. One might say it was peeled down.",
            "the language was peeled down",
        ),
        "entailment",
    ),
    "copa": (
        ("My body cast a shadow over the grass. What was the cause?", "The sun was rising. / The grass was cut."),
        "first",
    ),
    "wic": (
        (
            "Do you want to come over to my *place* later?",
            "A political system with no *place* for the less prominent groups.",
        ),
        "different",
    ),
    "wsc": (
        ("[Mark] told Pete many lies about himself, which Pete included in his book. *He* should have been more "
         "skeptical.",),
        "different",
    ),
}  # fmt: skip


# GLUE and SuperGLUE withhold the labels of their test files. The labels of the development file, the test here:
DEVELOPMENT = {
    "cola": ("glue/CoLA/dev.tsv", {"unacceptable": 322, "acceptable": 721}),
    "wnli": ("glue/WNLI/dev.tsv", {"not_entailment": 40, "entailment": 31}),
    "qnli": ("glue/QNLI/dev.tsv", {"not_entailment": 2761, "entailment": 2702}),
    "cb": ("superglue/CB/val.jsonl", {"contradiction": 28, "entailment": 23, "neutral": 5}),
    "rte": ("superglue/RTE/val.jsonl", {"not_entailment": 131, "entailment": 146}),
    "boolq": ("superglue/BoolQ/val.jsonl", {"no": 1237, "yes": 2033}),
    "copa": ("superglue/COPA/val.jsonl", {"first": 55, "second": 45}),
    "wic": ("superglue/WiC/val.jsonl", {"different": 319, "same": 319}),
    "wsc": ("superglue/WSC/val.jsonl", {"different": 66, "same": 38}),
}


@pytest.fixture(scope="module")
def root() -> Path:
    folder = os.environ.get("HUNDREDTH_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("HUNDREDTH_DATA does not name the folder of the benchmark data")
    return Path(folder)


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_benchmark_has_its_published_rows_and_labels(root: Path, name: str) -> None:
    """A reader that loses rows, or swaps labels, still trains and scores: only the counts and texts tell."""
    pool_size, test_size, blank = SIZES[name]
    rows = read_benchmark(root, name)
    if test_size is None:
        assert len(rows.pool) + len(rows.test) == pool_size - blank
        assert len(rows.test) == pytest.approx(0.2 * pool_size, abs=2)
    else:
        assert (len(rows.pool), len(rows.test)) == (pool_size - blank, test_size)
    assert any(f"dropped {blank} training rows" in note for note in rows.notes) == (blank > 0)
    labels = [label.name for label in BENCHMARKS[name].labels]
    assert min(counts_per_label(rows.pool, labels).values()) >= 2
    assert {example.label for example in rows.test} <= set(range(len(labels)))
    for example in [*rows.pool, *rows.test]:
        assert len(example.texts) == len(BENCHMARKS[name].fields)
        assert all(text and text == text.strip() and "\t" not in text for text in example.texts)
    if name in KNOWN:
        texts, label = KNOWN[name]
        found = [example.label for example in [*rows.pool, *rows.test] if example.texts == texts]
        assert found
        assert {labels[index or 0] for index in found} == {label}


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_benchmark_loads_as_a_small_task_without_shared_texts(root: Path, name: str) -> None:
    data = load_task(TaskConfig(data=root, task=name, limit_per_class=4, unlabelled_limit=20))
    splits = [{example.texts for example in split} for split in (data.train, data.dev, data.test, data.unlabelled)]
    for number, split in enumerate(splits):
        assert split
        assert not any(split & other for other in splits[number + 1 :])
    if name != "trec-fine":  # some of its classes have fewer
        assert set(counts_per_label(data.train, data.task.labels).values()) == {4}
        assert set(counts_per_label(data.dev, data.task.labels).values()) == {2}


@pytest.mark.data
def test_trec_has_its_published_class_counts(root: Path) -> None:
    labels = [label.name for label in BENCHMARKS["trec"].labels]
    rows = read_benchmark(root, "trec")
    counts = {"ABBR": 86, "DESC": 1162, "ENTY": 1250, "HUM": 1223, "LOC": 835, "NUM": 896}
    assert counts_per_label(rows.pool, labels) == counts
    assert counts_per_label(rows.test, labels) == {
        "ABBR": 9,
        "DESC": 138,
        "ENTY": 94,
        "HUM": 65,
        "LOC": 81,
        "NUM": 113,
    }


@pytest.mark.data
def test_every_wsc_text_has_one_name_and_one_pronoun_marked(root: Path) -> None:
    rows = read_benchmark(root, "wsc")
    for example in [*rows.pool, *rows.test]:
        assert (example.texts[0].count("["), example.texts[0].count("]"), example.texts[0].count("*")) == (1, 1, 2)


@pytest.mark.data
def test_glue_serves_where_senteval_is_not_there(root: Path) -> None:
    assert len(read_benchmark(root / "glue", "mrpc").pool) == 3668
    assert len(read_benchmark(root / "glue" / "MRPC", "mrpc").test) == 408
    assert len(read_benchmark(root / "glue", "sst2").test) == 872
    assert len(read_benchmark(root / "glue", "rte").test) == 277


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(DEVELOPMENT))
def test_where_test_labels_are_withheld_the_development_file_is_the_test_and_training_rows_are_held_back(
    root: Path, name: str
) -> None:
    """Silent otherwise: settings chosen on the rows that the score is measured on, or a test without its labels."""
    file, counts = DEVELOPMENT[name]
    columns = ("source", "label", "mark", "sentence") if name == "cola" else None
    table = read_jsonl(root / file) if file.endswith("jsonl") else read_tsv(root / file, columns=columns)
    data = load_task(TaskConfig(data=root, task=name, limit_per_class=4))
    assert len(data.test) == len(table.rows)
    assert counts_per_label(data.test, data.task.labels) == counts
    pool = {example.texts for example in read_benchmark(root, name).pool}
    assert {example.texts for example in data.dev} <= pool - {example.texts for example in data.test}


@pytest.mark.data
@pytest.mark.parametrize("name", ["qnli", "sst2", "subj"])
def test_a_large_test_split_is_capped_to_the_same_rows_with_every_seed(root: Path, name: str) -> None:
    first, other = (
        load_task(TaskConfig(data=root, task=name, limit_per_class=4, seed=seed)).test for seed in (0, 1)
    )
    assert cap(first, 1000, 0) == cap(other, 1000, 0)
    assert len(cap(first, 1000, 0)) == 1000 < len(first)
