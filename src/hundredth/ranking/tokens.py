"""A corpus as token ids: each sentence is tokenised once, written to an Arrow file, and read memory-mapped.

Letters of the shapes: B texts of a batch, L tokens of the longest of them, N texts, d the width of an embedding.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor

from hundredth.encoders import prompt_of
from hundredth.errors import UserError
from hundredth.files import atomic_path
from hundredth.ranking.corpus_sources import CHUNK
from hundredth.ranking.reporting import Progress

Ids = NDArray[np.int32]
Features = dict[str, Any]

_COLUMN = "input_ids"
_TOKENISED = 1000  # texts tokenised at a time
_ENCODED = 8192  # tokens encoded at a time


class Tokenizer:
    """The token ids of texts just as `model.encode` would make them, and their batches.

    Texts go through the model's own preprocessing behind its default prompt, so that prompt, chat templates,
    lower-casing and special tokens are those of later use. `max_length` counts all of these tokens.

    Raises:
        UserError: the prompt alone is as long as the longest text.
    """

    def __init__(self, model: SentenceTransformer, max_length: int | None = None) -> None:
        self.model = model
        longest = model.max_seq_length
        lengths = [length for length in (max_length, longest) if length is not None]
        self.max_length = min(lengths) if lengths else None
        self.prompt = prompt_of(model) or None
        found = self._preprocessed(["a"])
        # Beside the tokens: what they are, and how many of them a pooling without the prompt leaves out.
        self._rest: Features = {name: found[name] for name in ("modality", "prompt_length") if name in found}
        if self.prompt is not None:
            self._check_prompt(len(found["input_ids"][0]))
        pad = getattr(model.tokenizer, "pad_token_id", None)
        self.pad = 0 if pad is None else int(pad)

    def __call__(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text, without padding."""
        found = self._preprocessed(texts)
        ids_BL, mask_BL = found["input_ids"].to(torch.int32).numpy(), found["attention_mask"].numpy() != 0
        return [row[kept] for row, kept in zip(ids_BL, mask_BL, strict=True)]

    def batch(self, ids: Sequence[Ids]) -> Features:
        """Return the features of one batch, padded on the right: `input_ids` (B, L) and their mask."""
        lengths_B = np.array([len(one) for one in ids])
        kept_BL = np.arange(lengths_B.max()) < lengths_B[:, None]
        ids_BL = np.full(kept_BL.shape, self.pad, dtype=np.int64)
        ids_BL[kept_BL] = np.concatenate(ids)
        features: Features = {
            "input_ids": torch.from_numpy(ids_BL),
            "attention_mask": torch.from_numpy(kept_BL.astype(np.int64)),
        }
        return {**features, **self._rest}

    def _check_prompt(self, with_one_word: int) -> None:
        if with_one_word == len(self._preprocessed(["a a"])["input_ids"][0]):
            raise UserError(
                f"the base's prompt {self.prompt!r} leaves no room for sentences in {self.max_length} tokens: "
                "raise max_length"
            )

    def _preprocessed(self, texts: Sequence[str]) -> Features:
        options: Any = {} if self.max_length is None else {"max_length": self.max_length}
        found: Features = self.model.preprocess(list(texts), prompt=self.prompt, **options)
        return found


class TokenRows:
    """The token ids of a corpus by row, memory-mapped: what `write_tokens` wrote.

    In memory are the lengths, 4 bytes a row.
    """

    def __init__(self, path: Path) -> None:
        table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        found = table.column(_COLUMN).chunks
        self._values = [chunk.values.to_numpy() for chunk in found]
        self._offsets = [chunk.offsets.to_numpy() for chunk in found]
        self.lengths: Ids = np.concatenate([np.diff(offsets) for offsets in self._offsets]).astype(np.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> Ids:
        chunk, inner = divmod(row, CHUNK)
        offsets = self._offsets[chunk]
        ids: Ids = self._values[chunk][offsets[inner] : offsets[inner + 1]]
        return ids


def write_tokens(tokenizer: Tokenizer, sentences: Any, column: str, target: Path, progress: Progress) -> None:
    """Tokenise a column of a dataset, row by row, into the Arrow file `target`."""
    schema = pa.schema({_COLUMN: pa.list_(pa.int32())})
    with (
        atomic_path(target) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
    ):
        for start in range(0, len(sentences), CHUNK):
            texts = sentences[start : start + CHUNK][column]
            ids: list[Ids] = []
            for at in range(0, len(texts), _TOKENISED):
                ids += tokenizer(texts[at : at + _TOKENISED])
                progress(start + len(ids), len(sentences), "")
            writer.write_batch(pa.record_batch([pa.array(ids, pa.list_(pa.int32()))], schema=schema))


def embed(model: SentenceTransformer, tokenizer: Tokenizer, ids: Sequence[Ids]) -> Tensor:
    """Encode token ids into embeddings of length 1, (N, d), in float32 and without dropout."""
    was_training = model.training
    model.eval()
    rows: list[int] = []
    parts: list[Tensor] = []
    with torch.inference_mode():
        for batch in _batches(ids):
            features = tokenizer.batch([ids[i] for i in batch])
            features = {k: v.to(model.device) if isinstance(v, Tensor) else v for k, v in features.items()}
            # Module by module: in training, the model's own forward may run in half precision.
            for module in model:
                features = module(features)
            parts.append(torch.nn.functional.normalize(features["sentence_embedding"].float(), dim=-1).cpu())
            rows += batch
    model.train(was_training)
    out_Nd = torch.cat(parts)
    return out_Nd[torch.tensor(rows).argsort()]


def _batches(ids: Sequence[Ids]) -> Iterator[list[int]]:
    batch: list[int] = []
    for row in sorted(range(len(ids)), key=lambda i: len(ids[i])):
        if batch and (len(batch) + 1) * len(ids[row]) > _ENCODED:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
