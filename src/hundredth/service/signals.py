"""What a process does on SIGTERM and SIGHUP, beside what the server does."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hundredth.service.service import Service


@contextmanager
def handled(service: Service) -> Iterator[None]:
    """Be no longer ready from SIGTERM on, and load the model anew on SIGHUP, within the block.

    The server stops taking connections as soon as it hears of SIGTERM. With a delay it hears of it later, so that
    whoever sends requests here can see /readyz and go elsewhere meanwhile. SIGINT ends the delay; a second SIGTERM
    does not: where it is sent to all processes of a service, a worker gets another from the one that started it.
    """
    stops = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(stops):
        yield  # run by something that has its own way of stopping
        return
    loop, delay = asyncio.get_running_loop(), service.settings.stop_delay

    def stop(number: int, frame: FrameType | None) -> None:
        first, service.stopping = not service.stopping, True
        if not delay:
            stops(number, frame)
        elif first:
            loop.call_soon_threadsafe(loop.call_later, delay, stops, number, frame)

    def reload(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(service.models.poke, True)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, stop)}
    if hasattr(signal, "SIGHUP"):  # Windows has none
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, reload)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
