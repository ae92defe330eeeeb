"""The benchmark layouts, on small files made here: found in any folder, rewritten rightly, refused when wrong."""

import json
from pathlib import Path

import pytest

from hundredth.errors import UserError
from hundredth.tasks import (
    BENCHMARKS,
    TaskConfig,
    TaskData,
    counts_per_label,
    load_labelled,
    load_task,
    read_benchmark,
)
from hundredth.tasks.schema import Example


def put(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
    return path


def put_json(path: Path, *rows: dict[str, object]) -> Path:
    return put(path, *map(json.dumps, rows))


def trec(root: Path) -> Path:
    folder = root / "senteval/downstream/TREC"
    train = [f"{coarse}:x question {i} of {coarse} ?" for i in range(12) for coarse in BENCHMARKS_TREC]
    put(folder / "train_5500.label", *train, "LOC:city Where is the café ?", encoding="latin-1")
    put(folder / "TREC_10.label", "NUM:date When ?", "LOC:city question 1 of LOC ?")
    return folder


BENCHMARKS_TREC = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")


def copa_row(label: int, question: str = "cause") -> dict[str, object]:
    return {"premise": "It rained. ", "choice1": "A.", "choice2": "B.", "question": question, "label": label}


def load(root: Path, task: str, **options: object) -> TaskData:
    return load_task(TaskConfig.model_validate({"data": root, "task": task, **options}))


def test_trec_is_read_from_any_folder_on_its_way(tmp_path: Path) -> None:
    folder = trec(tmp_path)
    expected = read_benchmark(tmp_path, "trec").pool
    assert len(expected) == 73
    assert Example(("Where is the café ?",), 4) in expected
    for root in (tmp_path / "senteval", tmp_path / "senteval/downstream", folder):
        assert read_benchmark(root, "TREC").pool == expected


def test_a_folder_of_another_name_is_not_taken_for_a_task(tmp_path: Path) -> None:
    """train.tsv is in every GLUE folder: reading another task's rows under this name must not happen."""
    put(tmp_path / "CoLA" / "train.tsv", "gj\t1\t\tA sentence.")
    with pytest.raises(
        UserError, match=r"does not hold benchmark task 'rte': looked for superglue/RTE/train\.jsonl"
    ):
        read_benchmark(tmp_path / "CoLA", "rte")


def test_a_test_text_is_not_trained_on(tmp_path: Path) -> None:
    trec(tmp_path)
    data = load(tmp_path, "trec", limit_per_class=4)
    assert ("question 1 of LOC ?",) not in {example.texts for example in [*data.train, *data.dev]}
    assert any("removed 1 training rows whose text also stands in the test split" in note for note in data.notes)
    assert counts_per_label(data.train, data.task.labels) == dict.fromkeys(data.task.labels, 4)
    assert counts_per_label(data.dev, data.task.labels) == dict.fromkeys(data.task.labels, 2)
    assert len(data.test) == 2
    assert data.task.verbalisation.label_words[5] == "number, date or amount"
    assert data.task.verbalisation.field_names == ("Question",)


def test_unlabelled_texts_are_drawn_from_the_rows_left(tmp_path: Path) -> None:
    trec(tmp_path)
    data = load(tmp_path, "trec", limit_per_class=4, unlabelled_limit=10)
    assert len(data.unlabelled) == 10
    assert {example.label for example in data.unlabelled} == {None}
    used = {example.texts for example in [*data.train, *data.dev, *data.test]}
    assert not used & {example.texts for example in data.unlabelled}
    assert load(tmp_path, "trec", limit_per_class=4).unlabelled == []
    with pytest.raises(UserError, match="every training row is used with its label: set limit_per_class"):
        load(tmp_path, "trec", unlabelled_limit=10)


def test_a_benchmark_takes_files_for_development_and_test_too(tmp_path: Path) -> None:
    trec(tmp_path)
    dev = put(tmp_path / "dev.csv", "question,label", "Who ?,HUM", "When ?,NUM", "Where ?,LOC")
    data = load(tmp_path, "trec", dev=dev)
    assert [example.label for example in data.dev] == [3, 4]  # "When ?" is a test question
    assert len(load_labelled(dev, data.task)) == 3


def test_one_file_a_class_gets_a_fixed_test_split(tmp_path: Path) -> None:
    """Another test set for every seed would make runs incomparable without a sign of it."""
    folder = tmp_path / "SUBJ"
    put(folder / "subj.objective", *(f"plot {i} . " for i in range(50)), "", encoding="latin-1")
    put(folder / "subj.subjective", *(f"view {i} ." for i in range(30)))
    data = load(tmp_path, "subj", seed=1)
    assert data.task.labels == ("objective", "subjective")
    assert counts_per_label(data.test, data.task.labels) == {"objective": 10, "subjective": 6}
    assert load(tmp_path, "subj", seed=2).test == data.test
    assert len(data.train) + len(data.dev) == 64
    assert all(example.texts[0].startswith(("plot", "view")[example.label or 0]) for example in data.train)
    assert any("dropped 1 training rows without text" in note for note in data.notes)
    assert any("16 of 80 rows, fixed, are the test" in note for note in data.notes)


@pytest.mark.parametrize("task", ["mr", "cr", "mpqa"])
def test_polarity_files_are_negative_then_positive(tmp_path: Path, task: str) -> None:
    stem = {"mr": "rt-polarity", "cr": "custrev", "mpqa": "mpqa"}[task]
    put(tmp_path / task.upper() / f"{stem}.neg", *(f"bad {i}" for i in range(10)))
    put(tmp_path / task.upper() / f"{stem}.pos", *(f"good {i}" for i in range(10)))
    rows = read_benchmark(tmp_path, task)
    for example in [*rows.pool, *rows.test]:
        assert example.texts[0].startswith(("bad", "good")[example.label or 0])


def test_glue_tables_are_read_by_their_columns_and_cola_without(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        put(tmp_path / f"glue/CoLA/{split}.tsv", "gj04\t1\t\tA man slept.", "gj04\t0\t*\tSlept man a.")
        header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"
        put(tmp_path / f"glue/MRPC/{split}.tsv", header, '1\t7\t8\tHe said "yes .\tYes , he said .')
        put(tmp_path / f"glue/RTE/{split}.tsv", "index\tsentence1\tsentence2\tlabel", "0\tA.\tB.\tnot_entailment")
        put(tmp_path / f"glue/WNLI/{split}.tsv", "index\tsentence1\tsentence2\tlabel", "0\tA.\tB.\t1")
        put(tmp_path / f"glue/QNLI/{split}.tsv", "index\tquestion\tsentence\tlabel", "0\tQ?\tS.\tentailment")
        put(tmp_path / f"glue/SST-2/{split}.tsv", "sentence\tlabel", "fine \t1")
    assert read_benchmark(tmp_path, "cola").pool == [Example(("A man slept.",), 1), Example(("Slept man a.",), 0)]
    assert BENCHMARKS["cola"].metric == "matthews"
    assert read_benchmark(tmp_path, "mrpc").test == [Example(('He said "yes .', "Yes , he said ."), 1)]
    assert read_benchmark(tmp_path, "rte").test == [Example(("A.", "B."), 0)]
    assert read_benchmark(tmp_path, "wnli").test == [Example(("A.", "B."), 1)]
    assert read_benchmark(tmp_path, "qnli").test == [Example(("Q?", "S."), 1)]
    assert read_benchmark(tmp_path, "sst2").test == [Example(("fine",), 1)]


def test_the_source_with_a_labelled_test_split_comes_first(tmp_path: Path) -> None:
    put(tmp_path / "glue/SST-2/train.tsv", "sentence\tlabel", "glue \t1")
    for split in ("train", "test"):
        put(tmp_path / f"senteval/downstream/SST/binary/sentiment-{split}", f"{split} \t0")
    rows = read_benchmark(tmp_path, "sst2")
    assert rows.test == [Example(("test",), 0)]
    assert "senteval/downstream/SST/binary" in rows.notes[0]


def test_superglue_pairs_are_read_by_their_columns(tmp_path: Path) -> None:
    for split in ("train", "val"):
        put_json(tmp_path / f"CB/{split}.jsonl", {"premise": "P", "hypothesis": "H", "label": "neutral", "idx": 0})
        put_json(tmp_path / f"BoolQ/{split}.jsonl", {"question": "is it", "passage": "It is.", "label": True})
    assert read_benchmark(tmp_path, "cb").test == [Example(("P", "H"), 2)]
    assert read_benchmark(tmp_path, "boolq").test == [Example(("is it", "It is."), 1)]


def test_copa_asks_its_question_after_the_premise(tmp_path: Path) -> None:
    put_json(tmp_path / "COPA/train.jsonl", copa_row(0), copa_row(1, "effect"))
    put_json(tmp_path / "COPA/val.jsonl", copa_row(1))
    assert read_benchmark(tmp_path, "copa").pool == [
        Example(("It rained. What was the cause?", "A. / B."), 0),
        Example(("It rained. What happened as a result?", "A. / B."), 1),
    ]


def test_wic_marks_the_word_in_both_sentences(tmp_path: Path) -> None:
    row = {"word": "place", "sentence1": "My place.", "sentence2": "Places to go", "label": False}
    row |= {"start1": 3, "end1": 8, "start2": 0, "end2": 6}
    for split in ("train", "val"):
        put_json(tmp_path / f"WiC/{split}.jsonl", row)
    assert read_benchmark(tmp_path, "wic").test == [Example(("My *place*.", "*Places* to go"), 0)]


@pytest.mark.parametrize(
    ("text", "name", "pronoun", "marked"),
    [
        ("Mark told Pete lies. He hid.", ("Mark", 0), ("He", 4), "[Mark] told Pete lies. *He* hid."),
        ('Ann saw him, and "him," she said.', ("Ann", 0), ("him", 4), '[Ann] saw him, and "*him*," she said.'),
        ("It fell; use it as it is.", ("it", 0), ("it", 4), "[It] fell; use *it* as it is."),
        (
            "He saw the\nold  oak, its leaves.",
            ("the old oak", 2),
            ("its", 5),
            "He saw [the old oak], *its* leaves.",
        ),
        ("Emma's cat sat near Emma. She", ("Emma", 4), ("She", 5), "Emma's cat sat near [Emma]. *She*"),
    ],
)
def test_wsc_marks_the_name_and_the_pronoun(
    tmp_path: Path, text: str, name: tuple[str, int], pronoun: tuple[str, int], marked: str
) -> None:
    """The data counts words, is off by one in places, and repeats words: the wrong one marked is a wrong label."""
    target = {"span1_text": name[0], "span1_index": name[1], "span2_text": pronoun[0], "span2_index": pronoun[1]}
    for split in ("train", "val"):
        put_json(tmp_path / f"WSC/{split}.jsonl", {"text": text, "target": target, "label": True})
    assert read_benchmark(tmp_path, "wsc").test == [Example((marked,), 1)]


def test_rows_that_do_not_fit_the_layout_are_refused_with_their_line(tmp_path: Path) -> None:
    put_json(tmp_path / "COPA/train.jsonl", copa_row(0), {"premise": "It rained.", "label": 0})
    put_json(tmp_path / "COPA/val.jsonl", copa_row(0))
    with pytest.raises(UserError, match=r"COPA/train\.jsonl line 2: not as SuperGLUE lays this task out"):
        read_benchmark(tmp_path, "copa")
    put_json(tmp_path / "COPA/train.jsonl", copa_row(7))
    with pytest.raises(UserError, match="this task has no labels '7'"):
        read_benchmark(tmp_path, "copa")
    put(tmp_path / "TREC/train_5500.label", "LOC:city Where ?", "no label here")
    with pytest.raises(UserError, match=r"train_5500\.label line 2: no 'COARSE:fine' label"):
        read_benchmark(tmp_path, "trec")
    target = {"span1_text": "absent", "span1_index": 0, "span2_text": "It", "span2_index": 0}
    put_json(tmp_path / "WSC/train.jsonl", {"text": "It is.", "target": target, "label": True})
    with pytest.raises(UserError, match="'absent' does not stand in the text"):
        read_benchmark(tmp_path, "wsc")


def test_a_split_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    put_json(tmp_path / "COPA/train.jsonl", copa_row(0))
    with pytest.raises(UserError, match=r"val\.jsonl does not exist"):
        read_benchmark(tmp_path, "copa")
    put(tmp_path / "TREC/train_5500.label", "LOC:city ")
    put(tmp_path / "TREC/TREC_10.label", "LOC:city Where ?")
    with pytest.raises(UserError, match="has 0 training rows and 1 test rows"):
        read_benchmark(tmp_path, "trec")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "treck"}, "unknown benchmark task 'treck': choose one of boolq, cb,"),
        (
            {"task": "trec"},
            "does not hold benchmark task 'trec': looked for senteval/downstream/TREC/train_5500.label",
        ),
        (
            {"task": "trec", "label_column": "label"},
            "fixes its columns: leave out --text-column and --label-column",
        ),
        ({}, "is a folder: name a file in it, or for a benchmark folder say which task with --task"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_task(TaskConfig.model_validate({"data": tmp_path, **options}))
    assert message in str(caught.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_benchmark(tmp_path / "none", "trec")


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_every_benchmark_can_be_put_into_words_that_are_all_different(name: str) -> None:
    benchmark = BENCHMARKS[name]
    assert len({label.words for label in benchmark.labels}) == len(benchmark.labels) >= 2
    raw = [raw for label in benchmark.labels for raw in label.raw]
    assert len(set(raw)) == len(raw)
    assert benchmark.about
    assert benchmark.sources
