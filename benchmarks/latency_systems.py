"""What the race of single predictions is between: each system takes texts and gives probabilities (N, C).

Ours is the model of a finished run with its knowledge store filled up by Wikipedia sentences, which its own student
embeds and labels. The peers are the LLM that taught it, and encoders with a logistic regression on the texts that
were labelled by hand, those the student had for training and for its choices alike.
"""

import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from encoder_parts import MINILM, first_sentences, new_folder
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

from hundredth.extraction.ensemble import load_annotator
from hundredth.models import quiet_transformers, resolve_model
from hundredth.pipeline.run import Run
from hundredth.runtime import Encoder, Manifest
from hundredth.runtime.manifest import TOKENIZER
from hundredth.store import KnowledgeStore, softmax
from hundredth.student.export import export_onnx
from hundredth.student.model import load_student
from hundredth.tasks.schema import labels_of

Matrix = NDArray[np.floating]
Predict = Callable[[Sequence[str]], Matrix]
Embed = Callable[[Sequence[str]], Matrix]

_AT_ONCE = 20_000  # sentences embedded and stored together
_MAX_LENGTH = 256  # tokens that all-MiniLM-L6-v2 reads


def filled_model(source: Path, entries: int, data: Path, work: Path) -> Path:
    """Return a copy of the model in `source` whose store has so many entries, made once."""
    stamp = Manifest.read(source).encoder.fingerprint[:12]
    target = work / f"model-{stamp}-{entries}"
    if target.exists():
        return target
    print(f"filling a store with {entries:,} entries", flush=True)
    with new_folder(target) as made:
        shutil.copytree(source, made)
        about = Manifest.read(made).encoder
        encoder = Encoder(made / about.file, made / TOKENIZER, about.max_length, threads=1)
        with KnowledgeStore.open(made) as store:
            own = [entry.id for entry in store.entries()]
            store.delete(own[entries:])
            wanted = max(0, entries - len(own))
            # A little more is read, as some lines are empty.
            lines = first_sentences(data, wanted + wanted // 50 + 100)
            sentences = [(line,) for line in lines if line.strip()][:wanted]
            for start in range(0, wanted, _AT_ONCE):
                some = sentences[start : start + _AT_ONCE]
                embeddings, logits = encoder.encode(some)
                store.add(some, softmax(logits), embeddings, "unlabelled", [None] * len(some))
            store.rebuild()
            if len(store) != entries:
                raise ValueError(f"{len(store)} entries, not {entries}: the Wikipedia sentences do not suffice")
    return target


def the_llm(run: Run) -> Predict:
    """Return the annotator of the run: the LLM as it is adapted to the task, all members of it."""
    annotator = load_annotator(run.llm, run.data.task.verbalisation, run.root / "annotator")
    return lambda texts: annotator.annotate([(text,) for text in texts]).probabilities


def minilm_torch(run: Run) -> Predict:
    """Return all-MiniLM-L6-v2 as sentence-transformers runs it, with a logistic regression."""
    with quiet_transformers():
        model = SentenceTransformer(str(resolve_model(MINILM)), device="cpu")

    def embed(texts: Sequence[str]) -> Matrix:
        return np.asarray(model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False))

    return _with_regression(embed, run)


def minilm_int8(run: Run, work: Path) -> Predict:
    """Return all-MiniLM-L6-v2 in ONNX, computing in int8, on this project's own tokenizing and batching."""
    folder = work / "minilm-int8"
    if not folder.exists():
        with new_folder(folder) as made:
            made.mkdir()
            model, tokenizer = load_student(MINILM, 2)
            texts = [example.texts for example in run.data.train]
            export_onnx(model.eval(), tokenizer, made, _MAX_LENGTH, texts, precision="float32")
            graph = made / "encoder.onnx"
            # As its makers publish it: activations are rounded by the range that each batch has.
            quantize_dynamic(graph, graph, per_channel=True, weight_type=QuantType.QUInt8)
    encoder = Encoder(folder / "encoder.onnx", folder / "tokenizer.json", _MAX_LENGTH, threads=1)
    return _with_regression(lambda texts: encoder.encode([(text,) for text in texts])[0], run)


def wordllama(run: Run, work: Path) -> Predict | None:
    """Return the static embeddings of WordLlama with a logistic regression; None where it is not installed."""
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        return None
    # It looks for the tokenizer that it brings in another folder than where it lies, and else downloads it.
    tokenizers = work / "wordllama" / "tokenizers"
    if not tokenizers.exists():
        shutil.copytree(Path(spec.origin).parent / "tokenizers", tokenizers)
    model = import_module("wordllama").WordLlama.load(cache_dir=work / "wordllama", disable_download=True)
    return _with_regression(lambda texts: model.embed(list(texts), norm=True), run)


def _with_regression(embed: Embed, run: Run) -> Predict:
    """Fit a logistic regression on the run's labelled texts; return embedding and regression as one."""
    labelled = [*run.data.train, *run.data.dev]
    fitted = LogisticRegression(max_iter=2000).fit(embed([one.texts[0] for one in labelled]), labels_of(labelled))
    weights, bias = fitted.coef_.T, fitted.intercept_
    if len(fitted.classes_) == 2:  # scikit-learn keeps one row for two labels
        weights, bias = np.hstack([0 * weights, weights]), np.append(0 * bias, bias)
    return lambda texts: softmax(embed(texts) @ weights + bias)
