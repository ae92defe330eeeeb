"""From texts to embeddings and logits: the tokenizer and the ONNX graph of a model, on the CPU."""

import os
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from hundredth.errors import UserError
from hundredth.runtime.engines import OUTPUTS, Engine, EngineName, open_engine

_BATCH = 16  # texts run together: what more of them need no longer fits into the caches of a core
_ENCODED_AT_ONCE = 4096  # tokenised texts held in memory
# No tokenizer makes fewer than one token of this many characters of ordinary text: what lies beyond
# max_length times this is never read, so that a text of any size costs the same.
_CHARACTERS_PER_TOKEN = 64
_PADDING_TOKENS = ("[PAD]", "<pad>")
_UNKNOWN_TOKENS = ("[UNK]", "<unk>")

Ids = NDArray[np.int64]
Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The `embeddings` (N, d) and `logits` (N, C) of N texts, and which of them hold `unknown` words.

    To the encoder these are all one and the same (see `Encoder.unknown_words`).
    """

    embeddings: Matrix
    logits: Matrix
    unknown: list[bool]


class Encoder:
    """Runs encoder.onnx on texts.

    The graph takes `input_ids`, `attention_mask` and, where it has it, `token_type_ids`, int64 (B, L), and
    gives `embedding` (B, d), of length 1, and `logits` (B, C), float32.

    A text of one field is one sequence; of more fields, the first is one sequence and the others, joined by
    spaces, the second. Sequences are cut to `max_length` tokens together, the longer one first.
    """

    def __init__(
        self,
        onnx: Path,
        tokenizer: Path,
        max_length: int,
        threads: int | None = None,
        engine: EngineName = "onnxruntime",
    ) -> None:
        if threads is not None and not (isinstance(threads, int | np.integer) and threads >= 1):
            raise UserError(f"threads is {threads!r}: give at least 1, or none for all that this process may use")
        self.path = onnx
        usable = available_threads()  # more of them would only wait for each other, or not start at all
        self.threads = min(int(threads or usable), usable)
        self._engine = open_engine(onnx, self.threads, engine)
        _check_names(self._engine, onnx)
        self._tokenizer, self._pad = _tokenizer(tokenizer, max_length)
        self._unknown = _unknown_id(self._tokenizer)
        self._characters = max_length * _CHARACTERS_PER_TOKEN

    @property
    def engine(self) -> str:
        """The name of what runs the graph."""
        return self._engine.name

    def widths(self) -> tuple[int, int]:
        """Return d, the width of an embedding, and C, the number of logits, from a run on one token."""
        embeddings, logits = self._run(
            np.full((1, 1), self._pad), np.ones((1, 1), np.int64), np.zeros((1, 1), np.int64)
        )
        return embeddings.shape[1], logits.shape[1]

    def encode(self, texts: Sequence[tuple[str, ...]]) -> tuple[Matrix, Matrix]:
        """Return embeddings (N, d) and logits (N, C) in the order of `texts`; repeated texts are run once."""
        read = self.read(texts)
        return read.embeddings, read.logits

    def read(self, texts: Sequence[tuple[str, ...]]) -> Encoded:
        """Return what `encode` does, and which texts hold unknown words."""
        unique = list(dict.fromkeys(texts))
        parts = [
            self._encode_unique(unique[start : start + _ENCODED_AT_ONCE])
            for start in range(0, len(unique), _ENCODED_AT_ONCE)
        ]
        if not parts:
            dimension, labels = self.widths()
            return Encoded(np.zeros((0, dimension), np.float32), np.zeros((0, labels), np.float32), [])
        found = _joined(parts)
        if len(unique) == len(texts):
            return found
        positions = {text: position for position, text in enumerate(unique)}
        return _taken(found, [positions[text] for text in texts])

    def unknown_words(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Return the words of a text that the tokenizer does not know, in their order and in its spelling."""
        read = self._sequences(texts)
        sequences = (read,) if isinstance(read, str) else read
        encoding, normalizer = self._tokenizer.encode(*sequences), self._tokenizer.normalizer
        words = [
            sequences[sequence][start:end].strip()
            for id, sequence, (start, end) in zip(
                encoding.ids, encoding.sequence_ids, encoding.offsets, strict=True
            )
            if id == self._unknown and sequence is not None
        ]
        return tuple(words if normalizer is None else map(normalizer.normalize_str, words))

    def _encode_unique(self, texts: list[tuple[str, ...]]) -> Encoded:
        encodings = self._tokenizer.encode_batch_fast([self._sequences(text) for text in texts])
        lengths = [len(encoding) for encoding in encodings]
        if not all(lengths):
            raise UserError(f"no token is left of the text {reprlib.repr(texts[lengths.index(0)])}: give it words")
        if len(encodings) <= _BATCH:
            return self._run_batch(encodings)
        # Texts of like length together, so that little is padded.
        order = np.argsort(lengths, kind="stable")
        found = _joined(
            [
                self._run_batch([encodings[position] for position in order[start : start + _BATCH]])
                for start in range(0, len(order), _BATCH)
            ]
        )
        return _taken(found, np.argsort(order).tolist())

    def _sequences(self, texts: tuple[str, ...]) -> str | tuple[str, str]:
        cut = [text if len(text) <= self._characters else text.lstrip()[: self._characters] for text in texts]
        return cut[0] if len(cut) == 1 else (cut[0], " ".join(cut[1:]))

    def _run_batch(self, encodings: list[Encoding]) -> Encoded:
        shape = len(encodings), max(len(encoding) for encoding in encodings)
        ids = np.full(shape, self._pad, dtype=np.int64)
        mask, types = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        unknown = []
        for row, encoding in enumerate(encodings):
            length, tokens = len(encoding), encoding.ids
            ids[row, :length] = tokens
            mask[row, :length] = 1
            types[row, :length] = encoding.type_ids
            unknown.append(self._unknown in tokens)
        return Encoded(*self._run(ids, mask, types), unknown)

    def _run(self, ids: Ids, mask: Ids, types: Ids) -> tuple[Matrix, Matrix]:
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        embeddings, logits = self._engine.run({name: arrays[name] for name in self._engine.inputs})
        if not (np.isfinite(embeddings).all() and np.isfinite(logits).all()):
            raise UserError(f"{self.path} gave values that are not finite: export the model again")
        return embeddings.astype(np.float32, copy=False), logits.astype(np.float32, copy=False)


