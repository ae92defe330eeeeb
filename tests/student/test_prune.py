"""Cutting the vocabulary: the same embeddings for what is kept, a working tokenizer for the rest."""

from importlib.util import find_spec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_student import LENGTH, LETTERS, VOCABULARY, tiny_student
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, PreTrainedTokenizerFast, RobertaConfig

from hundredth.errors import UserError
from hundredth.student.model import StudentEncoder, load_student, parameter_count, tokenize
from hundredth.student.prune import (
    parameters_without_vocabulary,
    prune_vocabulary,
    token_budget,
    token_table,
)

# Special tokens without the unused ones, and each letter alone and inside a word.
ALWAYS = 5 + 2 * len(LETTERS)
TEXTS = ["Cash machine", "the machine swallowed my card", "payment payment payment"]

every_cuttable = pytest.mark.parametrize("architecture", ["bert", "distilbert", "mpnet", "roberta"])


def pairs(texts: list[str]) -> list[tuple[str, ...]]:
    return [(text,) for text in texts]


@every_cuttable
def test_texts_of_kept_pieces_have_exactly_the_same_embedding_and_logits(architecture: str) -> None:
    model, tokenizer = tiny_student(architecture)
    small, small_tokenizer, report = prune_vocabulary(model, tokenizer, TEXTS)
    assert report.coverage == 1.0
    assert report.tokens_after < report.tokens_before
    texts = [*pairs(TEXTS), ("card", "the cash"), ("payment card swallowed machine cash",)]
    for text in texts:
        before = model(**tokenize(tokenizer, [text], LENGTH))
        after = small(**tokenize(small_tokenizer, [text], LENGTH))
        for one, other in zip(before, after, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@every_cuttable
def test_padding_still_does_not_count_after_the_cut(architecture: str) -> None:
    """Silent otherwise: RoBERTa and MPNet find padding, and so positions, by its token id."""
    model, tokenizer = tiny_student(architecture)
    small, small_tokenizer, _ = prune_vocabulary(model, tokenizer, TEXTS, max_length=12)
    before = model(**tokenize(tokenizer, pairs(TEXTS), 12))[0]
    after = small(**tokenize(small_tokenizer, pairs(TEXTS), 12))[0]
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


@every_cuttable
def test_positions_are_cut_to_the_length_and_the_parameters_fall_by_both_tables(architecture: str) -> None:
    model, tokenizer = tiny_student(architecture)
    small, small_tokenizer, report = prune_vocabulary(model, tokenizer, TEXTS, max_length=10)
    assert (report.positions_before, report.positions_after) == (LENGTH, 10)
    assert small.max_positions == 10
    assert small_tokenizer.model_max_length == 10
    dropped = (report.tokens_before - report.tokens_after) + (LENGTH - 10)
    assert report.parameters_before - report.parameters_after == dropped * model.dimension
    assert parameter_count(small) == report.parameters_after
    long = tokenize(small_tokenizer, [("card " * 50,)], 10)
    assert long["input_ids"].shape == (1, 10)
    assert torch.isfinite(small(**long)[0]).all()


def test_an_encoder_with_rotary_positions_keeps_its_length() -> None:
    model, tokenizer = tiny_student("modernbert")
    small, small_tokenizer, report = prune_vocabulary(model, tokenizer, TEXTS, max_length=10)
    assert (report.positions_before, report.positions_after) == (LENGTH, LENGTH)
    before = model(**tokenize(tokenizer, pairs(TEXTS), 10))[0]
    torch.testing.assert_close(small(**tokenize(small_tokenizer, pairs(TEXTS), 10))[0], before, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=40), budget=st.integers(min_value=ALWAYS, max_value=len(VOCABULARY)))
