"""What a service does when things go wrong around it: each case is made to happen, and what was lost is counted.

- `worker-killed`: a worker is killed again and again under load; no change that was acknowledged may be lost.
- `store-locked`: another process keeps the store locked for longer than is waited for; all reading must go on.
- `model-swapped`: the served folder is replaced again and again under load; no request may fail.
- `slow-senders`: hundreds of connections send heads or bodies a byte at a time; the others must not notice.
- `hostile-requests`: thousands of malformed and hostile requests; no answer may be an error of the service, or
  name a path of the machine, or show a traceback, and it must be as well afterwards as before. Half of them come
  before any has the token: by these nothing may be changed.
- `folders`: spoilt model folders, each loaded by a process of its own with 4 GB at most; all must be refused in one
  line, or what was spoilt in them made again.

Ends with code 1 if anything was not as it must be.

    python benchmarks/faults.py [--case worker-killed ...] [--seconds 30] [--requests 5000] [--run FOLDER]
"""

import argparse
import asyncio
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from fault_cases import model_swapped, slow_senders, store_locked, worker_killed
from hostile_folders import MADE_AGAIN, hostile_folders
from hostile_requests import hostile_requests
from serving import HOST, serving
from timed_texts import RUN, timed_texts

from hundredth.evaluation.results import Row, write_results

RESULTS = Path(__file__).parent / "results"

_AT_ONCE = 32
_MEMORY = 4 << 30


def hostile(options: argparse.Namespace, texts: Sequence[str], work: Path) -> list[Row]:
    with serving(options.run / "model", work, "--body-timeout", "1") as server:
        before = {worker.pid for worker in server.workers()}
        memory = sum(worker.memory_info().rss for worker in server.workers()) / 2**20
        expected = server.ask("POST", "/v1/predict", {"texts": list(texts[:5])})[1]["predictions"]
        statuses: Counter[int] = Counter()
        telling = 0
        waiting: list[bytes] = []

        async def one() -> None:
            nonlocal telling
            while waiting:
                content = waiting.pop()
                try:
                    reader, writer = await asyncio.open_connection(HOST, server.port)
                    writer.write(content)
                    answer = await asyncio.wait_for(reader.read(1 << 20), 20)
                    writer.close()
                except (OSError, TimeoutError):
                    answer = b""
                words = answer.split(b" ", 2)
                statuses[int(words[1]) if len(words) > 1 and words[1].isdigit() else 0] += 1
                telling += any(mark in answer for mark in (b"Traceback", b"/site-packages/", bytes(server.folder)))

        async def everyone() -> None:
            await asyncio.gather(*(one() for _ in range(_AT_ONCE)))

        def changes() -> list[object]:
            found: list[object] = server.ask("GET", "/v1/knowledge/log?limit=1")[1]["changes"]
            return found

        changed, none = changes(), "0" * len(server.token)
        waiting += hostile_requests(options.requests // 2, none, seed=1)
        asyncio.run(everyone())
        allowed = changes() != changed
        waiting += hostile_requests(options.requests - options.requests // 2, server.token)
        asyncio.run(everyone())
        entries = server.ask("GET", "/v1/knowledge?limit=1&origin=generated")
        after = server.ask("POST", "/v1/predict", {"texts": list(texts[:5])})[1]["predictions"]
        died = len(before - {worker.pid for worker in server.workers()})
        grown = sum(worker.memory_info().rss for worker in server.workers()) / 2**20 - memory
    print(f"  {dict(sorted(statuses.items()))}; 0: closed without an answer", flush=True)
    errors = sum(count for status, count in statuses.items() if status >= 500)
    same = [one["label"] for one in after] == [one["label"] for one in expected] and entries[0] == 200
    return [
        Row("hostile-requests", "serve", "requests", [float(statuses.total())], "requests"),
        Row("hostile-requests", "serve", "grown_mb", [round(grown, 1)], "MB"),
        Row("hostile-requests", "serve", "must_be_0_changes_without_token", [float(allowed)], "changes"),
        Row("hostile-requests", "serve", "must_be_0_errors", [float(errors)], "answers"),
        Row("hostile-requests", "serve", "must_be_0_telling_answers", [float(telling)], "answers"),
        Row("hostile-requests", "serve", "must_be_0_workers_died", [float(died)], "processes"),
        Row("hostile-requests", "serve", "must_be_0_not_well_after", [float(not same)], "answers"),
    ]


def folders(options: argparse.Namespace, texts: Sequence[str], work: Path) -> list[Row]:
    rows = []
    for name, folder in hostile_folders(options.run / "model", work):
        done = subprocess.run(
            [sys.executable, "-m", "hundredth", "predict", str(folder), texts[0]],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY)),
        )
        lines = done.stderr.strip().splitlines()
        refused = done.returncode == 2 and len(lines) == 1 and lines[0].startswith("error: ")
        good = done.returncode == 0 and len(lines) == 1 if name in MADE_AGAIN else refused
        print(f"  {name}: {lines[-1][:150] if lines else 'nothing was said'}", flush=True)
        rows.append(Row("folders", name, "must_be_0_not_refused", [float(not good)], "folders"))
        shutil.rmtree(folder)
    return rows


CASES: dict[str, Callable[[argparse.Namespace, Sequence[str], Path], list[Row]]] = {
    "worker-killed": worker_killed,
    "store-locked": store_locked,
    "model-swapped": model_swapped,
    "slow-senders": slow_senders,
    "hostile-requests": hostile,
    "folders": folders,
}


def main() -> int:
    """Run the cases, print, and write results/faults.json; return 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one; may be repeated")
    parser.add_argument("--seconds", type=float, default=30, help="of load (%(default)s)")
    parser.add_argument("--requests", type=int, default=5000, help="hostile ones (%(default)s)")
    parser.add_argument("--run", type=Path, default=RUN, help="whose model is copied and served (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes (%(default)s)")
    options = parser.parse_args()
    texts = timed_texts(options.run, 200)
    rows = []
    for case in options.case or list(CASES):
        print(case, flush=True)
        with tempfile.TemporaryDirectory(prefix="hundredth-faults-") as work:
            made = CASES[case](options, texts, Path(work))
        for row in made:
            print(f"  {row.system} {row.metric} {row.values} {row.unit}", flush=True)
        rows += made
    write_results(options.results / "faults.json", "faults", [0], rows)
    bad = [row for row in rows if row.metric.startswith("must_be_0") and any(row.values)]
    for row in bad:
        print(f"NOT AS IT MUST BE: {row.task} {row.system} {row.metric}: {row.values}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
