"""What goes out, as /openapi.json describes it."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from hundredth.service.errors import Code
from hundredth.service.examples import CHANGE, ENTRY, LABEL, PROBABILITIES, VERSION, shown

Origin = Literal["gold", "generated", "unlabelled", "user"]


class Prediction(BaseModel):
    """A text's label (null: not sure enough), probabilities, and how near the text is to the knowledge."""

    label: str | None
    probability: float = Field(description="That of the likeliest label, calibrated.")
    probabilities: dict[str, float]
    similarity: float | None = Field(description="Cosine to the nearest entry; null without any.")
    quantile: float | None = Field(
        description="Share of the development texts that were not nearer to theirs; 0: maybe out of scope."
    )


class Predictions(BaseModel):
    """A prediction for each text, in their order."""

    model_config = shown(
        {
            "model_version": VERSION,
            "predictions": [
                {
                    "label": LABEL,
                    "probability": 0.91,
                    "probabilities": PROBABILITIES,
                    "similarity": 0.87,
                    "quantile": 0.4,
                }
            ],
        }
    )

    model_version: str
    predictions: list[Prediction]


class Neighbour(BaseModel):
    """An entry that took part, and what would be predicted without it."""

    id: int
    texts: list[str]
    label: str
    origin: Origin
    similarity: float
    share: float
    contribution: float
    label_without: str
    probability_without: float


class Explained(BaseModel):
    """A prediction taken apart; the shares of the head and of the neighbours are together 1."""

    model_config = shown(
        {
            "label": LABEL,
            "probability": 0.91,
            "probabilities": PROBABILITIES,
            "mixed_probability": 0.9,
            "head_share": 0.6,
            "head_contribution": 0.54,
            "head_label": LABEL,
            "decided_by_user": False,
            "neighbours": [
                {
                    "id": 17,
                    "texts": ["the machine ate my card"],
                    "label": LABEL,
                    "origin": "user",
                    "similarity": 0.87,
                    "share": 0.4,
                    "contribution": 0.36,
                    "label_without": LABEL,
                    "probability_without": 0.85,
                }
            ],
            "similarity": 0.87,
            "similarity_quantile": 0.4,
            "model_version": VERSION,
        }
    )

    label: str
    probability: float
    probabilities: dict[str, float]
    mixed_probability: float
    head_share: float
    head_contribution: float
    head_label: str
    decided_by_user: bool
    neighbours: list[Neighbour]
    similarity: float | None
    similarity_quantile: float | None
    model_version: str


class EntryShown(BaseModel):
    """An entry; `label` is what a person said of it, null where nobody did."""

    model_config = shown(ENTRY)

    id: int
    texts: dict[str, str]
    label: str | None
    likeliest: str
    probability: float = Field(description="That of the likeliest label.")
    soft_label: dict[str, float]
    origin: Origin
    added: str = Field(description="ISO 8601, UTC.")


class EntryPage(BaseModel):
    """Entries, by default in order of id; `next` is the id to go on after, null at the end; `total` counts all."""

    model_config = shown({"entries": [ENTRY], "next": 17, "total": 40})

    entries: list[EntryShown]
    next: int | None
    total: int


class HitShown(BaseModel):
    """An entry and its cosine to the text."""

    entry: EntryShown
    similarity: float


class Hits(BaseModel):
    """The entries nearest to a text, the nearest first."""

    model_config = shown({"hits": [{"entry": ENTRY, "similarity": 0.87}]})

    hits: list[HitShown]


class ChangeShown(BaseModel):
    """A change; `added` and `removed` are ids of entries, as the first and the last of each run.

    `undoable` is false where an undo is always refused: it is undone already, or what it did stays.
    """

    id: int
    kind: Literal["add", "correct", "delete", "update", "undo"]
    at: str = Field(description="ISO 8601, UTC.")
    by: str
    note: str
    added: list[list[int]]
    removed: list[list[int]]
    undoes: int | None
    undone: bool
    undoable: bool


class Changed(BaseModel):
    """The change that was made."""

    model_config = shown({"change": CHANGE})

    change: ChangeShown


class Added(BaseModel):
    """The ids of the new entries, in the order of the texts, and the change that was made."""

    model_config = shown({"ids": [17], "change": CHANGE})

    ids: list[int]
    change: ChangeShown


class Log(BaseModel):
    """Changes, the latest first."""

    model_config = shown({"changes": [CHANGE]})

    changes: list[ChangeShown]


class ModelShown(BaseModel):
    """The model that is served and what it holds."""

    model_config = shown(
        {
            "task": "tickets",
            "fields": ["text"],
            "labels": list(PROBABILITIES),
            "added_labels": [],
            "encoder": {"file": "encoder.onnx", "dimension": 128, "max_length": 128, "precision": "int8"},
            "retrieval": {"k": 32, "temperature": 0.2, "weight": 0.3},
            "calibration": {"temperature": 1.3, "ece_before": 0.11, "ece": 0.1},
            "provenance": {"llm": "HuggingFaceTB/SmolLM2-135M-Instruct"},
            "metrics": {"dev": {"texts": 60, "score": 0.85}},
            "has_store": True,
            "entries": {"gold": 120, "generated": 1113, "unlabelled": 1500, "user": 0},
            "card": "# tickets",
            "threads": 2,
            "engine": "onnxruntime",
            "number_format": "int8",
            "writable": True,
            "writes_need_token": True,
            "reads_need_token": False,
            "model_version": VERSION,
        }
    )

    task: str
    fields: list[str]
    labels: list[str]
    added_labels: list[str] = Field(description="Those of `labels` that were added after training: the last ones.")
    encoder: dict[str, Any]
    retrieval: dict[str, Any]
    calibration: dict[str, Any]
    provenance: dict[str, Any]
    metrics: dict[str, Any] = Field(description="Numbers of the run that made the model; empty where not known.")
    has_store: bool
    entries: dict[Origin, int] = Field(description="How many entries each origin has; empty without a store.")
    card: str = Field(description="The model card, Markdown; empty without one.")
    threads: int
    engine: str
    number_format: str
    writable: bool
    writes_need_token: bool
    reads_need_token: bool
    model_version: str


class Status(BaseModel):
    """Whether the service lives, or takes requests."""

    model_config = shown({"status": "ok"})

    status: str


class ErrorBody(BaseModel):
    """What went wrong, in one line."""

    code: Code
    message: str


class Problem(BaseModel):
    """Every error has this form."""

    model_config = shown({"error": {"code": "unknown_label", "message": "unknown label 'refunds'"}})

    error: ErrorBody
