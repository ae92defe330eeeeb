"""Running a service: the socket, one process or several, and what is said at the start."""

import errno
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from hundredth.errors import UserError
from hundredth.runtime import available_threads
from hundredth.service.app import create_app
from hundredth.service.connections import Connection, room_for
from hundredth.service.logs import CONFIG
from hundredth.service.metrics import FOLDER_VARIABLE
from hundredth.service.service import Service
from hundredth.service.settings import TOKEN_VARIABLE, ServiceSettings, is_loopback
from hundredth.service.workers import Workers

_log = logging.getLogger(__name__)
_BACKLOG = 2048  # connections that the system holds until they are taken
_HEALTHCHECK = 60  # seconds: a worker that starts on a busy machine is not one that hangs
_FAILED = 1  # not uvicorn's number for a start that cannot succeed: another try may


def serve(settings: ServiceSettings, say: Callable[[str], None]) -> None:
    """Serve until a signal ends it; `say` is told where and what, a line each.

    Raises:
        UserError: the model cannot be loaded, the settings do not go together, or the port is taken.
        KeyboardInterrupt: it was stopped by Ctrl-C.
    """
    threads = settings.threads or max(1, available_threads() // settings.workers)
    settings = settings.model_copy(update={"threads": threads})
    with _listening(settings.host, settings.port) as listening:
        settings = _as_bound(settings, listening.getsockname()[0])
        app = create_app(settings)
        for line in banner(app.state.service, listening):
            say(line)
        signal.signal(signal.SIGTERM, _end)
        if settings.workers == 1:
            uvicorn.Server(_config(settings, app)).run(sockets=[listening])
            return
        # All workers compute alike: `auto` is decided here, not in each of them.
        settings = settings.model_copy(update={"engine": app.state.service.models.served.model.engine})
        app.state.service.close()
        with tempfile.TemporaryDirectory(prefix="hundredth-metrics-") as folder:
            os.environ[FOLDER_VARIABLE] = folder
            workers = Workers(_config(settings, partial(_worker, settings, os.getpid())), [listening])
            workers.run()
        if workers.interrupted:
            raise KeyboardInterrupt


def banner(service: Service, listening: socket.socket) -> list[str]:
    """Return what is said at the start."""
    settings, model = service.settings, service.models.served.model
    manifest, entries = model.manifest, service.models.served.entries()
    address, port = listening.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    labels = ", ".join(model.labels[:10]) + (f", ... ({len(model.labels)})" if len(model.labels) > 10 else "")
    if not model.has_store:
        knowledge = "none: a plain classifier"
    else:
        knowledge = f"{sum(entries.values()):,} entries: " + ", ".join(
            f"{n:,} {name}" for name, n in entries.items()
        )
    access = service.access
    if not service.models.served.writable:
        changes = "not possible: the model's folder is read-only" if model.has_store else "none to make"
    elif access.writes_need_token:
        changes = "with the token"
    elif access.anonymous_writes:
        changes = "by everyone on this machine"
    else:
        changes = f"refused, as there is no token: set --token-file or {TOKEN_VARIABLE}"
    workers = f", {settings.workers} workers" if settings.workers > 1 else ""
    return [
        f"serving    http://{shown}:{port}",
        f"model      {settings.folder} (task {manifest.task.name}, version {service.models.served.version})",
        f"labels     {labels}",
        f"computing  {manifest.encoder.precision} weights with {model.engine}, {settings.threads} threads{workers}",
        f"knowledge  {knowledge}",
        f"changes    {changes}",
    ]


def _config(settings: ServiceSettings, app: FastAPI | Callable[[], FastAPI]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=not isinstance(app, FastAPI),
        workers=settings.workers,
        log_config=CONFIG,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        backlog=_BACKLOG,
        # A partial, which unlike a class made here can be sent to the workers.
        http=partial(Connection, most=room_for(settings.max_connections), head_timeout=settings.body_timeout),  # type: ignore[arg-type]
        timeout_worker_healthcheck=_HEALTHCHECK,
        # Long enough for every request that is still allowed to go on.
        timeout_graceful_shutdown=int(settings.body_timeout + settings.request_timeout) + 1,
    )


def _worker(settings: ServiceSettings, parent: int) -> FastAPI:
    """Return the application of a worker process, which ends with the process that started it."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        return create_app(settings)
    except UserError as error:
        _log.error("a worker cannot start, and is tried again: %s", " ".join(str(error).splitlines()))
        time.sleep(1)
        sys.exit(_FAILED)


def _end_with(parent: int) -> None:
    """Stop when the parent is gone: nobody else would stop a worker that it cannot stop any more."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address, which also tells early when it is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (socket.gaierror, UnicodeError) as error:  # the latter where it cannot be a name at all
        reason = error.strerror if isinstance(error, OSError) else "not a name of a host"
        raise UserError(f"{host} is no address of this machine: {reason}; try --host 127.0.0.1") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} of {host} is taken: stop what listens there, or name another --port"
            ) from None
        raise UserError(f"port {port} of {host} cannot be listened at: {error.strerror}") from error
    listening.set_inheritable(True)
    return listening


def _as_bound(settings: ServiceSettings, address: str) -> ServiceSettings:
    """Return the settings of a service at a loopback address, which may have been named as `127.1` or a name."""
    if settings.is_local or not is_loopback(address):
        return settings
    return settings.model_copy(update={"host": address, "allowed_hosts": (settings.host, *settings.allowed_hosts)})


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """End without an error: what SIGTERM asks for, before the server takes over and after it has stopped."""
    raise SystemExit(0)
