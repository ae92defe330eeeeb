"""Training an encoder: what comes out, for every architecture, and what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from tiny_bases import ARCHITECTURES, bag_teacher, base_folder, sentences, text_file

from hundredth.errors import UserError
from hundredth.ranking.config import METHODS, EncoderTrainingConfig, make_training_config
from hundredth.ranking.pairs import ScoredPairs
from hundredth.ranking.training import train_encoder

SMALL = {"batch_size": 16, "steps": 6, "max_length": 16, "learning_rate": 3e-3, "evaluate_every": 2, "seed": 1}


def config(method: str = "rankcse", **values: Any) -> EncoderTrainingConfig:
    return make_training_config(method, {**SMALL, **values})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "encoder"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return text_file(tmp_path / "corpus.txt", 400)


def agreement(out: Path) -> dict[str, Any]:
    chosen: dict[str, Any] = json.loads((out / "training.json").read_text())["result"]["chosen_by"]
    return chosen


def test_an_encoder_learns_its_teachers_rankings(tiny_encoder: Path, corpus: Path, out: Path) -> None:
    settings = config(steps=60, evaluate_every=20)
    returned = train_encoder(tiny_encoder, corpus, out, teachers=[bag_teacher], config=settings)
    chosen = agreement(out)
    assert chosen["metric"] == "teacher_agreement"
    assert chosen["count"] == 20
    assert chosen["best"] > chosen["start"] + 10
    loaded = SentenceTransformer(str(out), device="cpu")
    texts = sentences(5, seed=9)
    np.testing.assert_allclose(loaded.encode(texts), returned.encode(texts), atol=1e-6)
    assert loaded.max_seq_length == SentenceTransformer(str(tiny_encoder)).max_seq_length
    card = (out / "README.md").read_text()
    assert f"| best, at step {chosen['step']} | {chosen['best']:.2f} |" in card
    assert "bag_teacher` (1)" in card
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(architecture: str, tmp_path: Path, corpus: Path, out: Path) -> None:
    base = base_folder(architecture, tmp_path / architecture)
    train_encoder(base, corpus, out, teachers=[bag_teacher], config=config(steps=3, precision="float32"))
    pooling = json.loads((out / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode"] == ("lasttoken" if architecture == "llama" else "mean")
    loaded = SentenceTransformer(str(out), device="cpu")
    found = loaded.encode(sentences(8))
    assert np.isfinite(found).all()
    # Alone and among others: padding must not change what a sentence means.
    np.testing.assert_allclose(found[:1], loaded.encode(sentences(8)[:1]), atol=1e-5)
    history = json.loads((out / "training.json").read_text())["result"]["history"]
    assert {"contrastive", "consistency", "ranking"} <= history[0].keys()
    assert history[0]["contrastive"] > 1e-3  # two equal views would be told apart at once
    assert history[0]["consistency"] > 0


def test_a_decoder_with_the_mean_and_an_encoder_with_cls_and_its_head(
    tiny_llm: Path, tiny_encoder: Path, corpus: Path, tmp_path: Path
) -> None:
    train_encoder(tiny_llm, corpus, tmp_path / "a", config=config("simcse", steps=2, pooling="mean"))
    assert json.loads((tmp_path / "a" / "1_Pooling" / "config.json").read_text())["pooling_mode"] == "mean"
    head = config("simcse", steps=2, pooling="cls", projection="mlp")
    train_encoder(tiny_encoder, corpus, tmp_path / "b", config=head)
    modules = json.loads((tmp_path / "b" / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling"]
    assert weights(tmp_path / "b").keys() == weights(tiny_encoder).keys()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_terms(method: str, tiny_encoder: Path, corpus: Path, out: Path) -> None:
    teachers = [bag_teacher] if make_training_config(method).ranking_weight else []
    train_encoder(tiny_encoder, corpus, out, teachers=teachers, config=config(method, steps=2, held_out=0))
    history = json.loads((out / "training.json").read_text())["result"]["history"]
    terms = {"contrastive", "consistency", "ranking"} & history[0].keys()
    expected = {
        "rankcse": {"contrastive", "consistency", "ranking"},
        "simcse": {"contrastive"},
        "consistency": {"contrastive", "consistency"},
        "listnet": {"contrastive", "ranking"},
        "listmle": {"contrastive", "ranking"},
    }
    assert terms == expected[method]
    assert agreement(out) is None


def test_the_best_step_by_scored_pairs_is_what_is_kept(tiny_encoder: Path, corpus: Path, tmp_path: Path) -> None:
    """A rate that ruins the encoder: a step before the last is best, and its weights are what is written."""
    texts = sentences(400, seed=5)
    rows = bag_teacher(texts)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = ScoredPairs(texts[:200], texts[200:], (rows[:200] * rows[200:]).sum(axis=1).astype(np.float64))
    settings = config(steps=12, learning_rate=0.1, evaluate_every=1, precision="float32")
    train_encoder(tiny_encoder, corpus, tmp_path / "a", teachers=[bag_teacher], config=settings, dev=pairs)
    result = json.loads((tmp_path / "a" / "training.json").read_text())["result"]
    scores = {e["step"]: e["eval_spearman"] for e in result["history"] if "eval_spearman" in e}
    assert sorted(scores) == list(range(1, 13))
    chosen = result["chosen_by"]
    assert chosen["best"] == max(scores.values()) == scores[chosen["step"]] > scores[12] == chosen["last"]
    from hundredth.ranking.selection import PairScore
    from hundredth.ranking.tokens import Tokenizer

    model = SentenceTransformer(str(tmp_path / "a"), device="cpu")
    score = PairScore(Tokenizer(model), pairs)(model)["spearman"]
    # All cosines of a ruined encoder are nearly alike, so that rounding moves the order of a few pairs.
    assert abs(score - chosen["best"]) < abs(score - chosen["last"]) / 4


def test_the_same_call_again_loads_and_another_is_refused(tiny_encoder: Path, corpus: Path, out: Path) -> None:
    train_encoder(tiny_encoder, corpus, out, config=config("simcse", steps=2))
    before = (out / "model.safetensors").stat().st_mtime_ns
    train_encoder(tiny_encoder, corpus, out, config=config("simcse", steps=2))
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"trained with other settings: config\.steps is 3 now and was 2"):
        train_encoder(tiny_encoder, corpus, out, config=config("simcse", steps=3))
    text_file(corpus, 300, seed=2)
    with pytest.raises(UserError, match="corpus is"):
        train_encoder(tiny_encoder, corpus, out, config=config("simcse", steps=2))


@pytest.mark.parametrize("held_out", [0, 20])
def test_a_training_that_diverges_writes_no_encoder(
    held_out: int, tiny_encoder: Path, corpus: Path, out: Path
) -> None:
    settings = config(learning_rate=1e30, warmup=0.0, held_out=held_out)
    with pytest.raises(UserError, match="the training diverged, its weights are NaN or infinite"):
        train_encoder(tiny_encoder, corpus, out, teachers=[bag_teacher], config=settings)
    assert not out.exists()


def test_a_training_that_diverges_after_a_good_start_writes_no_encoder(
    tiny_encoder: Path, corpus: Path, out: Path
) -> None:
    """The best step's weights are finite: put back, they would pass for those of a training that went well."""
    settings = config(learning_rate=1e30, warmup=0.5, steps=20, evaluate_every=1, held_out=20)
    for _ in range(2):
        with pytest.raises(UserError, match="the training diverged, its weights are NaN or infinite"):
            train_encoder(tiny_encoder, corpus, out, teachers=[bag_teacher], config=settings)
        assert not out.exists()


