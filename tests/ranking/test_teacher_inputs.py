"""What teachers are given and what they give: columns, kinds of data, widths, files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tiny_bases import bag_teacher, sentences, word_tokenizer
from tiny_sentences import tiny_model

from hundredth.errors import UserError
from hundredth.ranking import RankCSELoss, TeacherRankings, teacher_cache
from hundredth.ranking.teacher_cache import text_keys

TEXTS = sentences(8)


def data(texts: list[str] = TEXTS) -> Dataset:
    return Dataset.from_dict({"sentence": texts})


def test_the_column_that_is_ranked_is_the_anchor(tiny_encoder: Path, tmp_path: Path) -> None:
    """Silent otherwise: the Trainer takes the first column, whose texts are not those of the labels."""
    teachers = TeacherRankings([bag_teacher])
    columns = {"title": [f"card {text}" for text in TEXTS], "n": list(range(8)), "sentence": TEXTS}
    ranked = teachers.rank(Dataset.from_dict(columns), column="sentence")
    assert ranked.column_names == ["sentence", "title", "n", "label"]
    assert ranked[3] == {"sentence": TEXTS[3], "title": f"card {TEXTS[3]}", "n": 3, "label": 3}
    model = tiny_model(tiny_encoder)
    seen: list[tuple[list[int], int]] = []

    class Watched(RankCSELoss):
        def forward(self, features: Any, labels: Any = None) -> Any:
            rows = features[0]["input_ids"].tolist()
            seen.extend(zip(rows, labels.tolist(), strict=True))
            return super().forward(features, labels)

    arguments = SentenceTransformerTrainingArguments(
        str(tmp_path), per_device_train_batch_size=8, max_steps=1, save_strategy="no", report_to=[], use_cpu=True
    )
    rows = ranked.remove_columns("n")
    SentenceTransformerTrainer(model, arguments, train_dataset=rows, loss=Watched(model, teachers)).train()
    assert sorted(label for _, label in seen) == list(range(8))
    for ids, label in seen:
        own = model.tokenizer(TEXTS[label])["input_ids"]
        assert ids[: len(own)] == own


@pytest.mark.parametrize("kind", ["splits", "streamed", "list"])
def test_what_is_no_dataset_is_not_ranked(kind: str) -> None:
    given: Any = {"splits": DatasetDict({"train": data()}), "streamed": data().to_iterable_dataset(), "list": TEXTS}
    with pytest.raises(UserError, match=rf"this is a {type(given[kind]).__name__}: pass .*dataset\['train'\]"):
        TeacherRankings([bag_teacher]).rank(given[kind])


def test_half_of_a_surrogate_pair_has_no_key() -> None:
    with pytest.raises(UserError, match="holds half of a surrogate pair"):
        text_keys(["a", "cut \ud83d"])


@pytest.mark.parametrize("widths", [(8, 12), (12, 8)])
def test_a_function_whose_width_changes_is_refused(
    widths: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent otherwise: all rows after the first chunk are read at the wrong places."""
    monkeypatch.setattr(teacher_cache, "_CHUNK", 6)
    first, second = widths

    def fitted_anew(texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), first if len(texts) == 6 else second))

    with pytest.raises(UserError, match=f"gave embeddings of {second} numbers after others of {first}"):
        TeacherRankings([fitted_anew]).rank(data())
    teachers = TeacherRankings([fitted_anew])
    teachers.rank(data(TEXTS[:6]))
    with pytest.raises(UserError, match=f"gave embeddings of {second} numbers after others of {first}"):
        teachers.rank(data())


@pytest.mark.parametrize("live", [False, True])
def test_a_sparse_matrix_is_refused(live: bool) -> None:
    def sparse(texts: list[str]) -> Any:
        return scipy.sparse.csr_matrix(np.ones((len(texts), 3)))

    teachers = TeacherRankings([sparse], live=live)
    with pytest.raises(UserError, match=r"'sparse': gave a csr_matrix, which is no array .* \.toarray\(\)"):  # noqa: PT012
        teachers.rank(data())
        teachers.rows(torch.arange(8))


@pytest.mark.parametrize("rows", [7, 9])
def test_a_file_of_more_or_fewer_rows_than_texts_is_refused(rows: int, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((rows, 3), np.float32))
    with pytest.raises(UserError, match=f"has {rows} rows for a dataset of 8"):
        TeacherRankings([tmp_path / "a.npy"]).rank(data())


def test_a_static_embedding_teaches(tmp_path: Path) -> None:
    """Its longest text is infinity, which JSON cannot hold."""
    torch.manual_seed(0)
    static = StaticEmbedding(word_tokenizer().backend_tokenizer, embedding_dim=8)
    model = SentenceTransformer(modules=[static], device="cpu")
    for _ in range(2):
        teachers = TeacherRankings([model], cache=tmp_path)
        teachers.rank(data())
        expected = model.encode(TEXTS, normalize_embeddings=True, convert_to_tensor=True)
        torch.testing.assert_close(teachers.rows(torch.arange(8)), expected, rtol=0, atol=0.02)
    [folder] = tmp_path.iterdir()
    assert '"max_length": null' in (folder / "teacher.json").read_text()
