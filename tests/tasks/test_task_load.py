"""From a file to a task with its splits: what is kept, drawn, dropped, said and refused."""

import json
import logging
from pathlib import Path

import pytest
from pydantic import ValidationError

from hundredth.errors import UserError
from hundredth.tasks import TaskConfig, TaskData, counts_per_label, load_labelled, load_task, load_texts


def csv_file(path: Path, rows: list[tuple[str, str]], header: str = "text,label") -> Path:
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def rows_of(per_class: int, labels: tuple[str, ...] = ("b", "a"), prefix: str = "text") -> list[tuple[str, str]]:
    return [(f"{prefix} {number} of {label}", label) for number in range(per_class) for label in labels]


def load(path: Path, **options: object) -> TaskData:
    return load_task(TaskConfig.model_validate({"data": path, **options}))


def noted(data: TaskData, part: str) -> bool:
    return any(part in note for note in data.notes)


def test_a_plain_file_becomes_a_task_with_a_development_split(tmp_path: Path) -> None:
    data = load(csv_file(tmp_path / "tickets.csv", rows_of(10)))
    assert data.task.name == "tickets"
    assert data.task.fields == ("text",)
    assert data.task.labels == ("a", "b")
    assert data.task.label_column == "label"
    assert data.task.metric == "accuracy"
    assert counts_per_label(data.train, data.task.labels) == {"a": 8, "b": 8}
    assert counts_per_label(data.dev, data.task.labels) == {"a": 2, "b": 2}
    assert data.unlabelled == []
    assert data.test == []
    texts = [example.texts[0] for example in [*data.train, *data.dev]]
    assert sorted(texts) == sorted(text for text, _ in rows_of(10))
    assert all(text.endswith(data.task.labels[e.label or 0]) for e, text in zip(data.train, texts, strict=False))
    assert noted(data, "guessed text 'text' and label 'label'")


def test_the_same_options_give_the_same_splits(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "a.csv", rows_of(20))
    assert load(path, seed=1) == load(path, seed=1)
    assert load(path, seed=1).dev != load(path, seed=2).dev


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["10", "2", "1"], ("1", "2", "10")),
        (["10", "2", "x"], ("10", "2", "x")),
        (["-1", "0", "1"], ("-1", "0", "1")),
        (["Z", "b", "a"], ("Z", "a", "b")),
    ],
)
def test_labels_are_in_the_order_of_numbers_or_of_the_alphabet(
    tmp_path: Path, cells: list[str], labels: tuple[str, ...]
) -> None:
    assert load(csv_file(tmp_path / "a.csv", rows_of(5, tuple(cells)))).task.labels == labels


def test_labels_of_other_types_become_their_names(tmp_path: Path) -> None:
    """A whole number with a missing value beside it arrives as a float; it is the same label all the same."""
    for values, labels in (((True, False), ("False", "True")), ((1, 0), ("0", "1")), ((1.0, 0), ("0", "1"))):
        path = tmp_path / "a.jsonl"
        lines = [json.dumps({"text": f"t{i}", "label": values[i % 2]}) for i in range(10)]
        path.write_text("\n".join(lines), encoding="utf-8")
        assert load(path).task.labels == labels


def test_a_pair_of_columns_makes_two_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    lines = [f"p{i}\th{i}\t{i % 2}" for i in range(10)]
    path.write_text("\n".join(["premise\thypothesis\tlabel", *lines]), encoding="utf-8")
    data = load(path)
    assert data.task.fields == ("premise", "hypothesis")
    assert {len(example.texts) for example in data.train} == {2}
    assert data.task.verbalisation.field_names == ("Premise", "Hypothesis")


def test_a_limit_draws_few_examples_and_half_as_many_for_development(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "a.csv", rows_of(30))
    data = load(path, limit_per_class=8)
    assert counts_per_label(data.train, data.task.labels) == {"a": 8, "b": 8}
    assert counts_per_label(data.dev, data.task.labels) == {"a": 4, "b": 4}
    assert counts_per_label(load(path, limit_per_class=1).dev, data.task.labels) == {"a": 2, "b": 2}
    assert not set(data.train) & set(data.dev)


def test_a_class_too_small_for_the_limit_leaves_one_for_development_and_is_named(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "a.csv", [*rows_of(20), *rows_of(5, ("rare",))])
    data = load(path, limit_per_class=8)
    assert counts_per_label(data.train, data.task.labels) == {"a": 8, "b": 8, "rare": 4}
    assert counts_per_label(data.dev, data.task.labels) == {"a": 4, "b": 4, "rare": 1}
    assert noted(data, "training: 4 to 8 examples a class; fewest for 'rare'")
    assert noted(data, "development: 1 to 4 examples a class; fewest for 'rare'")


