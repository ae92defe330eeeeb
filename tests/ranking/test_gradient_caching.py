"""Gradient caching on a device with random numbers of its own, as a GPU has."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.utils.checkpoint as checkpointing
from torch import Tensor, nn

from hundredth.ranking import views


class DeviceDropout(nn.Module):
    """Dropout by random numbers that torch's own state does not decide."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        kept: Tensor = torch.rand(x.shape, generator=self.generator) > 0.3
        return x * kept


class Encoder(nn.Module):
    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.dropout = DeviceDropout(generator)
        self.out = nn.Linear(8, 4)

    def forward(self, features: dict[str, Any]) -> dict[str, Tensor]:
        states = self.dropout(torch.tanh(self.dropout(self.words(features.pop("input_ids")))))
        return {"sentence_embedding": self.out(states.mean(dim=1))}


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.Generator]:
    """A device of one generator, whose state torch keeps where an argument of `checkpoint` is a tensor on it."""
    made = torch.Generator()

    def states(*arguments: Any) -> tuple[list[int], list[Tensor]]:
        return [], [made.get_state() for one in arguments if isinstance(one, Tensor)]

    def put_back(devices: list[int], kept: list[Tensor], **_: Any) -> None:
        for one in kept:
            made.set_state(one)

    monkeypatch.setattr(checkpointing, "_get_device_module", lambda kind: SimpleNamespace(_initialized=True))
    monkeypatch.setattr(checkpointing, "get_device_states", states)
    monkeypatch.setattr(checkpointing, "set_device_states", put_back)
    return made


def test_a_part_is_computed_again_under_the_dropout_of_its_device(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent otherwise: gradients of embeddings that the loss has never seen."""
    torch.manual_seed(0)
    model = Encoder(generator)
    features = {"input_ids": torch.randint(0, 20, (8, 6)), "modality": "text"}

    def gradients() -> list[Tensor]:
        generator.manual_seed(1)
        model.zero_grad()
        one, other = views.embed(model, features, 2, 3)
        (one @ other.T).exp().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    again = gradients()
    monkeypatch.setattr(views, "_recomputed", lambda model, part: model(dict(part))["sentence_embedding"])
    torch.testing.assert_close(again, gradients())
    assert features.keys() == {"input_ids", "modality"}
