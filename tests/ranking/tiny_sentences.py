"""Tiny sentence encoders with random weights, and batches of tokens for them."""

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import Tensor, nn

SENTENCES = [
    "The cash machine swallowed my card this morning.",
    "When will I get my money back for the order?",
    "I lost my phone and cannot open the app.",
    "My phone was stolen on the bus last night, please block the app.",
    "I was charged twice.",
    "The seller agreed to a refund two weeks ago.",
    "A machine at your branch swallowed my new card.",
    "How do I log in from a new phone?",
]


def tiny_model(folder: Path, dropout: float = 0.0, seed: int = 0) -> SentenceTransformer:
    """A BERT of two layers with mean pooling, whose embeddings differ from text to text; in training mode."""
    torch.manual_seed(seed)
    config = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    transformer = Transformer(str(folder), config_kwargs=config)
    model = SentenceTransformer(modules=[transformer, Pooling(32, "mean")], device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn_like(parameter) * 0.15)
    return model.train()


def features_of(model: SentenceTransformer, texts: list[str]) -> dict[str, Any]:
    return dict(model.preprocess(texts))


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """The gradients of all parameters that have one, by name."""
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
