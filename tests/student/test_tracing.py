"""What is traced for the export computes what the student does, in fewer nodes where that can be had."""

import pytest
import torch
from tiny_student import CONFIGS, LENGTH, random_texts, tiny_student
from transformers import AutoModel, ModernBertConfig

from hundredth.student.model import StudentEncoder, tokenize
from hundredth.student.tracing import traceable


@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_what_is_traced_computes_what_the_student_does(architecture: str) -> None:
    model, tokenizer = tiny_student(architecture)
    model.eval()
    batch = tokenize(tokenizer, random_texts(6), LENGTH)
    inputs = [batch["input_ids"], batch["attention_mask"]]
    usual = model.encoder.config._attn_implementation
    with torch.no_grad():
        expected = model(*inputs)
        with traceable(model, LENGTH) as traced:
            seen = traced(*inputs)
    for one, other in zip(seen, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert model.encoder.config._attn_implementation == usual


@pytest.mark.parametrize(
    ("architecture", "form"), [("bert", "_Packed"), ("roberta", "_Packed"), ("mpnet", "_Lean")]
)
def test_what_is_built_as_bert_is_traced_in_its_packed_form(architecture: str, form: str) -> None:
    model, _ = tiny_student(architecture)
    with torch.no_grad(), traceable(model.eval(), LENGTH) as traced:
        assert type(traced).__name__ == form


def test_an_encoder_that_hides_what_is_far_away_is_traced_as_it_is() -> None:
    """Silent otherwise: the export is right on short texts, and on long ones each token sees all the others."""
    config = ModernBertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        local_attention=8,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = StudentEncoder(AutoModel.from_config(config), 3).eval()
    usual = model.encoder.config._attn_implementation
    with torch.no_grad(), traceable(model, 40) as traced:
        assert traced is model
        assert model.encoder.config._attn_implementation == usual


def test_the_way_of_attention_is_put_back_after_a_failed_export() -> None:
    model, _ = tiny_student("bert")
    usual = model.encoder.config._attn_implementation
    with pytest.raises(KeyError), torch.no_grad(), traceable(model.eval(), LENGTH):
        raise KeyError
    assert model.encoder.config._attn_implementation == usual != "eager"
