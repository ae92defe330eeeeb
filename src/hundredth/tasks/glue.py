"""GLUE's tables (Wang et al. 2019): one folder a task with train.tsv and dev.tsv, without quoting.

GLUE withholds the labels of its test files, so the dev file serves as the test split.
"""

from pathlib import Path

from hundredth.tables import Table, read_tsv

Labelled = tuple[tuple[str, ...], str]
Splits = tuple[list[Labelled], list[Labelled]]

_COLA_COLUMNS = ("source", "label", "mark", "sentence")


def read_cola(folder: Path) -> Splits:
    """CoLA: one sentence, 1 when it is grammatical. Its files have no header."""
    train, dev = (read_tsv(folder / name, columns=_COLA_COLUMNS) for name in ("train.tsv", "dev.tsv"))
    return labelled(train, ("sentence",), "label"), labelled(dev, ("sentence",), "label")


def read_mrpc_tables(train: Path, test: Path) -> Splits:
    """MRPC: two sentences, 1 when they mean the same; GLUE and SentEval share the columns."""
    fields = ("#1 String", "#2 String")
    return labelled(read_tsv(train), fields, "Quality"), labelled(read_tsv(test), fields, "Quality")


def read_mrpc(folder: Path) -> Splits:
    """MRPC as GLUE splits it."""
    return read_mrpc_tables(folder / "train.tsv", folder / "dev.tsv")


def read_sst2(folder: Path) -> Splits:
    """SST-2: one sentence or phrase of a film review, 1 when it is positive."""
    return _read(folder, ("sentence",))


def read_pair(folder: Path) -> Splits:
    """RTE and WNLI: sentence1 and sentence2, and whether the second follows from the first."""
    return _read(folder, ("sentence1", "sentence2"))


def read_qnli(folder: Path) -> Splits:
    """QNLI: a question and a sentence, and whether the sentence holds the answer."""
    return _read(folder, ("question", "sentence"))


def labelled(table: Table, fields: tuple[str, ...], label: str) -> list[Labelled]:
    """Return the rows as (texts, label), all as stripped strings; an absent cell becomes an empty text."""
    columns = [table.column(field) for field in fields]
    labels = table.column(label)
    rows = zip(zip(*columns, strict=True), labels, strict=True)
    return [(tuple(_text(cell) for cell in cells), _text(value)) for cells, value in rows]


def _read(folder: Path, fields: tuple[str, ...]) -> Splits:
    train, dev = read_tsv(folder / "train.tsv"), read_tsv(folder / "dev.tsv")
    return labelled(train, fields, "label"), labelled(dev, fields, "label")


def _text(cell: object) -> str:
    return "" if cell is None else str(cell).strip()
