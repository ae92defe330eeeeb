"""Export of the student to one ONNX file, quantised to 8 bits where that keeps its predictions.

The file is what the runtime loads: inputs `input_ids`, `attention_mask` and, where the encoder uses them,
`token_type_ids`, all int64 (B, L) with both dimensions free; outputs `embedding` (B, d) of unit length and
`logits` (B, C). Every export is compared with the torch model on given texts before it is written.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from hundredth.errors import UserError
from hundredth.files import atomic_path, write_text
from hundredth.student.model import StudentEncoder, plain_tokenizer, tokenize
from hundredth.student.quantise import arithmetic_in_int8, tables_in_int8, weights_in_int8
from hundredth.student.tracing import traceable

Precision = Literal["int8", "float32"]

ENCODER_FILE = "encoder.onnx"
TOKENIZER_FILE = "tokenizer.json"
OUTPUTS = ("embedding", "logits")

_MOST_FLIPS = 0.005
_FLOAT_TOLERANCE = 1e-3
# The newest opset that the oldest onnxruntime we allow (1.20) runs.
_OPSET = 20
_CALIBRATING_TEXTS = 300  # by which int8 activations get their range
_BATCH = 32


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how well it agrees with the torch model on the given texts.

    Agreements are fractions of texts with the same label; `int8_agreement` is that of the last int8 version
    tried, None when none was. `max_embedding_difference` is the largest absolute difference of one number of
    the unit-length embeddings, for the file that was written. `reason` says why this precision.
    """

    precision: Precision
    bytes: int
    texts: int
    float_agreement: float
    int8_agreement: float | None
    max_embedding_difference: float
    reason: str


@dataclass(frozen=True)
class _Outputs:
    embedding: NDArray[np.float32]  # (N, d), or (2N, d) for two runs
    logits: NDArray[np.float32]  # (N, C), or (2N, C)

    def agreement(self, expected: "_Outputs") -> float:
        """The fraction of equal labels, in the worse of the runs."""
        same = self.logits.argmax(axis=1).reshape(-1, len(expected.logits)) == expected.logits.argmax(axis=1)
        return float(same.mean(axis=1).min())

    def embedding_difference(self, expected: "_Outputs") -> float:
        shape = (-1, *expected.embedding.shape)
        return float(np.max(np.abs(self.embedding.reshape(shape) - expected.embedding)))


def export_onnx(
    model: StudentEncoder,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    max_length: int,
    sample_texts: Sequence[tuple[str, ...]],
    precision: Precision = "int8",
) -> ExportReport:
    """Write encoder.onnx and tokenizer.json (with truncation to `max_length` and padding set) into `folder`.

    With `precision="int8"` an 8-bit version (`hundredth.student.quantise`) is written if it gives the label of
    the torch model on at least 99.5 % of `sample_texts`, alone and in batches. Otherwise the float version is,
    and `reason` says so.

    Raises:
        UserError: there are no texts to check with, `max_length` is out of range, or the float export itself
            differs from the torch model.
    """
    if precision not in ("int8", "float32"):
        raise UserError(f"unknown precision {precision!r}: choose 'int8' or 'float32'")
    if not sample_texts:
        raise UserError("the export needs some texts to check itself with, and got none")
    if not 2 <= max_length <= model.max_positions:
        raise UserError(
            f"max_length {max_length} does not fit this student: it reads 2 to {model.max_positions} tokens"
        )
    expected = _run_torch(model, tokenizer, sample_texts, max_length)
    exported = _to_onnx(model, max_length)
    content = exported.SerializeToString()
    seen = _run_onnx(content, tokenizer, sample_texts, max_length)
    difference, float_agreement = seen.embedding_difference(expected), seen.agreement(expected)
    if not difference <= _FLOAT_TOLERANCE or float_agreement < 1 - _MOST_FLIPS:
        raise UserError(
            f"the ONNX export of this {model.encoder.config.model_type!r} student does not compute what the "
            f"torch model does (embeddings differ by {difference:.2g}, {float_agreement:.1%} equal labels): "
            "use another student"
        )
    chosen: Precision = "float32"
    int8_agreement = None
    reason = "float32 was asked for"
    if precision == "int8":
        for what, candidate in _quantised_versions(exported, tokenizer, sample_texts, max_length):
            quantised = _run_onnx(candidate, tokenizer, sample_texts, max_length)
            int8_agreement = quantised.agreement(expected)
            if int8_agreement >= 1 - _MOST_FLIPS:
                chosen, content, seen = "int8", candidate, quantised
                reason = f"{what}: {int8_agreement:.1%} of {len(sample_texts)} texts keep their label"
                break
            reason = (
                f"int8 keeps the label of only {int8_agreement:.1%} of {len(sample_texts)} texts "
                f"(at least {1 - _MOST_FLIPS:.1%} are asked for), so float32 is kept"
            )
    _write_tokenizer(tokenizer, folder / TOKENIZER_FILE, max_length)
    with atomic_path(folder / ENCODER_FILE) as temporary:
        temporary.write_bytes(content)
    return ExportReport(
        precision=chosen,
        bytes=len(content),
        texts=len(sample_texts),
        float_agreement=float_agreement,
        int8_agreement=int8_agreement,
        max_embedding_difference=seen.embedding_difference(expected),
        reason=reason,
    )