def test_a_development_file_is_taken_whole(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "a.csv", rows_of(10))
    dev = csv_file(tmp_path / "dev.csv", rows_of(3, prefix="dev"))
    data = load(path, dev=dev, limit_per_class=10)
    assert len(data.train) == 20
    assert len(data.dev) == 6
    assert len(load(path, dev=dev).train) == 20


def test_a_development_text_is_not_trained_on(tmp_path: Path) -> None:
    """A leak raises the development score, and nothing else shows it."""
    path = csv_file(tmp_path / "a.csv", rows_of(10))
    dev = csv_file(tmp_path / "dev.csv", [("TEXT 3   of a", "a"), ("new", "b")])
    data = load(path, dev=dev)
    assert len(data.train) == 19
    assert not any(example.texts == ("text 3 of a",) for example in data.train)
    assert noted(data, "removed 1 training rows whose text also stands in dev.csv")


@pytest.mark.parametrize("limit", [None, 4])
def test_copies_never_stand_on_both_sides_of_a_drawn_split(tmp_path: Path, limit: int | None) -> None:
    data = load(csv_file(tmp_path / "a.csv", rows_of(10) * 3), limit_per_class=limit)
    assert not {example.texts for example in data.train} & {example.texts for example in data.dev}
    assert noted(data, "40 rows repeat a text with the same label; kept")
    assert noted(data, "removed")


def test_repeated_and_torn_texts_are_counted_and_kept(tmp_path: Path) -> None:
    rows = [*rows_of(10), ("text 1 of a", "a"), ("text 2 of a", "b")]
    dev = csv_file(tmp_path / "dev.csv", rows_of(2, prefix="dev"))
    data = load(csv_file(tmp_path / "a.csv", rows), dev=dev)
    assert len(data.train) == 22
    assert noted(data, "1 rows repeat a text with the same label; kept")
    assert noted(data, "1 texts have more than one label; kept")


