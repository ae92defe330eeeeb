"""From the options to a task with its splits: reading, checking, and saying what was dropped or drawn."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hundredth.errors import UserError
from hundredth.tables import Table, check_file, listed, read_lines, read_table
from hundredth.tasks.benchmarks import find_benchmark, read_benchmark
from hundredth.tasks.columns import choose_columns, refuse_rows_as_header
from hundredth.tasks.config import TaskConfig, verbalise
from hundredth.tasks.rows import Row, key_of, label_order, read_label_rows, read_text_rows
from hundredth.tasks.schema import Example, Task, TaskData, counts_per_label
from hundredth.tasks.splits import cap, draw_per_class, stratified_split

logger = logging.getLogger(__name__)


def load_task(config: TaskConfig) -> TaskData:
    """Read the task that `config` describes.

    Without `dev` the development examples are drawn from the training rows: `dev_fraction` of each class, or
    with `limit_per_class` half as many a class as are trained on, two at least. No text stands in two splits.
    """
    if config.data is None:
        raise UserError("no data: name a file of labelled examples, or a benchmark folder together with --task")
    notes: list[str] = []
    if config.task is not None:
        task, pool, test = _benchmark(config, config.data, config.task, notes)
    else:
        task, pool = _file(config, config.data, notes)
        test = []
    if task.metric == "f1" and len(task.labels) != 2:
        raise UserError(
            f"metric is f1, of the positive one of two labels, but the task has {len(task.labels)}: "
            "choose macro_f1, or another"
        )
    pool = _without(pool, test, notes, "training rows whose text also stands in the test split")
    dev_given: list[Example] | None = None
    if config.dev is not None:
        dev_given = load_labelled(config.dev, task, max_characters=config.max_characters, notes=notes)
        dev_given = _without(dev_given, test, notes, "development rows whose text also stands in the test split")
        trained = _without(pool, dev_given, notes, f"training rows whose text also stands in {config.dev.name}")
        if not trained:
            raise UserError(
                f"each of the {len(pool)} training rows repeats a text of {config.dev}, so nothing is left to "
                "train on: name other examples with --dev, or leave it out, and some training rows are held back"
            )
        pool = trained
    _check_classes(pool, task.labels, str(config.data))
    train, dev, rest = _split(config, pool, dev_given, notes)
    _check_splits(train, dev, task.labels, notes)
    unlabelled = _unlabelled(config, task, rest, [*train, *dev, *test], notes)
    sizes = f"{len(train)} training and {len(dev)} development examples of {len(task.labels)} classes"
    notes.append(f"{task.name}: {sizes}, {len(unlabelled)} unlabelled texts, {len(test)} test examples")
    return TaskData(task=task, train=train, dev=dev, unlabelled=unlabelled, test=test, notes=notes)


def load_labelled(
    path: Path,
    task: Task,
    *,
    max_characters: int = 20_000,
    notes: list[str] | None = None,
    options: bool = False,
) -> list[Example]:
    """Read labelled examples of a known task: the same columns, and only labels that the task has.

    With `options` the error for a missing column points to the option that names another. What is dropped or cut is
    added to `notes`, or logged as a warning when there is no list to add it to.
    """
    table = read_table(path)
    for name in task.fields:
        table.need(name, "--text-column" if options else "")
    table.need(task.label_column, "--label-column" if options else "")
    said: list[str] = []
    rows = read_label_rows(table, task.fields, task.label_column, max_characters, said)
    index = {name: number for number, name in enumerate(task.labels)}
    unknown = sorted({label for _, label in rows} - index.keys())
    if unknown:
        raise UserError(
            f"{path} has labels that the training data does not: {listed(unknown, 5)}; "
            f"known are {listed(task.labels, 10)}"
        )
    _say(said, notes)
    return [Example(texts, index[label]) for texts, label in rows]


def load_texts(
    path: Path, fields: Sequence[str], *, max_characters: int = 20_000, notes: list[str] | None = None
) -> list[Example]:
    """Read texts without labels: a table with the columns `fields`, or for one field a .txt, a text a line.

    Other columns are ignored. What is dropped or cut is said as in `load_labelled`.
    """
    if path.suffix.lower() == ".txt":
        if len(fields) > 1:
            raise UserError(f"{path} is plain text, but the task has the fields {listed(fields)}: use a table")
        check_file(path)
        lines = read_lines(path)
        table = Table(path, tuple(fields), [(line,) for line in lines], list(range(1, len(lines) + 1)))
    else:
        table = read_table(path)
    for name in fields:
        table.need(name)
    said: list[str] = []
    examples = [Example(texts) for texts in read_text_rows(table, fields, max_characters, said)]
    _say(said, notes)
    return examples


def _file(config: TaskConfig, path: Path, notes: list[str]) -> tuple[Task, list[Example]]:
    if path.is_dir():
        raise UserError(
            f"{path} is a folder: name a file in it, or for a benchmark folder say which task with --task"
        )
    table = read_table(path)
    columns = choose_columns(table, config.text_columns, config.label_column, notes)
    refuse_rows_as_header(table, columns)
    rows = read_label_rows(table, columns.text, columns.label, config.max_characters, notes)
    _count_duplicates(rows, path, notes)
    labels = label_order({label for _, label in rows})
    if len(labels) < 2:
        raise UserError(
            f"{path} has only one class, {labels[0]!r}, in column {columns.label!r}: a task needs two or more"
        )
    task = Task(
        name=_task_name(path),
        fields=columns.text,
        labels=labels,
        verbalisation=verbalise(config, columns.text, labels, config.about),
        metric=config.metric or "accuracy",
        label_column=columns.label,
    )
    if not config.label_words and all(map(_is_whole, labels)):
        notes.append(
            f"{path.name}: the labels are numbers, and the LLM is told nothing else of what they mean; say it with "
            f"task.label_words, for example --set 'task.label_words.{labels[0]}=a complaint'"
        )
    index = {name: number for number, name in enumerate(labels)}
    return task, [Example(texts, index[label]) for texts, label in rows]


def _is_whole(label: str) -> bool:
    try:
        int(label)
    except ValueError:
        return False
    return True


def _task_name(path: Path) -> str:
    """Name a task after its file, or after the folder of a file that is called as training files are."""
    folder = path.resolve().parent.name
    return folder if path.stem.lower() in {"train", "training", "data"} and folder else path.stem


def _benchmark(
    config: TaskConfig, root: Path, name: str, notes: list[str]
) -> tuple[Task, list[Example], list[Example]]:
    if config.text_columns is not None or config.label_column is not None:
        raise UserError(
            f"the benchmark task {name!r} fixes its columns: leave out --text-column and --label-column"
        )
    known = find_benchmark(name)
    rows = read_benchmark(root, name)
    notes.extend(rows.notes)
    fields, labels = tuple(known.fields), tuple(label.name for label in known.labels)
    words = {label.name: label.words for label in known.labels}
    task = Task(
        name=name.lower(),
        fields=fields,
        labels=labels,
        verbalisation=verbalise(
            config, fields, labels, config.about or known.about, words=words, names=known.fields
        ),
        metric=config.metric or known.metric,
    )
    pool, test = (_cut(examples, config.max_characters, notes) for examples in (rows.pool, rows.test))
    return task, pool, test


def _split(
    config: TaskConfig, pool: list[Example], dev_given: list[Example] | None, notes: list[str]
) -> tuple[list[Example], list[Example], list[Example]]:
    """Return train, dev and the rows of the pool that are in neither."""
    limit, seed = config.limit_per_class, config.seed
    if limit is None:
        if dev_given is not None:
            return pool, dev_given, []
        train, dev = stratified_split(pool, config.dev_fraction, seed)
        train = _without(train, dev, notes, "training rows whose text was also drawn for development")
        return train, dev, []
    train, rest = draw_per_class(pool, limit, seed, spare=0 if dev_given is not None else 1)
    if dev_given is not None:
        return train, dev_given, rest
    # The copies of a training text leave the rest, not the training set, so that its size stays as asked.
    unseen = _without(rest, train, notes, "rows left for development whose text is trained on")
    dev, rest = draw_per_class(unseen, max(2, limit // 2), seed) if unseen else ([], [])
    return train, dev, rest


def _check_classes(pool: list[Example], labels: tuple[str, ...], source: str) -> None:
    counts = counts_per_label(pool, labels)
    small = [f"{name!r} ({count})" for name, count in counts.items() if count < 2]
    if small:
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        raise UserError(
            f"{source}: classes with fewer than 2 examples to train on: {', '.join(small[:5])}{more}; "
            "add examples or remove the class"
        )


def _check_splits(train: list[Example], dev: list[Example], labels: tuple[str, ...], notes: list[str]) -> None:
    if not dev:
        raise UserError(
            "no development examples are left: all repeat texts of other splits; name others with --dev"
        )
    in_train, in_dev = counts_per_label(train, labels), counts_per_label(dev, labels)
    empty = [name for name in labels if not in_train[name]]
    if empty:
        raise UserError(
            f"every text of {listed(empty, 5)} repeats a development text, so nothing is left to train on: "
            "add examples"
        )
    for split, counts in (("training", in_train), ("development", in_dev)):
        low, high = min(counts.values()), max(counts.values())
        if low < high:
            scarce = [name for name in labels if counts[name] == low]
            notes.append(f"{split}: {low} to {high} examples a class; fewest for {listed(scarce, 5)}")


def _unlabelled(
    config: TaskConfig, task: Task, rest: list[Example], used: list[Example], notes: list[str]
) -> list[Example]:
    limit = config.unlabelled_limit
    if config.unlabelled is not None:
        texts = load_texts(config.unlabelled, task.fields, max_characters=config.max_characters, notes=notes)
    elif limit is None:
        return []
    elif config.task is None:
        raise UserError(f"unlabelled_limit is {limit}, but there is no file of unlabelled texts: give --unlabelled")
    elif config.limit_per_class is None:
        raise UserError(
            f"unlabelled_limit is {limit}, but every training row is used with its label: set limit_per_class"
        )
    else:
        texts = [replace(example, label=None) for example in rest]
    texts = _without(texts, used, notes, "unlabelled texts that also stand in another split")
    if not texts:
        raise UserError("no unlabelled text is left that does not also stand in another split")
    if limit is None:
        return texts
    if limit > len(texts):
        notes.append(f"unlabelled: {limit} texts asked for, {len(texts)} there")
    return cap(texts, limit, config.seed)


def _without(examples: list[Example], others: Iterable[Example], notes: list[str], what: str) -> list[Example]:
    taken = {key_of(example.texts) for example in others}
    kept = [example for example in examples if key_of(example.texts) not in taken] if taken else examples
    if len(kept) < len(examples):
        notes.append(f"removed {len(examples) - len(kept)} {what}")
    return kept


def _count_duplicates(rows: list[Row], path: Path, notes: list[str]) -> None:
    labels_of_text: dict[tuple[str, ...], set[str]] = {}
    for texts, label in rows:
        labels_of_text.setdefault(key_of(texts), set()).add(label)
    repeated = len(rows) - sum(map(len, labels_of_text.values()))
    torn = sum(len(labels) > 1 for labels in labels_of_text.values())
    if repeated:
        notes.append(f"{path.name}: {repeated} rows repeat a text with the same label; kept")
    if torn:
        notes.append(f"{path.name}: {torn} texts have more than one label; kept")


def _cut(examples: list[Example], longest: int, notes: list[str]) -> list[Example]:
    long = sum(any(len(text) > longest for text in example.texts) for example in examples)
    if not long:
        return examples
    notes.append(f"cut {long} rows to {longest} characters a text")
    return [
        Example(tuple(text[:longest].rstrip() for text in example.texts), example.label) for example in examples
    ]


def _say(said: list[str], notes: list[str] | None) -> None:
    if notes is not None:
        notes.extend(said)
        return
    for line in said:
        logger.warning("%s", line)
