"""The processes of a service with several workers, as uvicorn looks after them, but for how they end."""

import signal
import socket
import threading

import uvicorn
from uvicorn.supervisors import Multiprocess


class Workers(Multiprocess):
    """Starts workers, replaces those that die, and stops them all; `interrupted` says that Ctrl-C was why."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.should_exit = _Stop(self.signal_queue)
        self.interrupted = False

    def handle_int(self) -> None:
        """Stop, and know why."""
        self.interrupted = True
        super().handle_int()

    def keep_subprocess_alive(self) -> None:
        """Replace workers that are gone or hang."""
        for process in self.processes:
            # Its end of the pipe is open in this process too: else a worker that dies while it is asked whether it
            # lives would be waited for as long as one that is slow.
            process.child_conn.close()
        super().keep_subprocess_alive()

    def terminate_all(self) -> None:
        """Stop all workers."""
        for one in self.sockets:
            one.close()  # else the system would take connections after the workers' last, which nobody answers
        super().terminate_all()


class _Stop(threading.Event):
    """Is set by a signal to stop as soon as it has come, also while workers are being replaced one by one."""

    def __init__(self, signals: list[int]) -> None:
        super().__init__()
        self._signals = signals

    def is_set(self) -> bool:
        """Say whether to stop."""
        return super().is_set() or signal.SIGTERM in self._signals or signal.SIGINT in self._signals
