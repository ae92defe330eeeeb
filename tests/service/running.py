"""`hundredth serve` in processes of its own."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time

from callers import TOKEN


class Running:
    """A service in processes of its own; `lines` is what it said at the start."""

    def __init__(self, folder, *options):
        command = [sys.executable, "-m", "hundredth", "serve", folder, "--port", "0", "--threads", "1", *options]
        environment = {**os.environ, "HUNDREDTH_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.errors = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("changes"):
                break
        assert self.lines, self.ended()
        self.port = int(self.lines[0].rpartition(":")[2])

    def _read(self):
        for line in self.process.stderr:
            self.errors.append(line)

    def ask(self, path, body=None, method=None, connection=None):
        """Send one request; return status and body."""
        one = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        one.request(
            method or ("GET" if body is None else "POST"), path, None if body is None else json.dumps(body), headers
        )
        response = one.getresponse()
        content = response.read()
        if connection is None:
            one.close()
        return response.status, json.loads(content) if content.startswith(b"{") else content.decode()

    def until(self, reached, seconds=30):
        """Ask until something is so; requests that find nobody are tried again."""
        end = time.monotonic() + seconds
        while True:
            try:
                found = reached()
                if found:
                    return found
            except (OSError, http.client.HTTPException):
                pass
            assert time.monotonic() < end, self.errors
            time.sleep(0.05)

    def workers(self):
        """The ids of the processes that answer."""
        told = [json.loads(line)["message"] for line in self.errors]
        prefix = "Started server process ["
        return [int(message[len(prefix) : -1]) for message in told if message.startswith(prefix)]

    def stop(self):
        """Ask it to end; return its exit code."""
        self.process.terminate()
        return self.ended()

    def ended(self):
        """Wait until it has ended; return its exit code."""
        code = self.process.wait(30)
        self._reader.join(10)
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    @property
    def log(self):
        """What it wrote to standard error, read as what it must be."""
        return [json.loads(line) for line in self.errors]