@pytest.mark.parametrize("wrong", [{"max_gradient": math.inf}, {"seed": 2**32}, {"student_temperature": math.nan}])
def test_a_setting_that_is_no_usable_number_is_refused(wrong: dict[str, float]) -> None:
    [name] = wrong
    with pytest.raises(UserError, match=name):
        make_training_config(values=wrong)


def test_a_dataset_and_a_model_in_memory_are_taken(tiny_encoder: Path, out: Path) -> None:
    model = SentenceTransformer(str(tiny_encoder), device="cpu")
    before = model.encode(["my card"])
    data = Dataset.from_dict({"id": list(range(64)), "text": sentences(64)})
    assert train_encoder(model, data, out, config=config("simcse", steps=2)) is model
    assert np.abs(model.encode(["my card"]) - before).max() > 1e-4
    assert model[0].model.config._attn_implementation == "sdpa"


def test_hard_negatives_are_pushed_away(tiny_encoder: Path, tmp_path: Path) -> None:
    texts = sentences(64)
    rows = {"text": texts, "hard": [f"{text} stolen" for text in texts]}
    distance = {}
    for negatives in (None, "hard"):
        out = tmp_path / str(negatives)
        settings = config("simcse", steps=20, precision="float32")
        model = train_encoder(
            tiny_encoder, Dataset.from_dict(rows), out, config=settings, column="text", negatives=negatives
        )
        one, other = (model.encode(rows[name], normalize_embeddings=True) for name in rows)
        distance[negatives] = float((one * other).sum(axis=1).mean())
    assert distance["hard"] < distance[None] - 0.02
    assert "| hard negatives | of the column `hard` |" in (tmp_path / "hard" / "README.md").read_text()
    with pytest.raises(UserError, match="negatives is None now and was hard"):
        train_encoder(tiny_encoder, Dataset.from_dict(rows), tmp_path / "hard", config=settings, column="text")


