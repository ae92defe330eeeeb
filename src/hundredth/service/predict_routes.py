"""Asking the model: predictions, explanations, and what it is."""

import math
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from hundredth.runtime import Answers, Manifest, available_threads
from hundredth.service.bodies import guarded
from hundredth.service.openapi import answers, body_answers
from hundredth.service.replies import reply
from hundredth.service.request_models import PredictRequest, TextRequest
from hundredth.service.response_models import Explained, ModelShown, Predictions
from hundredth.service.service import Service


def predict_routes(service: Service) -> APIRouter:
    """Return the routes that read the model."""
    reads = APIRouter(route_class=guarded(service.access, service.settings, "read"), tags=["predict"])

    @reads.post("/v1/predict", responses=body_answers(Predictions, "A prediction for each text."))
    async def predict(request: Request, asked: PredictRequest) -> Response:
        """Label texts, with calibrated probabilities and how near each text is to the knowledge."""
        with service.models.using() as served:
            rows = service.rows(request, served.model, asked.given())
            least = served.model.threshold(abstain_below=asked.abstain_below, max_error=asked.max_error)
            found = await service.predict(request, served, rows)
            predictions = _predictions(served.model.labels, found, least)
            _count(service, predictions)
            return reply({"model_version": served.version, "predictions": predictions})

    @reads.post("/v1/explain", responses=body_answers(Explained, "The prediction, taken apart."))
    async def explain(request: Request, asked: TextRequest) -> Response:
        """Predict one text and say which entries decided it, and what would be predicted without each."""
        with service.models.using() as served:
            [row] = service.rows(request, served.model, [asked.text])
            why = await service.run(request, served, lambda: served.model.explain(row))
            return reply({**why.to_dict(), "model_version": served.version})

    @reads.get("/v1/model", responses=answers(ModelShown, "The model in use."))
    async def model(request: Request) -> Response:
        """Describe the model, its knowledge, and what may be done here."""
        with service.models.using() as served:
            entries = await service.run(request, served, served.entries)
            manifest, access = served.model.manifest, service.access
            # Those of the last tuning, as the temperature is that one's.
            tuned = manifest.provenance.get("tuned")
            after = tuned.get("after") if isinstance(tuned, dict) else None
            measured = after if isinstance(after, dict) else served.numbers.get("dev", {})
            errors = {name: measured[name] for name in ("ece_before", "ece") if name in measured}
            return reply(
                {
                    "task": manifest.task.name,
                    "fields": manifest.task.fields,
                    "labels": served.model.labels,
                    "added_labels": served.model.labels[len(manifest.task.labels) :],
                    "encoder": asdict(manifest.encoder),
                    "retrieval": asdict(manifest.retrieval),
                    "calibration": {**asdict(manifest.calibration), **errors},
                    "provenance": _provenance(manifest),
                    "metrics": served.numbers,
                    "has_store": served.model.has_store,
                    "entries": entries,
                    "card": served.card,
                    "threads": service.settings.threads or available_threads(),
                    "engine": served.model.engine,
                    "number_format": manifest.encoder.precision,
                    "writable": access.writes_possible and served.writable,
                    "writes_need_token": access.writes_need_token,
                    "reads_need_token": access.reads_need_token,
                    "model_version": served.version,
                }
            )

    return reads


def _predictions(labels: tuple[str, ...], found: Answers, least: float) -> list[dict[str, Any]]:
    """Return the predictions as they are told, without the labels that were added after they had been made."""
    near = zip(found.nearness.similarity.tolist(), found.nearness.quantile.tolist(), strict=True)
    predictions = []
    for row, (similarity, quantile) in zip(found.probabilities.tolist(), near, strict=True):
        highest = max(row)
        predictions.append(
            {
                "label": labels[row.index(highest)] if highest >= least else None,
                "probability": highest,
                "probabilities": dict(zip(labels[: len(row)], row, strict=True)),
                "similarity": None if math.isnan(similarity) else similarity,
                "quantile": None if math.isnan(quantile) else quantile,
            }
        )
    return predictions


def _provenance(manifest: Manifest) -> dict[str, Any]:
    """Return how the model was made, without what a tuning keeps to be taken back: hundreds of numbers."""
    found = dict(manifest.provenance)
    if isinstance(found.get("tuned"), dict):
        found["tuned"] = {name: value for name, value in found["tuned"].items() if name != "previous"}
    return found


def _count(service: Service, predictions: list[dict[str, Any]]) -> None:
    for one in predictions:
        if one["label"] is None:
            service.metrics.abstentions.inc()
        else:
            service.metrics.predictions.labels(one["label"]).inc()
        if one["quantile"] == 0:
            service.metrics.far.inc()