def test_any_text_still_has_tokens_that_the_student_knows(text: str, budget: int) -> None:
    model, tokenizer = tiny_student()
    small, small_tokenizer, report = prune_vocabulary(model, tokenizer, TEXTS, max_tokens=budget)
    batch = tokenize(small_tokenizer, [(text,)], LENGTH)
    assert int(batch["input_ids"].max()) < report.tokens_after
    assert torch.isfinite(small(**batch)[0]).all()


def test_a_word_that_is_dropped_falls_to_smaller_pieces() -> None:
    _, tokenizer = tiny_student()
    model, _ = tiny_student()
    _, small_tokenizer, _ = prune_vocabulary(model, tokenizer, ["cash"])
    assert tokenizer.tokenize("Card") == ["card"]
    assert small_tokenizer.tokenize("Card") == ["c", "##a", "##r", "##d"]
    assert small_tokenizer.tokenize("Cash ☃") == ["cash", "[UNK]"]


@every_cuttable
def test_ids_are_consecutive_and_special_tokens_keep_their_places(architecture: str) -> None:
    model, tokenizer = tiny_student(architecture)
    small, small_tokenizer, report = prune_vocabulary(model, tokenizer, TEXTS, max_tokens=ALWAYS + 6)
    assert sorted(small_tokenizer.get_vocab().values()) == list(range(ALWAYS + 6))
    assert len(small_tokenizer) == report.tokens_after == small.encoder.config.vocab_size
    for name in ("pad", "unk", "cls", "sep", "mask"):
        token = getattr(small_tokenizer, f"{name}_token")
        assert token == getattr(tokenizer, f"{name}_token")
        assert getattr(small_tokenizer, f"{name}_token_id") == small_tokenizer.get_vocab()[token]
    row = small_tokenizer("card", "cash")["input_ids"]
    assert small_tokenizer.convert_ids_to_tokens(row) == ["[CLS]", "card", "[SEP]", "cash", "[SEP]"]
    assert [row[0], row[-1]] == [small_tokenizer.cls_token_id, small_tokenizer.sep_token_id]
    assert small.encoder.config.pad_token_id == small_tokenizer.pad_token_id
    assert small_tokenizer("[MASK]", add_special_tokens=False)["input_ids"] == [small_tokenizer.mask_token_id]


def test_the_budget_goes_to_the_texts_first_and_then_to_the_frequent_pieces() -> None:
    model, tokenizer = tiny_student()
    texts = ["cash", "help help help", "machine machine"]
    kept = {
        extra: set(prune_vocabulary(model, tokenizer, texts, max_tokens=ALWAYS + extra)[1].get_vocab())
        for extra in (0, 1, 2, 3, 5)
    }
    words = {
        extra: {piece for piece in pieces if len(piece.removeprefix("##")) > 1} for extra, pieces in kept.items()
    }
    specials = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    assert words[0] == specials
    assert words[1] == specials | {"help"}
    assert words[2] == specials | {"help", "machine"}
    assert words[3] == specials | {"help", "machine", "cash"}
    # The first of the rest in id order; BERT's unused entries are never taken.
    assert words[5] == specials | {"help", "machine", "cash", "card", "money"}


def test_a_budget_that_does_not_hold_the_texts_pieces_says_how_much_is_covered() -> None:
    model, tokenizer = tiny_student()
    _, _, report = prune_vocabulary(model, tokenizer, ["help help help cash"], max_tokens=ALWAYS + 1)
    assert report.coverage == 0.75
    _, _, report = prune_vocabulary(model, tokenizer, [], max_tokens=10_000)
    assert report.coverage == 1.0
    assert report.tokens_after == len(VOCABULARY) - 2  # all but the unused


def test_a_budget_below_what_must_be_kept_is_refused_with_the_numbers() -> None:
    model, tokenizer = tiny_student()
    with pytest.raises(UserError, match=f"of 20 tokens is too small.*are {ALWAYS}"):
        prune_vocabulary(model, tokenizer, TEXTS, max_tokens=20)


