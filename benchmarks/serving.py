"""What the benchmarks of the service share: a running `hundredth serve`, and a client that keeps to a rate.

The client speaks HTTP over sockets to 127.0.0.1 alone. It sends when it is due, whether or not earlier answers have
come, and counts the time from when a request was due: a service that stalls is not spared the requests it held up.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

HOST = "127.0.0.1"
_START_SECONDS = 120
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Request:
    """A request as it is sent; `kind` is what its times are counted under."""

    kind: str
    content: bytes


@dataclass(frozen=True)
class Answer:
    """When it was due on the clock of `time.perf_counter`, how long it took; status 0: the connection broke."""

    kind: str
    due: float
    seconds: float
    status: int
    body: bytes


class Server:
    """A service with its own copy of a model; the folder that it serves is `folder`."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path, token: str, port: int, log: Path) -> None:
        self.process, self.folder, self.token, self.port, self.log = process, folder, token, port, log

    def workers(self) -> list[psutil.Process]:
        """Return the processes that answer requests: the children, or the one process itself."""
        process = psutil.Process(self.process.pid)
        return [child for child in process.children() if _answers(child)] or [process]

    def request(
        self, kind: str, method: str, path: str, content: Any = None, *, token: bool = False, close: bool = False
    ) -> Request:
        """Return a request in bytes; `content` becomes JSON."""
        body = b"" if content is None else json.dumps(content).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{self.port}", f"Content-Length: {len(body)}"]
        lines += ["Content-Type: application/json"] if body else []
        lines += [f"Authorization: Bearer {self.token}"] if token else []
        lines += ["Connection: close"] if close else []
        return Request(kind, "\r\n".join([*lines, "", ""]).encode() + body)

    def ask(self, method: str, path: str, content: Any = None, *, token: bool = False) -> tuple[int, Any]:
        """Send one request on a connection of its own; return the status and what the JSON of the answer holds."""
        made = self.request("one", method, path, content, token=token, close=True)
        answer = asyncio.run(send(self.port, made))
        return answer.status, json.loads(answer.body) if answer.body else None

    def is_ready(self) -> bool:
        """Whether it takes requests."""
        with suppress(OSError, ValueError):
            return self.ask("GET", "/readyz")[0] == 200
        return False


def _answers(process: psutil.Process) -> bool:
    """Whether a child of a service is a worker that lives."""
    try:
        return "resource_tracker" not in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # gone meanwhile, or a zombie
        return False


@contextmanager
def serving(model: Path, work: Path, *arguments: str, workers: int = 2) -> Iterator[Server]:
    """Serve a copy of `model`, made in `work`, on a free port until the block ends, and stop it as one should."""
    folder, log, said = work / "model", work / "log", work / "said"
    shutil.copytree(model, folder)
    token = secrets.token_hex(24)
    (work / "token").write_text(token, encoding="ascii")
    command = [sys.executable, "-m", "hundredth", "serve", str(folder), "--port", "0", "--threads", "1"]
    command += ["--workers", str(workers), "--token-file", str(work / "token"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as errors, said.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        try:
            server = Server(process, folder, token, _port(process, said, log), log)
            wait_until(server.is_ready, _START_SECONDS, "the service to be ready")
            yield server
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=_ANSWER_SECONDS)
            if code != 0:
                raise RuntimeError(f"the service ended with code {code}: see its log\n{log.read_text()[-2000:]}")
        finally:
            for one in (*psutil.Process(process.pid).children(), process) if process.poll() is None else ():
                one.kill()


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for something, and return how long it took."""
    started = time.perf_counter()
    while not done():
        if time.perf_counter() - started > seconds:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)
    return time.perf_counter() - started


async def send(port: int, request: Request) -> Answer:
    """Send one request on a connection of its own."""
    (answer,) = await at_rate(port, [request], rate=1e9, connections=1)
    return answer


async def at_rate(port: int, requests: Sequence[Request], rate: float, connections: int) -> list[Answer]:
    """Send requests at a rate a second over so many connections; return the answers in the order they were due."""
    answers: list[Answer] = []
    start = time.perf_counter()

    async def one(number: int) -> None:
        stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for place in range(number, len(requests), connections):
            request, due = requests[place], start + place / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            status, body = 0, b""
            try:
                if stream is None:
                    stream = await asyncio.open_connection(HOST, port)
                status, body, stays = await asyncio.wait_for(_exchange(*stream, request.content), _ANSWER_SECONDS)
            except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError):
                stays = False
            answers.append(Answer(request.kind, due, time.perf_counter() - due, status, body))
            if not stays and stream is not None:
                stream[1].close()
                stream = None
        if stream is not None:
            stream[1].close()

    await asyncio.gather(*(one(number) for number in range(connections)))
    return sorted(answers, key=lambda answer: answer.due)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes
) -> tuple[int, bytes, bool]:
    """Send bytes and read one answer: its status, its body, and whether the connection stays open."""
    writer.write(content)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    return status, body, fields.get("connection") != "close"


def _port(process: "subprocess.Popen[bytes]", said: Path, log: Path) -> int:
    """Return the port that the service says it listens at."""

    def address() -> str:
        lines = said.read_text(encoding="utf-8").splitlines()
        return next((line.split()[1] for line in lines if line.startswith("serving ")), "")

    def known() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"the service did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")
        return bool(address())

    wait_until(known, _START_SECONDS, "the service to say where it listens")
    return int(address().rpartition(":")[2])
