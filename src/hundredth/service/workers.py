"""The processes of a service with several workers, as uvicorn looks after them, but for how they end and reload."""

import os
import signal
import socket

import uvicorn
from uvicorn.supervisors import Multiprocess


class Workers(Multiprocess):
    """Starts workers, replaces those that die, and stops them all; `interrupted` says that Ctrl-C was why."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.interrupted = False

    def handle_int(self) -> None:
        """Stop, and know why."""
        self.interrupted = True
        super().handle_int()

    def handle_hup(self) -> None:
        """Have every worker load the model anew, as one that is alone does: no connection is lost."""
        for one in self.processes:
            if one.process.pid is not None and one.process.is_alive():
                os.kill(one.process.pid, signal.SIGHUP)

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
