"""TeacherRankings: any kind of teacher, one row a text, each text encoded once, and what is refused."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from tiny_sentences import SENTENCES, tiny_model

from hundredth.errors import UserError
from hundredth.ranking import HFTeacher, TeacherRankings

LABELS = torch.arange(len(SENTENCES))


def data(texts: Sequence[str] = SENTENCES) -> Dataset:
    return Dataset.from_dict({"sentence": list(texts)})


@pytest.fixture
def model(tiny_encoder: Path) -> SentenceTransformer:
    return tiny_model(tiny_encoder, dropout=0.3)


def alone(model: SentenceTransformer, texts: Sequence[str] = SENTENCES) -> torch.Tensor:
    """Unit embeddings in float32 without dropout, as sentence-transformers makes them."""
    found = copy.deepcopy(model).eval().encode(list(texts), convert_to_tensor=True)
    return F.normalize(found.float(), dim=1)


def widths(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), text.count("a") + 1, ord(text[0])] for text in texts], dtype=np.float64)


# --- What a row is ---------------------------------------------------------------------------------------


def test_the_dot_product_of_rows_is_the_weighted_mean_of_the_teachers_cosines(
    model: SentenceTransformer, tiny_encoder: Path, tmp_path: Path
) -> None:
    other = tiny_model(tiny_encoder, seed=3)
    teachers = TeacherRankings([model, other, widths], weights=[0.2, 0.3, 0.5], cache=tmp_path)
    ranked = teachers.rank(data())
    rows = teachers.rows(torch.tensor(ranked["label"]))
    third = F.normalize(torch.from_numpy(widths(SENTENCES)).float(), dim=1)
    expected = sum(
        weight * unit @ unit.T for weight, unit in ((0.2, alone(model)), (0.3, alone(other)), (0.5, third))
    )
    # The encoders may run in bfloat16 here.
    torch.testing.assert_close(rows @ rows.T, expected, rtol=0, atol=0.01)
    assert rows.dtype == torch.float32
    assert rows.shape[1] == teachers.width == 32 + 32 + 3


def test_a_teacher_that_fails_leaves_nothing_with_the_others(tmp_path: Path) -> None:
    """Silent otherwise: in the next call the others' rows are those of other texts."""
    interrupts = [True]

    def second(texts: list[str]) -> np.ndarray:
        if interrupts:
            interrupts.clear()
            raise KeyboardInterrupt
        return widths(texts)

    teachers = TeacherRankings([widths, second], cache=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        teachers.rank(data())
    rows = teachers.rows(torch.tensor(teachers.rank(data(SENTENCES[2:]))["label"]))
    torch.testing.assert_close(rows[:, :3], rows[:, 3:])


def test_a_file_that_does_not_fit_is_known_before_other_teachers_start(tmp_path: Path) -> None:
    seen: list[str] = []

    def slow(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        return widths(texts)

    np.save(tmp_path / "rows.npy", widths(list(SENTENCES[2:])))
    with pytest.raises(UserError, match="row i of the file belongs to row i of the dataset"):
        TeacherRankings([slow, tmp_path / "rows.npy"], cache=tmp_path).rank(data())
    assert not seen


def test_a_shortened_embedding_is_shortened_here_too(model: SentenceTransformer, tmp_path: Path) -> None:
    model.truncate_dim = 5
    teachers = TeacherRankings([model], cache=tmp_path)
    teachers.rank(data())
    torch.testing.assert_close(teachers.rows(LABELS), alone(model), rtol=0, atol=0.01)


def test_live_teachers_give_the_same_rows_and_keep_nothing(
    model: SentenceTransformer, encoded: list[str], tmp_path: Path
) -> None:
    kept, live = TeacherRankings([model], cache=tmp_path), TeacherRankings([model], cache=tmp_path, live=True)
    kept.rank(data())
    files = sorted(tmp_path.rglob("*"))
    encoded.clear()
    labels = torch.tensor(live.rank(data([*SENTENCES, SENTENCES[0]]))["label"])
    assert not encoded
    torch.testing.assert_close(live.rows(labels), kept.rows(labels), rtol=0, atol=0.01)
    assert len(encoded) == len(SENTENCES) + 1
    assert sorted(tmp_path.rglob("*")) == files


def test_teacher_scores_of_near_texts_do_not_tie(tmp_path: Path) -> None:
    """Silent otherwise: in half precision these scores are equal, and their order is chance."""
    angles = np.linspace(0, 1e-3, 40)

    def turning(texts: list[str]) -> np.ndarray:
        return np.stack([np.cos(angles + 1), np.sin(angles + 1)], axis=1)

    teachers = TeacherRankings([turning], cache=tmp_path)
    labels = torch.tensor(teachers.rank(data([str(i) for i in range(40)]))["label"])
    assert len(teachers.rows(labels)[:, 0].unique()) == 40


def test_a_teacher_runs_without_dropout_and_its_own_copy(model: SentenceTransformer, tmp_path: Path) -> None:
    teachers = TeacherRankings([model], cache=tmp_path, live=True)
    with torch.no_grad():
        next(model.parameters()).zero_()
    assert model.training
    teachers.rank(data())
    one, two = teachers.rows(LABELS), teachers.rows(LABELS)
    torch.testing.assert_close(one, two)
    assert not torch.allclose(one, alone(model), atol=0.05)


def test_each_teacher_reads_the_texts_with_its_own_tokenizer(
    model: SentenceTransformer, tiny_llm: Path, tmp_path: Path
) -> None:
    """Silent otherwise: ids of one vocabulary fed to a teacher with another."""
    teachers = TeacherRankings([model, HFTeacher(str(tiny_llm), "mean")], cache=tmp_path)
    teachers.rank(data())
    rows = teachers.rows(LABELS)
    torch.testing.assert_close(2**0.5 * rows[:, :32], alone(model), rtol=0, atol=0.02)
    single = TeacherRankings([HFTeacher(str(tiny_llm), "mean")], cache=tmp_path)
    single.rank(data())
    torch.testing.assert_close(2**0.5 * rows[:, 32:], single.rows(LABELS))


@pytest.mark.parametrize("folder", ["tiny_encoder", "tiny_llm"])
def test_hugging_face_models_pool_as_they_are_told(
    folder: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from transformers import AutoModel, AutoTokenizer

    place = str(request.getfixturevalue(folder))
    tokenizer, trunk = AutoTokenizer.from_pretrained(place), AutoModel.from_pretrained(place).eval()
    prompt, text = "text: ", SENTENCES[0]
    with torch.no_grad():
        ids = tokenizer(prompt + text, return_tensors="pt", truncation=True, max_length=9)["input_ids"]
        states = trunk(input_ids=ids).last_hidden_state[0].float()
    assert len(states) == 9
    expected = {"cls": states[0], "mean": states.mean(dim=0), "last": states[-1]}
    for pooling, state in expected.items():
        spec = HFTeacher(place, pooling, prompt, max_length=9)  # type: ignore[arg-type]
        teachers = TeacherRankings([spec], cache=tmp_path)
        teachers.rank(data())  # texts of other lengths stand in the same batch
        row = teachers.rows(torch.tensor([0]))[0]
        assert F.cosine_similarity(row, state, dim=0) > 0.999, pooling


# --- Labels ----------------------------------------------------------------------------------------------


def test_each_distinct_text_is_encoded_once(model: SentenceTransformer, encoded: list[str], tmp_path: Path) -> None:
    teachers = TeacherRankings([model], cache=tmp_path)
    train = teachers.rank(data([*SENTENCES[:5], SENTENCES[1], SENTENCES[0]]))
    dev = teachers.rank(data([SENTENCES[6], SENTENCES[2], SENTENCES[6]]))
    teachers.rows(torch.tensor(train["label"]))
    assert train["label"][:] == [0, 1, 2, 3, 4, 1, 0]
    assert dev["label"][:] == [5, 2, 5]
    assert sorted(encoded) == sorted([*SENTENCES[:5], SENTENCES[6]])
    both = torch.tensor([5, 2])
    unit = alone(model, [SENTENCES[6], SENTENCES[2]])
    torch.testing.assert_close(teachers.rows(both), unit, rtol=0, atol=0.02)


def test_the_first_text_column_is_ranked_and_the_others_stay(tmp_path: Path) -> None:
    columns = {"n": [1, 2], "text": ["one", "three"], "negative": ["two", "four"]}
    teachers = TeacherRankings([widths], cache=tmp_path)
    ranked = teachers.rank(Dataset.from_dict(columns))
    assert ranked.column_names == ["text", "n", "negative", "label"]
    assert teachers.rows(torch.tensor([1]))[0, 0] > 0
    teachers.rank(Dataset.from_dict(columns), column="negative")
    rows = teachers.rows(torch.arange(4))
    expected = F.normalize(torch.from_numpy(widths(["one", "three", "two", "four"])).float(), dim=1)
    torch.testing.assert_close(rows, expected)


def test_a_file_gives_row_i_to_row_i_of_the_dataset(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float16)
    np.save(tmp_path / "vectors.npy", vectors)
    teachers = TeacherRankings([tmp_path / "vectors.npy"])
    texts = ["a", "b", "a", "c"]  # row 2 repeats row 0: the first counts
    labels = torch.tensor(teachers.rank(data(texts))["label"])
    expected = F.normalize(torch.from_numpy(vectors[[0, 1, 0, 3]]).float(), dim=1)
    torch.testing.assert_close(teachers.rows(labels), expected)
    assert teachers.rank(data(["c", "b"]))["label"][:] == [2, 1]
    with pytest.raises(UserError, match="second one with 1 texts that the first has not"):
        teachers.rank(data(["a", "d"]))


# --- Bad input -------------------------------------------------------------------------------------------


def broken(value: float) -> Any:
    def teacher(texts: list[str]) -> np.ndarray:
        made = np.ones((len(texts), 4))
        made[-1] = value
        return made

    return teacher


@pytest.mark.parametrize(
    ("value", "said"), [(float("nan"), "NaN or infinite"), (float("inf"), "NaN or infinite"), (0.0, "all zeros")]
)
@pytest.mark.parametrize("live", [False, True])
def test_a_teacher_that_gives_no_direction_is_refused(value: float, said: str, live: bool, tmp_path: Path) -> None:
    teachers = TeacherRankings([broken(value)], cache=tmp_path, live=live)

    def use() -> None:
        teachers.rank(data())
        teachers.rows(LABELS)

    with pytest.raises(UserError, match=f"1 of 8 embeddings cannot be ranked; that of 'How do I log.*{said}"):
        use()


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([0.5, 0.6], r"0\.5, 0\.6 sum to 1\.1"),
        ([1.5, -0.5], "at least 0"),
        ([1.0], "1 weights for 2 teachers"),
        ([float("nan"), 1.0], "sum to nan"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: list[float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        TeacherRankings([widths, widths], weights)


def test_weights_may_carry_rounding_errors() -> None:
    assert TeacherRankings([widths] * 3, [1 / 3] * 3).weights == [1 / 3] * 3
    assert TeacherRankings([widths] * 3).weights == [1 / 3] * 3


@pytest.mark.parametrize(
    ("dataset", "column", "said"),
    [
        ({"sentence": []}, None, "the dataset is empty"),
        ({"sentence": ["a"], "label": [1]}, None, "has a column 'label' already"),
        ({"n": [1]}, None, "no column of texts, only n"),
        ({"sentence": ["a"]}, "text", "no column of texts 'text'; its columns of texts: sentence"),
        ({"sentence": ["a", None]}, None, "row 1 of the dataset has no text"),
    ],
)
def test_datasets_that_cannot_be_ranked_are_refused(
    dataset: dict[str, list[Any]], column: str | None, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        TeacherRankings([widths]).rank(Dataset.from_dict(dataset), column)


def test_files_that_are_no_embeddings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npy"
    with pytest.raises(UserError, match=r"not a \.npy file"):
        TeacherRankings([path])
    path.write_text("text")
    with pytest.raises(UserError, match=r"not a \.npy file"):
        TeacherRankings([path])
    np.save(path, np.ones(8))
    with pytest.raises(UserError, match=r"float64 of shape \(8,\)"):
        TeacherRankings([path])
    np.save(path, np.ones((3, 4)))
    with pytest.raises(UserError, match="has 3 rows for a dataset of 8"):
        TeacherRankings([path]).rank(data())
    vectors = np.ones((8, 4))
    vectors[6, 2] = np.nan
    np.save(path, vectors)
    with pytest.raises(UserError, match="that of row 6 is NaN"):
        TeacherRankings([path]).rank(data())


def test_teachers_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no teacher is given"):
        TeacherRankings([])
    with pytest.raises(UserError, match="no such file or folder"):
        TeacherRankings([str(tmp_path / "missing")])
    with pytest.raises(UserError, match=r"^teacher .* cannot be loaded as an encoder of sentences"):
        TeacherRankings([tmp_path])
    with pytest.raises(UserError, match="no pooling 'max': choose one of cls, mean, last"):
        TeacherRankings([HFTeacher("bert", "max")])  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not 3"):
        TeacherRankings([3])  # type: ignore[list-item]
    with pytest.raises(UserError, match=r"gave \(1, 3\) for 8 texts"):
        TeacherRankings([lambda texts: np.ones((1, 3))], cache=tmp_path).rank(data())
