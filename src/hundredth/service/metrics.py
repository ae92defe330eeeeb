"""What a service counts, for Prometheus; with several workers the numbers of all of them.

Workers write their numbers into files of one folder, and whichever is asked sums them up: that is the multi-process
mode of prometheus-client, on where `FOLDER_VARIABLE` is set before this module is imported.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

# A second line for every number, which says when it was first counted.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The numbers of one process. Their labels are routes and the model's labels, never a caller's words."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests answered.", "method", "route", "status")
        self.seconds = Histogram(
            "hundredth_request_seconds",
            "Time from a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.batches = Histogram(
            "hundredth_batch_texts", "Texts predicted together.", buckets=_TEXTS, registry=self._registry
        )
        self.queue = Gauge(
            "hundredth_queue_texts",
            "Texts that wait for their prediction.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.predictions = self._counter("predictions", "Texts predicted, by label.", "label")
        self.abstentions = self._counter("abstentions", "Texts without an answer, as it was not sure enough.")
        self.far = self._counter("far_texts", "Texts farther from the knowledge than any development text.")
        self.reloads = self._counter("reloads", "New models found in the folder: done or failed.", "outcome")

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"hundredth_{name}", what, labels, registry=self._registry)

    def text(self, info: dict[str, str], entries: dict[str, int]) -> bytes:
        """Return the numbers of all processes in Prometheus' text format.

        `info` describes the model in use, `entries` counts its entries by origin: all processes have the same.
        """
        counted, folder = self._registry, os.environ.get(FOLDER_VARIABLE)
        if folder is not None:
            _forget_the_dead(Path(folder))
            counted = CollectorRegistry()
            MultiProcessCollector(counted, folder)  # type: ignore[no-untyped-call]
        asked = CollectorRegistry()
        asked.register(_Served(info, entries))
        return generate_latest(counted) + generate_latest(asked)


class _Served(Collector):
    """What is true of the model at the moment."""

    def __init__(self, info: dict[str, str], entries: dict[str, int]) -> None:
        self._info, self._entries = info, entries

    def collect(self) -> Iterator[Metric]:
        """Yield the model's description and its entries by origin."""
        model = GaugeMetricFamily("hundredth_model_info", "The model in use.", labels=list(self._info))
        model.add_metric(list(self._info.values()), 1)
        yield model
        entries = GaugeMetricFamily("hundredth_entries", "Entries of the knowledge store.", labels=["origin"])
        for origin, count in self._entries.items():
            entries.add_metric([origin], count)
        yield entries


def _forget_the_dead(folder: Path) -> None:
    """Leave out what workers that are gone had in their queues; what they counted stays."""
    for path in folder.glob("gauge_live*_*.db"):
        process = path.stem.rpartition("_")[2]
        if process.isdigit() and not _lives(int(process)):
            mark_process_dead(int(process), str(folder))  # type: ignore[no-untyped-call]


def _lives(process: int) -> bool:
    if os.name == "nt":
        return True  # there `kill` would be no question but the end of it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
