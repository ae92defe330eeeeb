"""An encoder of sentences without labels and without training: a model's first layers, their mean, whitened.

The mean of a language model's states tells sentences apart badly. Frequent words drown the others: each is weighted
by its smooth inverse frequency (SIF, Arora et al. 2017). A few directions, long in all sentences alike, do so too:
whitening (Su et al. 2021, arXiv 2103.15316) makes all directions count alike and keeps the strongest. What comes
out teaches rankings where no teacher that has seen labels may be used.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, WeightedLayerPooling, WordWeights
from torch import nn

from hundredth.encoders import encoder_errors, load_encoder, set_pooling
from hundredth.errors import UserError
from hundredth.files import replace_folder
from hundredth.models import quiet_transformers
from hundredth.ranking.corpus import COLUMN, import_corpus, read_corpus
from hundredth.ranking.corpus_sources import Corpus
from hundredth.ranking.reporting import Reporter, Silent
from hundredth.ranking.teacher_models import open_teacher

Doubles = NDArray[np.float64]

_CHUNK = 1024
# A variance below this share of the largest is rounding: to whiten by it would be to amplify noise.
_LEAST_VARIANCE = 1e-7


def whiten_encoder(
    base: str,
    corpus: Corpus,
    out: str | Path,
    *,
    layers: int | None = None,
    dimensions: int = 128,
    sif: float = 1e-4,
    sentences: int = 10_000,
    column: str | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Make a SentenceTransformer of a model's first layers, their mean and a whitening, and return its folder.

    Args:
        base: an LLM or an encoder: folder, .gguf file, package:PACKAGE/PATH, or hub name.
        corpus: sentences, as for `train_encoder`, to whiten by.
        out: the folder to write; there must be nothing in it.
        layers: how many of its layers to keep, all by default. The first ones of an LLM often serve better, and
            are far cheaper.
        dimensions: numbers of an embedding.
        sif: a of the weight a / (a + p) of a token whose share of the corpus is p (SIF); 0 weights all alike.
        sentences: how many sentences of the corpus to whiten by, drawn evenly from all of it.
        column: the column of the sentences in tables and datasets, as for `train_encoder`.
        reporter: told of what is going on.

    Raises:
        UserError: the base is no encoder, is whitened already or has fewer layers, there are too few sentences, or
            `out` is taken.
    """
    reporter, target = reporter or Silent(), Path(out).absolute()
    if not 0 <= sif < 1:
        raise UserError(f"sif is {sif}: give a share of the corpus, such as 1e-4, or 0 to weight all words alike")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{out} is not empty: choose another folder, or move it away")
    model = load_encoder(base, "base")
    set_pooling(model, "mean", f"base {base!r}")
    transformer, pooling = list(model)[:2]
    if not isinstance(pooling, Pooling):
        raise UserError(
            f"base {base!r} has a {type(pooling).__name__} between its transformer and its pooling, as what is "
            "whitened already has: name the model that it was made of"
        )
    reading = [] if layers is None else first_layers(model, layers, f"base {base!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as around:
        texts = _drawn(corpus, column, sentences, Path(around), reporter)
        weighing = [token_weights(model, texts, sif)] if sif else []
        model = SentenceTransformer(modules=[transformer, *reading, *weighing, pooling])
        vectors_Nd = _encoded(model, texts, reporter)
        try:
            matrix_dk, bias_k = whitening(vectors_Nd, dimensions)
        except ValueError as error:
            raise UserError(f"{base!r} cannot be whitened by {len(texts):,} sentences: {error}") from error
        width = vectors_Nd.shape[1]
        dense = Dense(width, dimensions, activation_function=nn.Identity())
        dense.load_state_dict(
            {
                "linear.weight": torch.from_numpy(matrix_dk.T.astype(np.float32)),
                "linear.bias": torch.from_numpy(bias_k.astype(np.float32)),
            }
        )
        model.append(dense)
        made = Path(around) / target.name
        with encoder_errors("base", base), quiet_transformers():
            model.save_pretrained(str(made), create_model_card=False)
        replace_folder(made, target)
    return target


def whitening(vectors_Nd: NDArray[np.floating], dimensions: int) -> tuple[Doubles, Doubles]:
    """Return the matrix (d, k) and the bias (k,) of x W + b, which has mean 0 and, over N vectors, covariance I.

    Of the directions, the k = `dimensions` of largest variance are kept. Source: Su et al. 2021, algorithm 1.

    Raises:
        ValueError: k is not from 1 to d, or the vectors do not vary in as many directions.
    """
    count, width = vectors_Nd.shape
    if not 1 <= dimensions <= width:
        raise ValueError(f"{dimensions} dimensions of vectors that have {width}")
    mean_d = vectors_Nd.mean(axis=0, dtype=np.float64)
    centred_Nd = vectors_Nd.astype(np.float64) - mean_d
    variances_d, directions_dd = np.linalg.eigh(centred_Nd.T @ centred_Nd / max(count - 1, 1))
    kept_k, matrix_dk = variances_d[::-1][:dimensions], directions_dd[:, ::-1][:, :dimensions]
    if not kept_k[-1] > _LEAST_VARIANCE * kept_k[0]:
        found = int((kept_k > _LEAST_VARIANCE * kept_k[0]).sum())
        raise ValueError(f"they vary in {found} directions, fewer than the {dimensions} dimensions asked for")
    matrix_dk = matrix_dk / np.sqrt(kept_k)
    return matrix_dk, -mean_d @ matrix_dk


def token_weights(model: SentenceTransformer, texts: list[str], sif: float) -> WordWeights:
    """Return the module that weights each token by a / (a + p), p its share of the tokens of `texts`.

    Each token counts once more than it occurs. Source: Arora et al. 2017, equation 3, with `sif` as a.
    """
    tokens = model.tokenizer.convert_ids_to_tokens(range(len(model.tokenizer)))
    counts = np.ones(len(tokens))
    for ids in model.tokenizer(texts, verbose=False)["input_ids"]:
        np.add.at(counts, ids, 1)
    weights = sif / (sif + counts / counts.sum())
    return WordWeights(tokens, dict(zip(tokens, weights.tolist(), strict=True)))


def first_layers(model: SentenceTransformer, layers: int, what: str) -> list[nn.Module]:
    """Cut the transformer of an encoder, which errors call `what`, and return the module that comes after it.

    That reads the states as they leave layer number `layers`: decoders pass the last states through a norm, which
    makes all words equally long and with it worse, so that one layer more is kept, and its states are not read.

    Raises:
        UserError: it has fewer layers, or they are not found.
    """
    inner = getattr(model[0], "model", None)
    total = getattr(getattr(inner, "config", None), "num_hidden_layers", None)
    stacks = [
        (owner, name)
        for owner in (inner.modules() if isinstance(inner, nn.Module) else ())
        for name, child in owner.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == total
    ]
    if len(stacks) != 1:
        raise UserError(f"{what}: its layers are not found and cannot be cut: leave out the number of them")
    assert inner is not None
    assert total is not None
    if not 1 <= layers <= total:
        raise UserError(f"{what} has {total} layers: {layers} of them cannot be kept")
    if layers == total:
        return []
    [(owner, name)] = stacks
    setattr(owner, name, getattr(owner, name)[: layers + 1])
    inner.config.num_hidden_layers = layers + 1
    inner.config.output_hidden_states = True
    if getattr(inner.config, "layer_types", None):
        inner.config.layer_types = inner.config.layer_types[: layers + 1]
    # States are counted from those before the first layer: of the last two, the first.
    first_of_two = nn.Parameter(torch.tensor([1.0, 0.0]), requires_grad=False)
    return [WeightedLayerPooling(inner.config.hidden_size, layers + 1, layers, first_of_two)]


def _drawn(corpus: Corpus, column: str | None, count: int, folder: Path, reporter: Reporter) -> list[str]:
    imported = folder / "sentences.arrow"
    import_corpus(corpus, imported, column, say=reporter.say)
    rows = read_corpus(imported)
    places = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))
    return list(dict.fromkeys(rows[places][COLUMN]))


def _encoded(model: SentenceTransformer, texts: list[str], reporter: Reporter) -> NDArray[np.float32]:
    teacher = open_teacher(model, None)
    parts = []
    with reporter.bar("encoding") as progress:
        for start in range(0, len(texts), _CHUNK):
            parts.append(teacher.encode(texts[start : start + _CHUNK]))
            progress(start + len(parts[-1]), len(texts), "")
    vectors: NDArray[np.float32] = np.concatenate(parts)
    if not np.isfinite(vectors).all():
        raise UserError("the base turns a sentence into NaN or infinite numbers: its weights are broken")
    return vectors
