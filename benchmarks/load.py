"""How much a service takes, and whether it stays as it is under minutes of mixed load; the client runs beside it.

First the highest rate of predictions, one text of twenty words a request over 64 connections, at which 99 of 100
are answered within 25 ms: the rate is doubled until they are not, and then halved in. Every rate is kept for some
seconds, and counts as held if it was in two of three tries.

Then, at half of that, minutes of predictions mixed with explanations, searches, lists, and changes that put an
entry in, correct a text, and take both back. Reported are the times of each kind, the answers with an error of the
service, and the memory of the workers, once a segment: what the second half adds a minute says whether it is flat.

    python benchmarks/load.py [--minutes 10] [--workers 2] [--run FOLDER] [--seconds 5]
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from serving import Answer, Request, Server, at_rate, serving
from timed_texts import RUN, timed_texts

from hundredth.evaluation.results import Row, write_results

RESULTS = Path(__file__).parent / "results"
CONNECTIONS = 64
WITHIN_MS = 25.0
SHARE = 0.5  # of the highest rate, for the minutes of mixed load
# Out of a hundred requests; the rest are predictions.
MIX = {"explain": 5, "search": 2, "list": 1, "add": 1, "correct": 1}

_FIRST_RATE = 50.0
_BISECTIONS = 4
_SEGMENT_SECONDS = 10.0


def run_at(server: Server, requests: Sequence[Request], rate: float) -> list[Answer]:
    return asyncio.run(at_rate(server.port, requests, rate, CONNECTIONS))


def percentile(answers: Sequence[Answer], share: float) -> float:
    """Return the milliseconds within which this share of them came."""
    return float(np.percentile([1000 * answer.seconds for answer in answers], share))


def holds(server: Server, texts: Sequence[str], rate: float, seconds: float) -> bool:
    """Whether 99 of 100 predictions at this rate are answered in time, in two of three tries."""
    tries: Counter[bool] = Counter()
    while max(tries[True], tries[False]) < 2:
        number = max(CONNECTIONS, int(rate * seconds))
        some = random.Random(tries.total()).choices(texts, k=number)
        answers = run_at(server, [_predict(server, text) for text in some], rate)
        slow, failed = percentile(answers, 99), sum(answer.status != 200 for answer in answers)
        print(f"  {rate:.0f}/s: 99 % within {slow:.1f} ms, {failed} failed", flush=True)
        tries[slow < WITHIN_MS and not failed] += 1
    return tries[True] == 2


def highest_rate(server: Server, texts: Sequence[str], seconds: float) -> float:
    """Return the highest rate that is held, to within a few percent."""
    held, failed = 0.0, _FIRST_RATE
    while holds(server, texts, failed, seconds):
        held, failed = failed, 2 * failed
    for _ in range(_BISECTIONS):
        middle = (held + failed) / 2
        held, failed = (middle, failed) if holds(server, texts, middle, seconds) else (held, middle)
    return held


def mixed(server: Server, texts: Sequence[str], labels: Sequence[str], number: int, seed: int) -> list[Request]:
    """Return so many requests of all kinds."""
    choose = random.Random(seed)
    kinds = choose.choices([*MIX, "predict"], [*MIX.values(), 100 - sum(MIX.values())], k=number)
    made = []
    for place, kind in enumerate(kinds):
        text, label = choose.choice(texts), choose.choice(labels)
        if kind == "predict":
            made.append(_predict(server, text))
        elif kind == "explain":
            made.append(server.request(kind, "POST", "/v1/explain", {"text": text}))
        elif kind == "search":
            made.append(server.request(kind, "POST", "/v1/knowledge/search", {"text": text, "k": 10}))
        elif kind == "list":
            made.append(server.request(kind, "GET", f"/v1/knowledge?limit=50&after={choose.randrange(1000)}"))
        elif kind == "add":
            new = {"texts": [f"{text} {seed}-{place}"], "labels": [label]}
            made.append(server.request(kind, "POST", "/v1/knowledge", new, token=True))
        else:
            content = {"text": f"{text} {seed}-{place}", "label": label}
            made.append(server.request(kind, "POST", "/v1/knowledge/correct", content, token=True))
    return made


def taken_back(server: Server, answers: Sequence[Answer]) -> list[Request]:
    """Return what takes back the changes that these answers tell of, so that the store stays of one size."""
    made = []
    for answer in answers:
        if answer.kind == "add" and answer.status == 201:
            (id,) = json.loads(answer.body)["ids"]
            made.append(server.request("delete", "DELETE", f"/v1/knowledge/{id}", token=True))
        elif answer.kind == "correct" and answer.status == 200:
            change = json.loads(answer.body)["change"]["id"]
            made.append(server.request("undo", "POST", "/v1/knowledge/undo", {"change": change}, token=True))
    return made


def endure(server: Server, texts: Sequence[str], rate: float, minutes: float) -> list[Row]:
    """Keep up mixed load for some minutes; return times, errors and memory."""
    labels = server.ask("GET", "/v1/model")[1]["labels"]
    segments = max(4, round(60 * minutes / _SEGMENT_SECONDS))
    number = max(CONNECTIONS, int(rate * _SEGMENT_SECONDS))
    seconds: dict[str, list[float]] = defaultdict(list)
    statuses: Counter[int] = Counter()
    memory: list[float] = []
    left: list[Request] = []
    for segment in range(segments):
        requests = [*left, *mixed(server, texts, labels, number, segment)]
        random.Random(segment).shuffle(requests)
        answers = run_at(server, requests, rate)
        left = taken_back(server, answers)
        for answer in answers:
            seconds[answer.kind].append(1000 * answer.seconds)
            statuses[answer.status] += 1
        memory.append(sum(worker.memory_info().rss for worker in server.workers()) / 2**20)
        print(f"  segment {segment + 1} of {segments}: {memory[-1]:.0f} MB, {dict(statuses)}", flush=True)
    errors = sum(count for status, count in statuses.items() if status >= 500 or status == 0)
    half = memory[len(memory) // 2 :]
    slope = float(np.polyfit(range(len(half)), half, 1)[0]) * 60 / _SEGMENT_SECONDS
    rows = [
        Row("mixed", "serve", "rate", [rate], "requests/s"),
        Row("mixed", "serve", "requests", [float(sum(statuses.values()))], "requests"),
        Row("mixed", "serve", "errors", [float(errors)], "requests"),
        Row("mixed", "serve", "refused", [float(statuses[429])], "requests"),
        Row("mixed", "serve", "memory_mb", [round(value, 1) for value in memory], "MB"),
        Row("mixed", "serve", "growth_mb_per_minute", [round(slope, 3)], "MB/min"),
    ]
    for kind, times in sorted(seconds.items()):
        rows.append(Row(f"mixed-{kind}", "serve", "p50_ms", [round(statistics.median(times), 3)], "ms"))
        rows.append(Row(f"mixed-{kind}", "serve", "p99_ms", [round(float(np.percentile(times, 99)), 3)], "ms"))
        rows.append(Row(f"mixed-{kind}", "serve", "requests", [float(len(times))], "requests"))
    print(f"  {errors} errors; the second half grew by {slope:.2f} MB a minute", flush=True)
    return rows


def main() -> None:
    """Measure, print, and write results/load.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of mixed load (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="for which a rate is kept up (%(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--run", type=Path, default=RUN, help="whose model is copied and served (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes (%(default)s)")
    options = parser.parse_args()
    texts = timed_texts(options.run, 500)
    with (
        tempfile.TemporaryDirectory(prefix="hundredth-load-") as work,
        serving(options.run / "model", Path(work), workers=options.workers) as server,
    ):
        run_at(
            server, [_predict(server, text) for text in texts], _FIRST_RATE * 4
        )  # what a start costs is not load
        rate = highest_rate(server, texts, options.seconds)
        print(f"held: {rate:.0f} requests a second", flush=True)
        rows = [
            Row("predict", "serve", "rate_at_25_ms", [round(rate, 1)], "requests/s"),
            Row("predict", "serve", "workers", [float(options.workers)], "processes"),
        ]
        rows += endure(server, texts, max(SHARE * rate, _FIRST_RATE / 2), options.minutes)
    write_results(options.results / "load.json", "load", [0], rows)


def _predict(server: Server, text: str) -> Request:
    return server.request("predict", "POST", "/v1/predict", {"text": text})


if __name__ == "__main__":
    main()
