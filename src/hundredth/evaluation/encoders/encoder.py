"""The encoders that are evaluated: read as they are meant to be, and named for people."""

from collections.abc import Sequence
from pathlib import PurePath

from sentence_transformers import SentenceTransformer

from hundredth.encoders import POOLINGS, check_pooling, has_own_pooling, load_encoder, set_pooling
from hundredth.errors import UserError
from hundredth.models import PACKAGE_PREFIX

_PLAIN_NAMES = ("model", "encoder", "")  # folders named so say nothing of what is in them


def open_encoder(name: str, pooling: str | None = None) -> SentenceTransformer:
    """Load an encoder to be measured: see `hundredth.encoders.load_encoder`.

    `pooling` ("cls", "mean" or "last") says how the token states of a model that is no SentenceTransformer become
    one vector; a SentenceTransformer keeps its own.

    Raises:
        UserError: it cannot be loaded, or the pooling is unknown, or missing where one is needed: a guess would
            measure another encoder than was meant.
    """
    if pooling is not None:
        check_pooling(pooling)
    model = load_encoder(name)
    if has_own_pooling(model):
        return model
    if pooling is None:
        raise UserError(
            f"encoder {name!r} is no SentenceTransformer (it has no modules.json): to read it as a plain "
            f"transformers model say how its token states are pooled, --pooling {', '.join(POOLINGS)}"
        )
    set_pooling(model, pooling, f"encoder {name!r}")
    return model


def encoder_labels(names: Sequence[str]) -> list[str]:
    """Return a short label for each encoder: the end of its name, as much as tells it from the others.

    Raises:
        UserError: an encoder is named twice.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"the encoder {twice[0]!r} is named twice: leave one out")
    parts = [PurePath(name.removeprefix(PACKAGE_PREFIX)).parts for name in names]
    lengths = [2 if len(one) > 1 and one[-1] in _PLAIN_NAMES else 1 for one in parts]
    while True:
        labels = ["/".join(one[-length:]) for one, length in zip(parts, lengths, strict=True)]
        clashing = [i for i, label in enumerate(labels) if labels.count(label) > 1 and lengths[i] < len(parts[i])]
        if not clashing:
            return labels if len(set(labels)) == len(labels) else list(names)
        for i in clashing:
            lengths[i] += 1
