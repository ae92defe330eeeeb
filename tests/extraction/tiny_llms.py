"""Tiny random LLMs of each family that is supported, built in memory, with one small byte-level tokenizer."""

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MptConfig,
    MptForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from hundredth.extraction.llm import LLM
from hundredth.tasks.schema import Example
from hundredth.tasks.verbalisation import Verbalisation

TEXTS = [
    "where is my parcel, it should have come on monday",
    "the box was crushed and the glass inside is broken",
    "i was at home all day and nobody rang the bell",
    "please leave it with the neighbour at number nine",
    "it is late again, the third time this month",
    "wet through and torn open, the book is ruined",
]
WORDS = Verbalisation(
    "Write a message about a parcel that is late or broken.", ("late or missing", "broken"), ("Message",)
)
EXAMPLES = [Example((text,), 1 if "broken" in text or "ruined" in text else 0) for text in TEXTS]
_SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def tiny_tokenizer(first: str | None = None) -> PreTrainedTokenizerFast:
    """Byte-level; `first` is a token that it begins every text with, as Llama's and Gemma's do."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<end>"] if first is None else ["<end>", first]
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    backend.train_from_iterator(TEXTS, trainer)
    if first is not None:
        backend.post_processor = processors.TemplateProcessing(single=f"{first} $A", special_tokens=[(first, 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=first, eos_token="<end>", pad_token="<end>")


def build_llm(family: str, first: str | None = None) -> LLM:
    tokenizer = tiny_tokenizer(first)
    size = len(tokenizer)
    torch.manual_seed(0)
    shared: dict[str, Any] = {**_SHAPE, "vocab_size": size, "max_position_embeddings": 512}
    if family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**shared, num_key_value_heads=2))
    elif family == "qwen":
        model = Qwen2ForCausalLM(Qwen2Config(**shared, num_key_value_heads=2))
    elif family == "gemma":
        config = Gemma3TextConfig(**shared, num_key_value_heads=1, head_dim=8, sliding_window=64)
        config.final_logit_softcapping = 5.0
        model = Gemma3ForCausalLM(config)
    elif family == "granite":
        model = GraniteForCausalLM(GraniteConfig(**shared, num_key_value_heads=2, logits_scaling=8.0))
    elif family == "cohere":
        model = CohereForCausalLM(CohereConfig(**shared, num_key_value_heads=2, logit_scale=0.5))
    elif family == "mpt":
        # Its setting of the same name as Cohere's changes nothing in transformers.
        config = MptConfig(vocab_size=size, d_model=32, n_heads=4, n_layers=2, max_seq_len=512, logit_scale=0.1)
        model = MptForCausalLM(config)
    else:
        model = GPT2LMHeadModel(GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=512))
    with torch.no_grad():
        # Random output layers are almost uniform: sharpen them, so that a wrong position or mask shows.
        for parameter in model.parameters():
            parameter.mul_(3.0)
    model.eval().requires_grad_(False)
    return LLM(f"tiny-{family}", model, tokenizer, family)
