"""What is done in threads beside the event loop, and how an answer is waited for."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request

from hundredth.service.errors import ClientGoneError, too_many, unavailable
from hundredth.service.models import Models, Served

T = TypeVar("T")


class Pool:
    """A few threads for all but predictions; all methods run in the event loop.

    At most `most` requests are at work or wait; any number where it is None.
    """

    def __init__(self, models: Models, threads: int, most: int | None = None) -> None:
        self._models, self._most = models, most
        self._threads = ThreadPoolExecutor(threads, "work")
        self._busy = 0

    def submit(self, served: Served, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Run `work` in a thread; the model stays open until it is done, whoever still waits for it.

        Raises:
            ApiError: 429, too much is waiting.
        """
        if self._most is not None and self._busy >= self._most:
            raise too_many(f"{self._busy} requests are being worked on already, at most {self._most} may")
        self._busy += 1
        self._models.take(served)
        loop = asyncio.get_running_loop()

        def done(_: "Future[T]") -> None:
            loop.call_soon_threadsafe(self._done, served)

        future = self._threads.submit(work)
        future.add_done_callback(done)
        return asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for what is being done."""
        self._threads.shutdown(wait=True)

    def _done(self, served: Served) -> None:
        self._busy -= 1
        self._models.give_back(served)


async def wait_for(request: Request, future: "asyncio.Future[T]", seconds: float) -> T:
    """Return what a future brings, unless its client goes first or it takes too long.

    What has not been started by then never is.

    Raises:
        ClientGoneError: nobody waits for the answer any more.
        ApiError: 503, it took too long.
    """
    gone = asyncio.ensure_future(_gone(request))
    try:
        waited: set[asyncio.Future[Any]] = {future, gone}
        done, _ = await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        future.cancel()
        raise
    finally:
        gone.cancel()
    if future in done:
        return future.result()
    future.cancel()
    if gone in done:
        raise ClientGoneError
    raise unavailable(
        f"there was no answer within {seconds:g} seconds; what was to be changed may still be changed"
    )


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