def _joined(parts: list[Encoded]) -> Encoded:
    """Put several batches one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Encoded(
        np.concatenate([part.embeddings for part in parts]),
        np.concatenate([part.logits for part in parts]),
        [one for part in parts for one in part.unknown],
    )


def _taken(encoded: Encoded, rows: list[int]) -> Encoded:
    """Return these rows, in this order."""
    unknown = [encoded.unknown[row] for row in rows]
    return Encoded(encoded.embeddings[rows], encoded.logits[rows], unknown)


def available_threads() -> int:
    """Return how many CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_names(engine: Engine, path: Path) -> None:
    known = {"input_ids", "attention_mask", "token_type_ids"}
    if not {"input_ids", "attention_mask"} <= set(engine.inputs) <= known:
        raise UserError(f"{path} takes the inputs {engine.inputs}: it must take input_ids and attention_mask")
    if not set(OUTPUTS) <= set(engine.outputs):
        raise UserError(f"{path} gives the outputs {engine.outputs}: it must give {' and '.join(OUTPUTS)}")


def _tokenizer(path: Path, max_length: int) -> tuple[Tokenizer, int]:
    """Return the tokenizer, set to cut at `max_length` tokens and not to pad, and the id to pad with."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises bare Exception
        raise UserError(f"{path} cannot be read as a tokenizer: {_first_line(error)}") from error
    if tokenizer.padding:
        pad = int(tokenizer.padding["pad_id"])
    else:
        ids = (tokenizer.token_to_id(token) for token in _PADDING_TOKENS)
        found = next((id for id in ids if id is not None), None)
        if found is None:
            raise UserError(f"{path} has no padding section and no token {' or '.join(_PADDING_TOKENS)}")
        pad = found
    tokenizer.no_padding()
    smallest = tokenizer.num_special_tokens_to_add(is_pair=True) + 1
    if max_length < smallest:
        raise UserError(f"encoder.max_length is {max_length}: this tokenizer needs at least {smallest}")
    tokenizer.enable_truncation(max_length, strategy="longest_first")
    return tokenizer, pad


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """Return the id of what stands for every word that the tokenizer does not know; None where it knows all."""
    named = getattr(tokenizer.model, "unk_token", None)
    ids = (tokenizer.token_to_id(token) for token in ([named] if named else _UNKNOWN_TOKENS))
    return next((id for id in ids if id is not None), None)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
