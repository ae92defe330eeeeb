"""What may go wrong around a running service, made to happen while it is under load, and what is lost by it."""

import argparse
import asyncio
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from serving import HOST, Answer, Request, Server, at_rate, send, serving, wait_until

from hundredth.evaluation.results import Row
from hundredth.files import read_json, replace_folder, write_json

RATE = 60.0  # requests a second, few enough for any machine
CONNECTIONS = 16

_KILL_EVERY = 4.0
_LOCKED_SECONDS = 10.0  # that a change waits for a lock
_CHANGES = 12  # sent while there is one: more than a worker has threads for them
_PATHS_READ = ("/v1/model", "/v1/knowledge?limit=5", "/v1/knowledge/log?limit=5")
_SWAPS = 5
_SLOW = 200
_BODY_TIMEOUT = 3.0
_QUIET_SECONDS = 5.0


def under_load(server: Server, requests: Sequence[Request], meanwhile: Callable[[], None]) -> list[Answer]:
    """Send requests at the rate, and do something at the same time."""
    answers: list[Answer] = []
    load = threading.Thread(
        target=lambda: answers.extend(asyncio.run(at_rate(server.port, requests, RATE, CONNECTIONS)))
    )
    load.start()
    try:
        meanwhile()
    finally:
        load.join()
    return answers


def predictions(server: Server, texts: Sequence[str], seconds: float) -> list[Request]:
    return [
        server.request("predict", "POST", "/v1/predict", {"text": texts[number % len(texts)]})
        for number in range(int(RATE * seconds))
    ]


def additions(server: Server, texts: Sequence[str], number: int) -> list[Request]:
    label = server.ask("GET", "/v1/model")[1]["labels"][0]
    contents = [{"texts": [f"{texts[n % len(texts)]} {n}"], "labels": [label]} for n in range(number)]
    return [server.request("add", "POST", "/v1/knowledge", content, token=True) for content in contents]


def mixed_in(many: list[Request], few: list[Request]) -> list[Request]:
    """Spread the few evenly among the many."""
    places = np.linspace(0, len(many), len(few), endpoint=False).astype(int)
    for place, request in zip(reversed(places.tolist()), reversed(few), strict=True):
        many.insert(place, request)
    return many


def p99(answers: Sequence[Answer]) -> float:
    return round(float(np.percentile([1000 * answer.seconds for answer in answers], 99)), 3)


def failed(answers: Sequence[Answer]) -> int:
    """Return how many broke off, or were answered by an error of the service."""
    return sum(answer.status == 0 or answer.status >= 500 for answer in answers)


def kill_one(server: Server) -> float:
    """Kill a worker, and return the seconds until another one has taken its place."""
    old = {worker.pid for worker in server.workers()}
    server.workers()[0].kill()

    def replaced() -> bool:
        there = {worker.pid for worker in server.workers()}
        return len(there) == len(old) and there != old

    return wait_until(replaced, 60, "a new worker")


def worker_killed(options: argparse.Namespace, texts: Sequence[str], work: Path) -> list[Row]:
    with serving(options.run / "model", work) as server:
        requests = mixed_in(predictions(server, texts, options.seconds), additions(server, texts, 100))
        times: list[float] = []

        def kill() -> None:
            for _ in range(int(options.seconds / _KILL_EVERY)):
                time.sleep(_KILL_EVERY / 2)
                times.append(round(kill_one(server), 3))
                time.sleep(_KILL_EVERY / 2)

        answers = under_load(server, requests, kill)
        acknowledged = [json.loads(one.body)["ids"][0] for one in answers if one.status == 201]
        lost = sum(server.ask("GET", f"/v1/knowledge/{id}")[0] != 200 for id in acknowledged)
    errors = sum(answer.status >= 500 for answer in answers)
    return [
        Row("worker-killed", "serve", "seconds_to_the_new_worker", times, "s"),
        Row("worker-killed", "serve", "requests", [float(len(answers))], "requests"),
        Row("worker-killed", "serve", "broken_connections", [float(failed(answers) - errors)], "requests"),
        Row("worker-killed", "serve", "acknowledged_changes", [float(len(acknowledged))], "changes"),
        Row("worker-killed", "serve", "must_be_0_errors", [float(errors)], "requests"),
        Row("worker-killed", "serve", "must_be_0_lost_changes", [float(lost)], "changes"),
    ]


