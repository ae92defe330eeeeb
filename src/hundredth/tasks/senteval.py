"""SentEval's transfer tasks (Conneau and Kiela 2018), from the folder that its own script downloads."""

from pathlib import Path

from hundredth.errors import UserError
from hundredth.tables import read_lines, read_tsv
from hundredth.tasks.glue import Labelled, Splits, labelled, read_mrpc_tables

# The words for TREC's fine labels are their definitions (Li and Roth 2002), shortened.
TREC_COARSE = {
    "ABBR": "abbreviation",
    "DESC": "description or definition",
    "ENTY": "entity or thing",
    "HUM": "person or group",
    "LOC": "location",
    "NUM": "number, date or amount",
}
TREC_FINE = {
    "ABBR:abb": "abbreviation",
    "ABBR:exp": "what an abbreviation stands for",
    "DESC:def": "definition of something",
    "DESC:desc": "description of something",
    "DESC:manner": "manner of an action",
    "DESC:reason": "reason",
    "ENTY:animal": "animal",
    "ENTY:body": "organ of the body",
    "ENTY:color": "colour",
    "ENTY:cremat": "invention, book or other creation",
    "ENTY:currency": "name of a currency",
    "ENTY:dismed": "disease or medicine",
    "ENTY:event": "event",
    "ENTY:food": "food",
    "ENTY:instru": "musical instrument",
    "ENTY:lang": "language",
    "ENTY:letter": "letter of the alphabet",
    "ENTY:other": "other entity",
    "ENTY:plant": "plant",
    "ENTY:product": "product",
    "ENTY:religion": "religion",
    "ENTY:sport": "sport or game",
    "ENTY:substance": "element or substance",
    "ENTY:symbol": "symbol or sign",
    "ENTY:techmeth": "technique or method",
    "ENTY:termeq": "equivalent term",
    "ENTY:veh": "vehicle",
    "ENTY:word": "word with a special property",
    "HUM:desc": "description of a person",
    "HUM:gr": "group or organisation of people",
    "HUM:ind": "individual person",
    "HUM:title": "title of a person",
    "LOC:city": "city",
    "LOC:country": "country",
    "LOC:mount": "mountain",
    "LOC:other": "other place",
    "LOC:state": "state or province",
    "NUM:code": "postcode, phone number or other code",
    "NUM:count": "number of something",
    "NUM:date": "date",
    "NUM:dist": "distance or length",
    "NUM:money": "price or sum of money",
    "NUM:ord": "rank or order",
    "NUM:other": "other number",
    "NUM:perc": "percentage or fraction",
    "NUM:period": "length of time",
    "NUM:speed": "speed",
    "NUM:temp": "temperature",
    "NUM:volsize": "size, area or volume",
    "NUM:weight": "weight",
}


def read_trec(folder: Path) -> Splits:
    """TREC: a question and one of six coarse labels. The files are Latin-1."""
    train, test = read_trec_fine(folder)
    return _coarse(train), _coarse(test)


def read_trec_fine(folder: Path) -> Splits:
    """TREC with its fine labels, such as "NUM:date"."""
    return _trec(folder / "train_5500.label"), _trec(folder / "TREC_10.label")


def read_sst2(folder: Path) -> Splits:
    """SST with two labels: text TAB label. The dev file is unused: every task draws dev in the same way."""
    train, test = (
        read_tsv(folder / name, columns=("text", "label")) for name in ("sentiment-train", "sentiment-test")
    )
    return labelled(train, ("text",), "label"), labelled(test, ("text",), "label")


def read_mrpc(folder: Path) -> Splits:
    """MRPC with its labelled test split."""
    return read_mrpc_tables(folder / "msr_paraphrase_train.txt", folder / "msr_paraphrase_test.txt")


def read_mr(folder: Path) -> Splits:
    """MR: sentences of film reviews; no official split."""
    return _one_file_a_class(folder, {"0": "rt-polarity.neg", "1": "rt-polarity.pos"})


def read_cr(folder: Path) -> Splits:
    """CR: sentences of product reviews; no official split."""
    return _one_file_a_class(folder, {"0": "custrev.neg", "1": "custrev.pos"})


def read_subj(folder: Path) -> Splits:
    """SUBJ: objective plot summaries (0) and subjective review sentences (1); no official split."""
    return _one_file_a_class(folder, {"0": "subj.objective", "1": "subj.subjective"})


def read_mpqa(folder: Path) -> Splits:
    """MPQA: phrases of opinion in the news; no official split."""
    return _one_file_a_class(folder, {"0": "mpqa.neg", "1": "mpqa.pos"})


def _one_file_a_class(folder: Path, files: dict[str, str]) -> Splits:
    """Return all rows and an empty test split. SentEval's own reader takes these files as Latin-1."""
    rows: list[Labelled] = []
    for label, name in files.items():
        rows.extend(((line.strip(),), label) for line in read_lines(folder / name, encoding="latin-1"))
    return rows, []


def _trec(path: Path) -> list[Labelled]:
    rows: list[Labelled] = []
    for number, line in enumerate(read_lines(path, encoding="latin-1"), start=1):
        label, _, question = line.strip().partition(" ")
        if ":" not in label:
            raise UserError(f"{path} line {number}: no 'COARSE:fine' label before the question: {line[:60]!r}")
        rows.append(((question.strip(),), label))
    return rows


def _coarse(rows: list[Labelled]) -> list[Labelled]:
    return [(texts, label.partition(":")[0]) for texts, label in rows]
