"""Which column of a table holds the sentences, and what is no corpus at all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, IterableDataset
from tiny_bases import sentences

from hundredth.errors import UserError
from hundredth.ranking import train_encoder, whiten_encoder
from hundredth.ranking.config import make_training_config
from hundredth.ranking.corpus import CorpusCounts, import_corpus, read_corpus
from hundredth.ranking.reporting import Silent

TEXTS = sentences(20)


def table(*names: str) -> dict[str, list[str]]:
    """Columns of texts: the sentences in the one named last, something else in all others."""
    return {name: TEXTS if name == names[-1] else [f"{name} {i}" for i in range(20)] for name in names}


def imported(corpus: Any, folder: Path, **columns: str) -> tuple[list[str], list[str]]:
    """Return the sentences that are read, and what was said."""
    said: list[str] = []
    import_corpus(corpus, folder / "corpus.arrow", **columns, say=said.append)
    return list(read_corpus(folder / "corpus.arrow")["sentence"]), said


@pytest.mark.parametrize(
    "names",
    [
        ("id", "sentence"),
        ("id", "title", "Text"),
        ("texts", "sentences"),
        ("text", "sentence"),
        ("sentences", "TEXT"),
        ("url", "texts"),
    ],
    ids="-".join,
)
def test_the_usual_names_are_found_in_every_kind_of_table(names: tuple[str, ...], tmp_path: Path) -> None:
    """Silent otherwise: an encoder that was trained on ids."""
    columns = table(*names)
    rows = list(zip(*columns.values(), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("\n".join(map(",".join, [names, *rows])))
    (tmp_path / "a.tsv").write_text("\n".join(map("\t".join, [names, *rows])))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    for file in sorted(tmp_path.glob("a.*")):
        said = f"  sentences: column {names[-1]!r} of {file}"
        assert imported(file, tmp_path) == (TEXTS, [said]), file
    said = f"  sentences: column {names[-1]!r} of the dataset"
    assert imported(Dataset.from_dict(columns), tmp_path) == (TEXTS, [said])


def test_nothing_is_said_where_there_was_no_choice(tmp_path: Path) -> None:
    numbered = Dataset.from_dict({"id": list(range(20)), "line": TEXTS})
    assert imported(numbered, tmp_path) == (TEXTS, [])
    both = Dataset.from_dict(table("text", "headline"))
    assert imported(both, tmp_path, column="headline") == (TEXTS, [])
    assert imported(both, tmp_path, negatives="text") == (TEXTS, [])


def test_columns_of_which_none_is_known_are_listed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,headline\n1,my card\n")
    with pytest.raises(UserError, match=r"which column .* name it with --column .*columns are id, headline"):
        imported(tmp_path / "a.csv", tmp_path)
    with pytest.raises(
        UserError, match="no column of texts beside 'hard', the hard negatives; its columns are hard"
    ):
        imported(Dataset.from_dict({"hard": TEXTS}), tmp_path, negatives="hard")


def test_training_and_whitening_say_what_they_chose(tiny_encoder: Path, tmp_path: Path) -> None:
    said: list[str] = []

    class Told(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    corpus = Dataset.from_dict(table("id", "text"))
    config = make_training_config("simcse", {"batch_size": 8, "steps": 1})
    train_encoder(tiny_encoder, corpus, tmp_path / "out", config=config, reporter=Told())
    whiten_encoder(str(tiny_encoder), corpus, tmp_path / "white", dimensions=2, reporter=Told())
    assert [one for one in said if "column" in one] == ["  sentences: column 'text' of the dataset"] * 2


def test_half_of_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    """JSON can spell it and UTF-8 cannot hold it."""
    lines = [json.dumps({"text": text}) for text in TEXTS]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, '{"text": "cut emoji \\ud83d"}']))
    counts = import_corpus(tmp_path / "a.jsonl", tmp_path / "corpus.arrow")
    assert counts == CorpusCounts(20, unreadable=1)
    (tmp_path / "b.jsonl").write_text('{"text": "cut emoji \\ud83d"}\n' * 3)
    with pytest.raises(UserError, match="is not UTF-8 text: 3 of 3 lines"):
        import_corpus(tmp_path / "b.jsonl", tmp_path / "corpus.arrow")


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        (
            DatasetDict({"train": Dataset.from_dict({"a": TEXTS})}),
            r"DatasetDict of the splits train: .*\['train'\]",
        ),
        ({"text": TEXTS}, "holds a dict: pass files, a Dataset"),
        ([Dataset.from_dict({"a": TEXTS})], "holds a Dataset: pass files"),
    ],
    ids=["splits", "dict", "list"],
)
def test_what_is_neither_files_nor_a_dataset(corpus: Any, said: str, tiny_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        train_encoder(tiny_encoder, corpus, tmp_path / "out", config=make_training_config("simcse"))
    with pytest.raises(UserError, match=said):
        whiten_encoder(str(tiny_encoder), corpus, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_does_not_say_what_it_holds(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, str]]:
        for number, text in enumerate([*TEXTS, "cut emoji \ud83d"]):
            yield {"id": str(number), "text": text}

    streamed = IterableDataset.from_generator(rows)
    said = "  sentences: column 'text' of the dataset"
    assert imported(streamed, tmp_path) == (TEXTS, [said])
    assert imported(streamed, tmp_path, column="id")[0][:2] == ["0", "1"]