def store_locked(options: argparse.Namespace, texts: Sequence[str], work: Path) -> list[Row]:
    with serving(options.run / "model", work) as server:
        changes = additions(server, texts, _CHANGES + 1)
        refused: list[Answer] = []
        others: list[Answer] = []

        def lock() -> None:
            connection = sqlite3.connect(server.folder / "store.db", isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            asked = [server.request("read", "GET", _PATHS_READ[n % 3]) for n in range(int(2 * _LOCKED_SECONDS))]
            # Each on a connection of its own: one that is kept is closed in between, and what comes behind a change
            # would wait for it.
            reading = threading.Thread(
                target=lambda: others.extend(asyncio.run(at_rate(server.port, asked, 2.0, len(asked))))
            )
            reading.start()
            refused.extend(asyncio.run(at_rate(server.port, changes[1:], 4.0, _CHANGES)))
            reading.join()
            connection.execute("ROLLBACK")
            connection.close()

        reads = under_load(server, predictions(server, texts, _LOCKED_SECONDS), lock)
        after = asyncio.run(send(server.port, changes[0]))
    done = sum(answer.status != 503 for answer in refused)
    return [
        Row("store-locked", "serve", "refused_after_s", [round(one.seconds, 3) for one in refused], "s"),
        Row("store-locked", "serve", "read_p99_ms", [p99(reads)], "ms"),
        Row("store-locked", "serve", "other_reads_p99_ms", [p99(others)], "ms"),
        Row("store-locked", "serve", "must_be_0_failed_reads", [float(failed([*reads, *others]))], "requests"),
        Row("store-locked", "serve", "must_be_0_not_refused", [float(done)], "changes"),
        Row("store-locked", "serve", "must_be_0_refused_after", [float(after.status != 201)], "changes"),
    ]


def model_swapped(options: argparse.Namespace, texts: Sequence[str], work: Path) -> list[Row]:
    with serving(options.run / "model", work) as server:
        times: list[float] = []

        def swap() -> None:
            for number in range(_SWAPS):
                version = server.ask("GET", "/v1/model")[1]["model_version"]
                new = work / f"new-{number}"
                shutil.copytree(options.run / "model", new)
                about = read_json(new / "hundredth.json")
                write_json(new / "hundredth.json", {**about, "provenance": {"number": number}})
                replace_folder(new, server.folder)

                def is_new(old: str = version) -> bool:
                    seen = {server.ask("GET", "/v1/model")[1]["model_version"] for _ in range(8)}
                    return old not in seen

                times.append(round(wait_until(is_new, 60, "the new model"), 3))

        requests = predictions(server, texts, options.seconds)
        answers = under_load(server, requests, swap)
    versions = {json.loads(answer.body)["model_version"] for answer in answers if answer.status == 200}
    return [
        Row("model-swapped", "serve", "seconds_to_the_new_model", times, "s"),
        Row("model-swapped", "serve", "requests", [float(len(answers))], "requests"),
        Row("model-swapped", "serve", "models_seen", [float(len(versions))], "models"),
        Row("model-swapped", "serve", "p99_ms", [p99(answers)], "ms"),
        Row("model-swapped", "serve", "must_be_0_failed", [float(failed(answers))], "requests"),
    ]


def slow_senders(options: argparse.Namespace, texts: Sequence[str], work: Path) -> list[Row]:
    with serving(options.run / "model", work, "--body-timeout", str(_BODY_TIMEOUT)) as server:
        usual = asyncio.run(at_rate(server.port, predictions(server, texts, _QUIET_SECONDS), RATE, CONNECTIONS))
        ended: list[tuple[float, int, int]] = []

        async def slow(request: Request, expected: int) -> None:
            started = time.perf_counter()
            reader, writer = await asyncio.open_connection(HOST, server.port)
            head, end, body = request.content.partition(b"\r\n\r\n")
            if expected:  # the body is slow
                writer.write(head + end)
            answer = asyncio.ensure_future(reader.read(4096))
            for byte in body if expected else head:
                if answer.done():
                    break
                writer.write(bytes([byte]))
                await asyncio.sleep(0.5)
            content = await asyncio.wait_for(answer, 60)
            writer.close()
            status = int(content.split(b" ", 2)[1]) if content else 0
            ended.append((time.perf_counter() - started, status, expected))

        async def all_slow() -> None:
            many = predictions(server, texts, _SLOW / RATE)
            await asyncio.gather(*(slow(one, (408, 0)[number % 2]) for number, one in enumerate(many)))

        seconds = 2 * _BODY_TIMEOUT
        beside = under_load(server, predictions(server, texts, seconds), lambda: asyncio.run(all_slow()))
        ready = server.is_ready()
    longest = max(time for time, _, _ in ended)
    return [
        Row("slow-senders", "serve", "connections", [float(len(ended))], "connections"),
        Row("slow-senders", "serve", "cut_off_after_s", [round(longest, 3)], "s"),
        Row("slow-senders", "serve", "p99_ms_without", [p99(usual)], "ms"),
        Row("slow-senders", "serve", "p99_ms_beside", [p99(beside)], "ms"),
        Row(
            "slow-senders",
            "serve",
            "must_be_0_not_408",
            [float(sum(status != 408 for _, status, expected in ended if expected))],
            "answers",
        ),
        Row(
            "slow-senders",
            "serve",
            "must_be_0_answers_to_half_a_head",
            [float(sum(status != 0 for _, status, expected in ended if not expected))],
            "answers",
        ),
        Row("slow-senders", "serve", "must_be_0_failed_others", [float(failed(beside))], "requests"),
        Row("slow-senders", "serve", "must_be_0_not_ready_after", [float(not ready)], "answers"),
    ]