def test_a_base_without_a_pooler_is_the_same_when_it_is_loaded_again(
    poolerless: Path, corpus: Path, out: Path
) -> None:
    """A pooler that no checkpoint holds is random at each loading: a stopped training could never go on."""
    for _ in range(2):
        model = SentenceTransformer(str(poolerless), device="cpu")
        train_encoder(model, corpus, out, config=config("simcse", steps=2))


def test_the_loss_is_the_same_in_mini_batches(tiny_encoder: Path, corpus: Path, tmp_path: Path) -> None:
    plain = config(steps=3, precision="float32", dropout=0.0, held_out=0)
    for name, settings in {"a": plain, "b": plain.model_copy(update={"mini_batch_size": 4})}.items():
        train_encoder(tiny_encoder, corpus, tmp_path / name, teachers=[bag_teacher], config=settings)
    one, other = weights(tmp_path / "a"), weights(tmp_path / "b")
    # The bias of the keys has no influence, so that Adam takes steps of full length by rounding errors alone.
    used = [name for name in one if not name.endswith("key.bias")]
    assert max(float((one[name] - other[name]).abs().max()) for name in used) < 1e-3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"config": config()}, "no teacher is named, whose rankings are to be learnt"),
        ({"teachers": [bag_teacher], "config": config("simcse")}, "1 teachers are named, but ranking_weight is 0"),
        (
            {"negatives": "hard", "teachers": [bag_teacher], "config": config(contrastive_weight=0)},
            "the column 'hard', but contrastive_weight is 0",
        ),
        ({"config": config("simcse", batch_size=401)}, "the corpus has 400 sentences, fewer than one batch of 401"),
        (
            {"teachers": [bag_teacher], "config": config(batch_size=390)},
            "380 sentences to train on, fewer than one batch of 390",
        ),
        ({"base": "/nowhere"}, "model '/nowhere': no such file or folder"),
        ({"base": "{here}"}, "cannot be loaded as an encoder of sentences"),
        ({"corpus": []}, "no corpus is named"),
        ({"out": "{here}"}, "holds something that is no trained encoder: choose another folder"),
        ({"out": "{here}/corpus.txt"}, "holds something that is no trained encoder"),
        ({"teachers": [bag_teacher], "weights": [0.5], "config": config()}, "0.5"),
        ({"teachers": ["{here}/few.npy"], "config": config()}, "few.npy"),
        ({"teachers": [lambda texts: bag_teacher(texts) * np.nan], "config": config()}, "NaN"),
    ],
)
def test_what_cannot_be_trained(
    given: dict[str, Any], said: str, tiny_encoder: Path, corpus: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "few.npy", np.ones((5, 3), np.float32))
    place = {"base": tiny_encoder, "corpus": corpus, "out": tmp_path / "encoder", "config": config("simcse")}
    filled = {
        key: value.format(here=tmp_path)
        if isinstance(value, str)
        else [one.format(here=tmp_path) if isinstance(one, str) else one for one in value]
        if isinstance(value, list)
        else value
        for key, value in given.items()
    }
    with pytest.raises(UserError) as error:
        train_encoder(**{**place, **filled})
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "encoder").exists()


def test_embeddings_in_a_file_do_not_fit_a_corpus_with_blank_lines(
    tiny_encoder: Path, corpus: Path, tmp_path: Path
) -> None:
    """Silent otherwise: every row after the blank line would belong to the sentence before."""
    rows = tmp_path / "rows.npy"
    np.save(rows, bag_teacher(sentences(400)))
    lines = corpus.read_text()
    corpus.write_text("\n" + lines)
    with pytest.raises(UserError, match=r"of its 401 lines 1 are blank .* which leaves 400 sentences"):
        train_encoder(tiny_encoder, corpus, tmp_path / "out", teachers=[str(rows)], config=config())
    corpus.write_text("".join(lines.splitlines(keepends=True)[:300]))
    with pytest.raises(UserError, match=r"rows\.npy: has 400 rows for a dataset of 300"):
        train_encoder(tiny_encoder, corpus, tmp_path / "out", teachers=[str(rows)], config=config())


def test_settings_that_do_not_exist_or_are_out_of_range() -> None:
    with pytest.raises(UserError, match="there is no setting stepps; the settings are contrastive_weight"):
        make_training_config(overrides=["stepps=3"])
    with pytest.raises(UserError, match="batch_size=1: input should be greater than or equal to 2"):
        make_training_config(values={"batch_size": 1})
    with pytest.raises(UserError, match="write NAME=VALUE"):
        make_training_config(overrides=["steps"])
    with pytest.raises(UserError, match="there is no method 'rank': choose from rankcse, simcse"):
        make_training_config("rank")
    assert make_training_config("simcse", {"steps": None, "seed": 3}, ["pooling=cls"]).pooling == "cls"
