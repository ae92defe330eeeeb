"""Connections: how many there may be at a time, and how long the head of a request may take to arrive."""

import asyncio
import json
import logging
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_log = logging.getLogger(__name__)

_OTHER_FILES = 128  # that a process has open beside its connections
_SECONDS_BETWEEN_WARNINGS = 10.0
_BUSY = json.dumps(
    {"error": {"code": "unavailable", "message": "there are too many connections: try again"}}
).encode()
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_BUSY), _BUSY)
)


class Connection(H11Protocol):
    """uvicorn's, which waits for ever for a head, and takes connections until there are no more file descriptors.

    One that is over `most` is told so and closed; so is one whose head takes longer than `head_timeout` seconds, or
    the rest of a body that was answered without having been read, without a word.
    """

    _warned = -_SECONDS_BETWEEN_WARNINGS

    def __init__(self, *, most: int, head_timeout: float, **others: Any) -> None:
        super().__init__(**others)
        self._most, self._head_timeout = most, head_timeout
        self._waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it."""
        super().connection_made(transport)
        if len(self.connections) <= self._most:
            self._wait()
            return
        transport.write(_REFUSAL)
        transport.close()
        now = time.monotonic()
        if now - Connection._warned >= _SECONDS_BETWEEN_WARNINGS:
            Connection._warned = now
            _log.warning("more than %d connections: new ones are refused (see --max-connections)", self._most)

    def data_received(self, data: bytes) -> None:
        """Read, and wait only so long for the rest of a head, or of a body that nobody waits for."""
        before = self.conn.their_state
        super().data_received(data)
        state = self.conn.their_state
        unread = state is h11.SEND_BODY and self.cycle.response_complete
        # Between two requests uvicorn's own time runs, until the first byte of the next; not after such a body.
        if (state is not h11.IDLE and not unread) or (before is h11.SEND_BODY and state is h11.IDLE):
            self._wait_no_more()
        if (state is h11.IDLE or unread) and self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self._head_timeout, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def room_for(connections: int) -> int:
    """Return how many connections there may be: as many as asked for, or as the system lets this process have.

    The limit of open files is raised as far as the system allows without being asked.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - _OTHER_FILES))
