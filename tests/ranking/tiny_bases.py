"""Sentences, a teacher that is a function, and random encoders of many architectures to train from."""

import random
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    LlamaConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

WORDS = ["card", "money", "phone", "machine", "refund", "lost", "bank", "order", "stolen", "shop", "my", "the"]
_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
ARCHITECTURES = ("roberta", "mpnet", "modernbert", "llama")


def sentences(count: int, seed: int = 0) -> list[str]:
    """Different sentences of 1 to 9 known words."""
    generator = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(generator.choice(WORDS) for _ in range(generator.randint(1, 9)))] = None
    return list(found)


def text_file(path: Path, count: int = 96, seed: int = 0) -> Path:
    path.write_text("\n".join(sentences(count, seed)) + "\n", encoding="utf-8")
    return path


def bag_teacher(texts: list[str]) -> NDArray[np.float32]:
    """Embeddings of counted words: alike where sentences share words."""
    out = np.full((len(texts), 24), 0.05, dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.split():
            out[row, zlib.crc32(word.encode()) % 24] += 1
    return out


def base_folder(architecture: str, folder: Path, layers: int = 2) -> Path:
    """Write a random model with a tokenizer of whole words."""
    torch.manual_seed(0)
    shape = {**_SHAPE, "num_hidden_layers": layers}
    tokenizer = word_tokenizer()
    size = len(tokenizer)
    if architecture == "roberta":
        model = AutoModel.from_config(RobertaConfig(vocab_size=size, max_position_embeddings=34, **shape))
    elif architecture == "mpnet":
        model = AutoModel.from_config(MPNetConfig(vocab_size=size, max_position_embeddings=34, **shape))
    elif architecture == "modernbert":
        ids = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": None, "cls_token_id": 2, "sep_token_id": 3}
        config = ModernBertConfig(vocab_size=size, max_position_embeddings=32, local_attention=8, **ids, **shape)
        model = AutoModel.from_config(config)
    else:
        ids = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": 3}
        config = LlamaConfig(vocab_size=size, max_position_embeddings=32, **ids, **shape)
        model = AutoModelForCausalLM.from_config(config)
        tokenizer = word_tokenizer(decoder=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def word_tokenizer(decoder: bool = False) -> PreTrainedTokenizerFast:
    ids = {piece: index for index, piece in enumerate([*_SPECIALS, *WORDS])}
    backend = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if decoder:
        return PreTrainedTokenizerFast(
            tokenizer_object=backend, unk_token="[UNK]", eos_token="[SEP]", model_max_length=32
        )
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=32,
    )
