"""What a training starts from: the prompt before every sentence, and no held-out sentence among the others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from tiny_bases import bag_teacher, base_folder, sentences, text_file

from hundredth.encoders import load_encoder
from hundredth.errors import UserError
from hundredth.ranking import train_encoder
from hundredth.ranking.config import EncoderTrainingConfig, make_training_config
from hundredth.ranking.pairs import ScoredPairs
from hundredth.ranking.preparation import prepare
from hundredth.ranking.reporting import Silent
from hundredth.ranking.selection import PairScore
from hundredth.ranking.tokens import Tokenizer, embed

PROMPT = "my bank order "


@pytest.fixture(params=["roberta", "llama"])
def prompted(request: pytest.FixtureRequest, tmp_path: Path) -> SentenceTransformer:
    """An encoder with a default prompt, which its pooling can tell."""
    model = load_encoder(str(base_folder(request.param, tmp_path / "base")))
    model.prompts, model.default_prompt_name = {"query": PROMPT}, "query"
    return model


@pytest.mark.parametrize("included", [True, False])
def test_tokens_and_embeddings_with_a_prompt_are_those_of_encode(
    included: bool, prompted: SentenceTransformer
) -> None:
    texts = sentences(12)
    prompted.set_pooling_include_prompt(included)
    tokenizer = Tokenizer(prompted)
    ids = tokenizer(texts)
    for text, row in zip(texts, ids, strict=True):
        assert row.tolist() == prompted.tokenizer(PROMPT + text)["input_ids"]
    expected = prompted.encode(texts, normalize_embeddings=True, convert_to_tensor=True)
    torch.testing.assert_close(embed(prompted, tokenizer, ids), expected, atol=1e-6, rtol=1e-5)
    scores = np.random.default_rng(0).random(6)
    cosines = (expected[:6] * expected[6:]).sum(dim=1).numpy()
    found = PairScore(tokenizer, ScoredPairs(texts[:6], texts[6:], scores))(prompted)
    assert found["spearman"] == pytest.approx(100 * spearmanr(cosines, scores).statistic)


@pytest.mark.parametrize("included", [True, False])
def test_an_encoder_is_trained_behind_its_prompt(included: bool, tmp_path: Path) -> None:
    """A prompt that the pooling includes or excludes is another training than none, and stays in the encoder."""
    base, corpus = base_folder("roberta", tmp_path / "base"), text_file(tmp_path / "corpus.txt", 64)
    config = make_training_config("simcse", {"batch_size": 16, "steps": 2, "precision": "float32"})
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    trained = {}
    for name in ("prompted", "bare"):
        model = SentenceTransformer(str(base), device="cpu", config_kwargs=still)
        model.set_pooling_include_prompt(included)
        if name == "prompted":
            model.prompts, model.default_prompt_name = {"query": PROMPT}, "query"
        trained[name] = train_encoder(model, corpus, tmp_path / name, config=config)
    words = [model[0].model.embeddings.word_embeddings.weight for model in trained.values()]
    assert not torch.allclose(*words, atol=1e-6)
    loaded = SentenceTransformer(str(tmp_path / "prompted"), device="cpu")
    assert (loaded.prompts["query"], loaded.default_prompt_name) == (PROMPT, "query")


def test_a_prompt_that_leaves_no_room_is_refused(prompted: SentenceTransformer) -> None:
    """Silent otherwise: all sentences alike."""
    with pytest.raises(
        UserError, match="'my bank order ' leaves no room for sentences in 3 tokens: raise max_length"
    ):
        Tokenizer(prompted, 3)
    assert Tokenizer(prompted, 8)(["my card"])[0].tolist() == prompted.tokenizer(PROMPT + "my card")["input_ids"]


def test_held_out_sentences_are_not_trained_on_either(tiny_encoder: Path, tmp_path: Path) -> None:
    """Silent otherwise: the best step is chosen by sentences that were learnt."""
    texts = sentences(300)
    rows = [*texts, *texts[:100], *texts[:50]]
    (tmp_path / "corpus.txt").write_text("\n".join(rows))
    said: list[str] = []

    class Told(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    given: Any = (None, EncoderTrainingConfig(batch_size=16), None, None, None, tmp_path / "cache")
    (tmp_path / "work").mkdir()
    found = prepare(tiny_encoder, tmp_path / "corpus.txt", [bag_teacher], *given, tmp_path / "work", Told())
    order = np.random.default_rng([0, 1]).permutation(450)
    held_out = {rows[place] for place in order[: found.judged]}
    trained = {rows[place] for place in found.rows}
    assert found.judged == 22
    assert not held_out & trained
    assert held_out | trained == set(texts)
    left_out = 450 - found.judged - len(found.rows)
    assert left_out > 0
    assert f"  {left_out} sentences repeat held-out ones and are left out of training" in said
