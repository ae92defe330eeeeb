"""The signals of a service where a system does not have them all."""

import asyncio
import signal
from types import SimpleNamespace

from hundredth.service.signals import handled


def test_a_system_without_sighup_still_hears_sigterm(monkeypatch):
    heard = []
    monkeypatch.delattr(signal, "SIGHUP")
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    service = SimpleNamespace(settings=SimpleNamespace(stop_delay=0.0), stopping=False)

    async def serve():
        with handled(service):
            signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
            await asyncio.sleep(0)

    try:
        asyncio.run(serve())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert service.stopping
    assert heard == [signal.SIGTERM]