def test_rows_without_text_or_label_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows: list[dict[str, object]] = [{"text": f"t{i}", "label": "ab"[i % 2]} for i in range(10)]
    rows += [{"text": None, "label": "a"}, {"text": "  ", "label": "a"}, {"text": float("nan"), "label": "a"}]
    rows += [{"label": "a"}, {"text": "x", "label": None}, {"text": "y", "label": ""}, {"text": "z"}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = load(path)
    assert len(data.train) + len(data.dev) == 10
    assert noted(data, "dropped 4 rows with an empty text")
    assert noted(data, "dropped 3 rows without a label in 'label'")


def test_a_nan_spelt_out_in_csv_is_missing_but_null_and_none_are_words(tmp_path: Path) -> None:
    rows = [*rows_of(4), ("NaN", "a"), ("null", "a"), ("None", "b"), ("x", "nan")]
    data = load(csv_file(tmp_path / "a.csv", rows))
    assert len(data.train) + len(data.dev) == 10
    assert data.task.labels == ("a", "b")


def test_a_long_text_is_cut_and_counted(tmp_path: Path) -> None:
    data = load(csv_file(tmp_path / "a.csv", [*rows_of(5), ("w" * 1_000_000, "a")]), max_characters=100)
    assert max(len(example.texts[0]) for example in [*data.train, *data.dev]) == 100
    assert noted(data, "cut 1 rows to 100 characters")


def test_unlabelled_texts_come_without_those_of_other_splits(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "a.csv", rows_of(5))
    more = tmp_path / "more.txt"
    more.write_text("one\ntwo\n\ntext 1 of a\nthree\n", encoding="utf-8")
    data = load(path, unlabelled=more)
    assert [example.texts[0] for example in data.unlabelled] == ["one", "two", "three"]
    assert {example.label for example in data.unlabelled} == {None}
    assert noted(data, "more.txt: dropped 1 rows with an empty text")
    assert noted(data, "removed 1 unlabelled texts that also stand in another split")
    assert len(load(path, unlabelled=more, unlabelled_limit=2).unlabelled) == 2
    assert noted(load(path, unlabelled=more, unlabelled_limit=9), "9 texts asked for, 3 there")


def test_unlabelled_tables_need_the_fields_only(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "more.csv", [("one", "x"), ("two", "y")], header="text,anything")
    assert [example.texts for example in load_texts(path, ("text",))] == [("one",), ("two",)]
    with pytest.raises(UserError, match="no column 'premise'; its columns are 'text', 'anything'"):
        load_texts(path, ("premise",))
    with pytest.raises(UserError, match="is plain text, but the task has the fields 'a', 'b'"):
        load_texts(tmp_path / "more.txt", ("a", "b"))


def test_a_test_file_is_read_with_the_columns_and_labels_of_the_task(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = load(csv_file(tmp_path / "a.csv", rows_of(5), header="message,intent")).task
    test = csv_file(tmp_path / "test.csv", [("b", "late"), ("a", "early"), ("a", "")], header="intent,message")
    with caplog.at_level(logging.WARNING):
        examples = load_labelled(test, task)
    assert [(example.texts, example.label) for example in examples] == [(("late",), 1), (("early",), 0)]
    assert "dropped 1 rows with an empty text" in caplog.text
    caplog.clear()
    notes: list[str] = []
    load_labelled(test, task, notes=notes)
    assert len(notes) == 1
    assert not caplog.records


def test_a_test_file_of_another_task_is_refused(tmp_path: Path) -> None:
    task = load(csv_file(tmp_path / "a.csv", rows_of(5))).task
    with pytest.raises(UserError, match="labels that the training data does not: 'c'; known are 'a', 'b'"):
        load_labelled(csv_file(tmp_path / "b.csv", [("x", "c")]), task)
    with pytest.raises(UserError, match="no column 'label'; its columns are 'text', 'intent'"):
        load_labelled(csv_file(tmp_path / "c.csv", [("x", "a")], header="text,intent"), task)


def test_words_for_the_task_come_from_the_options(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "a.csv", rows_of(5))
    made = load(path, about="a message", label_words={"a": "alpha"}, metric="macro_f1").task
    assert made.verbalisation.label_words == ("alpha", "b")
    assert "a message" in made.verbalisation.instruction
    assert made.metric == "macro_f1"


def test_labels_that_are_numbers_are_noted_until_words_are_set_for_them(tmp_path: Path) -> None:
    """The LLM would be shown "Label: 1", and no score says that it was."""
    said = (
        "the labels are numbers, and the LLM is told nothing else of what they mean; say it with task.label_words"
    )
    path = csv_file(tmp_path / "a.csv", rows_of(5, ("-1", "0", "1")))
    assert noted(load(path), f"{said}, for example --set 'task.label_words.-1=")
    assert not noted(load(path, label_words={"1": "good"}), said)
    assert not noted(load(csv_file(tmp_path / "b.csv", rows_of(5, ("0", "1", "x")))), said)


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("where is it,lost", ("a text", "lost"), "'lost' is the name of a column, and on line 12 a value in it"),
        ("where is it,  lost", ("a text", "lost "), "'lost' is the name of a column, and on line 12"),
        ("where is it,intent", ("where is it", "a"), "'where is it' is the name of a column, and on line 12"),
    ],
)
def test_a_first_row_taken_for_a_header_is_refused(
    tmp_path: Path, header: str, row: tuple[str, str], said: str
) -> None:
    """One row would be lost, and the LLM would be told that a text is called "Where is it"."""
    path = csv_file(tmp_path / "a.csv", [*rows_of(5), row, ("another text", row[1])], header)
    with pytest.raises(UserError) as caught:
        load(path)
    assert "the first line must name the columns, for example 'text,label'" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("text,label", [("text", "a"), ("one more", "b")]),
        ("message,topic", [("one more", "topic"), ("and one", "topic")]),
        ("what they wrote,queue", [("queue", "a"), ("queue", "b")]),
    ],
)
def test_a_header_is_taken_for_one_though_its_words_occur(
    tmp_path: Path, header: str, rows: list[tuple[str, str]]
) -> None:
    assert load(csv_file(tmp_path / "a.csv", [*rows_of(5), *rows], header)).task.fields == (header.split(",")[0],)