@pytest.mark.parametrize("length", [1, LENGTH + 1])
def test_a_length_that_the_student_cannot_read_is_refused(length: int) -> None:
    with pytest.raises(UserError, match=f"max_length {length} does not fit this student: it reads 2 to {LENGTH}"):
        prune_vocabulary(*tiny_student(), TEXTS, max_length=length)


def test_the_student_given_is_left_as_it_was() -> None:
    model, tokenizer = tiny_student()
    model.train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small, _, _ = prune_vocabulary(model, tokenizer, TEXTS, max_length=10)
    assert small.training
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.zero_()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0)
    assert len(tokenizer) == len(VOCABULARY)
    assert tokenizer.tokenize("card") == ["card"]


@pytest.mark.parametrize(
    "processor",
    [
        processors.BertProcessing(("[SEP]", 5), ("[CLS]", 4)),
        processors.RobertaProcessing(("[SEP]", 5), ("[CLS]", 4)),
        processors.Sequence([processors.BertProcessing(("[SEP]", 5), ("[CLS]", 4))]),
        None,
    ],
    ids=["bert", "roberta", "sequence", "none"],
)
def test_every_form_of_post_processor_gets_the_new_ids(processor: object) -> None:
    """Silent otherwise: a [CLS] with its old id is another word of the small vocabulary."""
    model, tokenizer = tiny_student()
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    if processor is None:
        backend = Tokenizer(backend.model)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    else:
        backend.post_processor = processor
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    _, small_tokenizer, _ = prune_vocabulary(model, tokenizer, ["card"])
    before = tokenizer.convert_ids_to_tokens(tokenizer("card")["input_ids"])
    after = small_tokenizer.convert_ids_to_tokens(small_tokenizer("card")["input_ids"])
    assert after == before


def test_a_tokenizer_of_another_kind_is_refused_by_name() -> None:
    backend = Tokenizer(models.BPE({"<pad>": 0, "<unk>": 1, "a": 2}, [], unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")
    config = RobertaConfig(vocab_size=3, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, pad_token_id=0)
    model = StudentEncoder(AutoModel.from_config(config), 2)
    with pytest.raises(UserError, match="this student's tokenizer is BPE: give --factorise-vocabulary in place"):
        prune_vocabulary(model, tokenizer, ["a"])


def test_the_token_budget_fills_the_target_to_the_last_whole_token() -> None:
    assert token_budget(460_000, 128, 1_350_000) == 6953
    model, tokenizer = tiny_student()
    fixed = parameters_without_vocabulary(model, max_length=10)
    width = token_table(model).embedding_dim
    target = fixed + 64 * width + width - 1
    small, _, report = prune_vocabulary(
        model, tokenizer, TEXTS, max_tokens=token_budget(fixed, width, target), max_length=10
    )
    assert report.tokens_after == 64
    assert target - width < parameter_count(small) <= target


def test_a_target_below_the_rest_of_the_student_is_refused_with_the_numbers() -> None:
    with pytest.raises(UserError, match=r"cannot have 400,000 parameters: without its vocabulary it has 460,000"):
        token_budget(460_000, 128, 400_000)


@pytest.mark.weights
def test_bert_tiny_at_one_percent_of_a_large_model_gives_the_same_embeddings() -> None:
    if find_spec("cognition") is None:
        pytest.skip("the package cognition, which carries BERT-tiny, is not installed")
    model, tokenizer = load_student("package:cognition/model", 3)
    model.eval()
    texts = ["My card was swallowed by the ATM!", "Café déjà vu, unbelievably transmogrified", "Hello 東京"]
    fixed = parameters_without_vocabulary(model, 64)
    budget = token_budget(fixed, token_table(model).embedding_dim, 1_350_000)
    small, small_tokenizer, report = prune_vocabulary(model, tokenizer, texts, budget, 64)
    assert 1_349_800 < report.parameters_after <= 1_350_000
    before = model(**tokenize(tokenizer, pairs(texts), 64))[0]
    after = small(**tokenize(small_tokenizer, pairs(texts), 64))[0]
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)
