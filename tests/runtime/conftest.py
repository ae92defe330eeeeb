"""A whole model folder made in memory: word vectors, their masked mean, and a linear head."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from hundredth.files import file_fingerprint
from hundredth.runtime import CalibrationInfo, Encoder, EncoderInfo, Manifest, RetrievalInfo, TaskInfo
from hundredth.store import KnowledgeStore

WORDS = ["card", "swallowed", "machine", "ate", "my", "the", "refund", "money", "back", "where", "is", "parcel"]
VOCABULARY = {word: id for id, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
DIMENSION = 8
LABELS = ("card_swallowed", "refund", "delivery")


def write_onnx(path, labels=3, token_types=True, seed=0):
    """Write embedding = normalised mean of word (and type) vectors, logits = a linear map of it."""
    generator = np.random.default_rng(seed)
    weights = {
        "words": generator.normal(size=(len(VOCABULARY), DIMENSION)),
        "types": generator.normal(size=(2, DIMENSION)),
        "head": generator.normal(size=(DIMENSION, labels)) * 2,
        "bias": generator.normal(size=labels),
    }
    constants = [
        numpy_helper.from_array(value.astype(np.float32), name)
        for name, value in weights.items()
        if name != "types" or token_types
    ]
    constants += [
        numpy_helper.from_array(np.array([2], dtype=np.int64), "two"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "one"),
    ]
    node = helper.make_node
    nodes = [
        node("Gather", ["words", "input_ids"], ["word_vectors"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "two"], ["wide_mask"]),
    ]
    inputs = ["input_ids", "attention_mask"]
    vectors = "word_vectors"
    if token_types:
        inputs.append("token_type_ids")
        nodes.append(node("Gather", ["types", "token_type_ids"], ["type_vectors"]))
        nodes.append(node("Add", ["word_vectors", "type_vectors"], ["vectors"]))
        vectors = "vectors"
    nodes += [
        node("Mul", [vectors, "wide_mask"], ["kept"]),
        node("ReduceSum", ["kept", "one"], ["total"], keepdims=0),
        node("LpNormalization", ["total"], ["embedding"], axis=1, p=2),
        node("Gemm", ["embedding", "head", "bias"], ["logits"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value(name, TensorProto.INT64, ["batch", "length"]) for name in inputs],
        [
            value("embedding", TensorProto.FLOAT, ["batch", DIMENSION]),
            value("logits", TensorProto.FLOAT, ["batch", labels]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def write_tokenizer(path):
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", VOCABULARY["[CLS]"]), ("[SEP]", VOCABULARY["[SEP]"])],
    )
    tokenizer.save(str(path))


class ModelMaker:
    """Writes model folders; `entries` are (texts, label) pairs that become the knowledge."""

    def __init__(self, root):
        self.root = root
        self.made = 0

    def __call__(
        self,
        entries=((("machine ate card",), 0), (("money back",), 1), (("where is my parcel",), 2)),
        fields=("text",),
        labels=LABELS,
        retrieval=RetrievalInfo(k=4, temperature=0.2, weight=0.4),  # noqa: B008
        token_types=True,
        max_length=16,
    ):
        folder = self.root / f"model-{self.made}"
        self.made += 1
        folder.mkdir()
        write_onnx(folder / "encoder.onnx", len(labels), token_types)
        write_tokenizer(folder / "tokenizer.json")
        fingerprint = file_fingerprint(folder / "encoder.onnx", folder / "tokenizer.json")
        if entries is not None:
            encoder = Encoder(folder / "encoder.onnx", folder / "tokenizer.json", max_length, threads=1)
            keys, _ = encoder.encode([texts for texts, _ in entries])
            with KnowledgeStore.create(folder, labels, DIMENSION, fingerprint) as store:
                indices = [label for _, label in entries]
                soft_labels = 0.85 * np.eye(len(labels))[indices] + 0.15 / len(labels)
                store.add([texts for texts, _ in entries], soft_labels, keys, "gold", indices)
        else:
            retrieval = replace(retrieval, weight=0.0)
        Manifest(
            task=TaskInfo("tickets", fields, labels),
            encoder=EncoderInfo("encoder.onnx", fingerprint, DIMENSION, max_length, "float32"),
            retrieval=retrieval,
            calibration=CalibrationInfo(1.3),
            provenance={"seed": 1},
        ).write(folder)
        return folder


@pytest.fixture
def make_model(tmp_path):
    return ModelMaker(tmp_path)