def _to_onnx(model: StudentEncoder, max_length: int) -> onnx.ModelProto:
    device = next(model.parameters()).device
    # Two texts, the second shorter: batch 1 or equal lengths would be baked into the graph as constants.
    ids = torch.ones((2, min(11, max_length)), dtype=torch.int64, device=device)
    mask = ids.clone()
    mask[1, ids.shape[1] // 2 :] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.uses_token_types:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    # Inner values may already be called "embedding": export under names of our own, then exchange them.
    placeholders = [f"student.{name}" for name in OUTPUTS]
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    was_training = model.training
    model.eval()
    try:
        with _quiet_export(), torch.no_grad(), traceable(model, max_length) as traced:
            program = torch.onnx.export(
                traced,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=placeholders,
                dynamic_shapes=tuple(free for _ in inputs),
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        model.train(was_training)
    assert program is not None
    return _tidy(program.model_proto, dict(zip(placeholders, OUTPUTS, strict=True)))


def _tidy(proto: onnx.ModelProto, outputs: dict[str, str]) -> onnx.ModelProto:
    """Rename values; drop the inner shapes, which the quantiser stumbles over, and traces of the source."""
    names = {name: f"inner.{name}" for name in outputs.values()} | outputs
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        del node.metadata_props[:]
    for value in [*proto.graph.output, *proto.graph.initializer]:
        value.name = names.get(value.name, value.name)
    for value in [*proto.graph.input, *proto.graph.output]:
        for dimension, name in zip(value.type.tensor_type.shape.dim, ("batch", "length"), strict=False):
            if dimension.dim_param:
                dimension.dim_param = name
    del proto.graph.value_info[:]
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    onnx.checker.check_model(proto)
    return proto


def _quantised_versions(
    exported: onnx.ModelProto,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[tuple[str, ...]],
    max_length: int,
) -> Iterator[tuple[str, bytes]]:
    """Yield a description of each 8-bit version and its file, the one to prefer first."""
    names = [value.name for value in exported.graph.input]
    seen = (tokenize(tokenizer, [text], max_length) for text in texts[:: -(-len(texts) // _CALIBRATING_TEXTS)])
    with _quiet_export():
        content = arithmetic_in_int8(exported, ({name: one[name].numpy() for name in names} for one in seen))
    yield "weights and arithmetic in int8", content
    yield "weights in int8, arithmetic in float32", weights_in_int8(exported).SerializeToString()
    yield "embedding tables in int8, the rest in float32", tables_in_int8(exported).SerializeToString()


def _run_torch(
    model: StudentEncoder, tokenizer: PreTrainedTokenizerFast, texts: Sequence[tuple[str, ...]], max_length: int
) -> _Outputs:
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    embeddings, logits = [], []
    with torch.no_grad():
        for start in range(0, len(texts), _BATCH):
            batch = tokenize(tokenizer, texts[start : start + _BATCH], max_length)
            output = model(**{name: tensor.to(device) for name, tensor in batch.items()})
            embeddings.append(output[0].cpu().numpy())
            logits.append(output[1].cpu().numpy())
    model.train(was_training)
    return _Outputs(np.concatenate(embeddings), np.concatenate(logits))


def _run_onnx(
    content: bytes, tokenizer: PreTrainedTokenizerFast, texts: Sequence[tuple[str, ...]], max_length: int
) -> _Outputs:
    """Run the texts twice, one by one and in padded batches, and return both, one after the other (2N rows)."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    embeddings, logits = [], []
    for size in (1, _BATCH):
        for start in range(0, len(texts), size):
            encoded = tokenize(tokenizer, texts[start : start + size], max_length)
            output = session.run(list(OUTPUTS), {name: encoded[name].numpy() for name in names})
            embeddings.append(output[0])
            logits.append(output[1])
    return _Outputs(np.concatenate(embeddings), np.concatenate(logits))


def _write_tokenizer(tokenizer: PreTrainedTokenizerFast, target: Path, max_length: int) -> None:
    backend = plain_tokenizer(tokenizer)
    backend.enable_truncation(max_length)
    backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=str(tokenizer.pad_token))
    write_text(target, backend.to_str())


@contextlib.contextmanager
def _quiet_export() -> Iterator[None]:
    """Silence the exporter's and the quantiser's chatter; what they produce is checked against torch."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