def test_the_keys_of_json_are_no_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": text, "spam": label} for text, label in rows_of(5, ("spam", "ham"))]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert load(path, label_column="spam").task.labels == ("ham", "spam")
    with pytest.raises(UserError, match="'spam' is the name of a column, and on line 2 a value in it"):
        load(csv_file(tmp_path / "a.csv", rows_of(5, ("spam", "ham")), "text,spam"))


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (rows_of(5, ("only",)), {}, "has only one class, 'only'"),
        (rows_of(5, ("a", "b", "c")), {"metric": "f1"}, "metric is f1, of the positive one of two labels, but"),
        ([*rows_of(5), ("x", "lone")], {}, "classes with fewer than 2 examples to train on: 'lone' (1)"),
        ([("", "a"), (" ", "b"), ("NaN", "b")], {}, "every row is empty in 'text'"),
        ([("x", ""), ("y", " ")], {}, "column 'label' holds no label in any of 2 rows"),
        ([("x", ""), ("", "a")], {}, "no row has both a text and a label"),
        (rows_of(5), {"text_columns": ["txt"]}, "no column 'txt'; its columns are 'text', 'label'"),
        (rows_of(5), {"unlabelled_limit": 5}, "no file of unlabelled texts: give --unlabelled"),
        (rows_of(5), {"task": "trec"}, "is a file, but benchmark task 'trec' is read from a folder"),
        ([*rows_of(5), *[("same", "c")] * 4], {}, "every text of 'c' repeats a development text"),
        ([*[("one", "a")] * 4, *[("two", "b")] * 4], {"limit_per_class": 2}, "no development examples are left"),
    ],
)
def test_data_that_makes_no_task_is_refused(
    tmp_path: Path, rows: list[tuple[str, str]], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        load(csv_file(tmp_path / "a.csv", rows), **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_development_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "a.csv", rows_of(5))
    with pytest.raises(UserError, match=r"dev\.csv has labels that the training data does not: 'new'"):
        load(path, dev=csv_file(tmp_path / "dev.csv", [("x", "a"), ("y", "new")]))
    with pytest.raises(UserError, match=r"each of the 10 training rows repeats a text of .*a\.csv, so nothing is"):
        load(path, dev=path)
    with pytest.raises(UserError, match=r"fewer than 2 examples to train on: 'a' \(0\)"):
        load(path, dev=csv_file(tmp_path / "dev.csv", rows_of(5, ("a",))))


def test_unlabelled_texts_that_are_all_known_are_refused(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "a.csv", rows_of(5))
    with pytest.raises(UserError, match="no unlabelled text is left"):
        load(path, unlabelled=path)


def test_cells_that_are_no_text_or_label_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for row, message in (
        ({"text": ["x"], "label": "a"}, "line 5: column 'text' holds \"['x']\" (list), which is not a text"),
        ({"text": "x", "label": 0.5}, "line 5: column 'label' holds '0.5' (float), which is not a label"),
        ({"text": "x", "label": {"a": 1}}, "(dict), which is not a label"),
        ({"text": "\ud800", "label": "a"}, "line 5: column 'text' holds half of a surrogate pair"),
        ({"text": "x", "label": "a\ud83d"}, "line 5: column 'label' holds half of a surrogate pair"),
        ({"text": "x\0y", "label": "a"}, "line 5: column 'text' holds a NUL character"),
        ({"text": "x", "label": "a\0"}, "line 5: column 'label' holds a NUL character"),
    ):
        good = [{"text": f"t{i}", "label": "ab"[i % 2]} for i in range(4)]
        path.write_text("\n".join(map(json.dumps, [*good, row])), encoding="utf-8")
        with pytest.raises(UserError) as caught:
            load(path)
        assert message in str(caught.value)


def test_no_data_is_refused() -> None:
    with pytest.raises(UserError, match="no data: name a file"):
        load_task(TaskConfig())


@pytest.mark.parametrize(
    "options",
    [
        {"dev_fraction": 0.0},
        {"dev_fraction": 1.0},
        {"limit_per_class": 0},
        {"unlabelled_limit": 0},
        {"max_characters": 0},
        {"metric": "f2"},
        {"text_columns": []},
        {"seed": -1},
        {"typo": 1},
    ],
)
def test_options_outside_their_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TaskConfig.model_validate(options)


def test_every_option_is_described() -> None:
    assert all(field.description for field in TaskConfig.model_fields.values())


def test_a_task_is_named_after_its_file_or_after_the_folder_of_a_training_file(tmp_path: Path) -> None:
    folder = tmp_path / "parcels"
    folder.mkdir()
    rows = "text,label\n" + "".join(f"text {i} of {label},{label}\n" for i in range(5) for label in "ab")
    for name in ("train.csv", "tickets.csv"):
        (folder / name).write_text(rows, encoding="utf-8")
    names = [load_task(TaskConfig(data=folder / name)).task.name for name in ("train.csv", "tickets.csv")]
    assert names == ["parcels", "tickets"]
