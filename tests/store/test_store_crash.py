import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from hundredth.store import KnowledgeStore

_WRITER = """
import sys, numpy as np
from pathlib import Path
from hundredth.store import KnowledgeStore
store = KnowledgeStore.create(Path(sys.argv[1]), ["a", "b"], 16, "e")
generator = np.random.default_rng(0)
while True:
    keys = generator.normal(size=(50, 16))
    ids = store.add([(f"text {i}",) for i in range(50)], np.tile([0.5, 0.5], (50, 1)), keys, "user", [None] * 50)
    print(ids[-1], flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 7, 20])
def test_a_process_killed_while_it_adds_loses_nothing_that_it_was_told_is_stored(tmp_path, acknowledged):
    """Silent otherwise: half a batch, or an index that does not match the entries."""
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path / "s")], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    last = 0
    for _ in range(acknowledged):
        last = json.loads(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    for line in writer.stdout:  # what was acknowledged between the last line read and the kill
        last = json.loads(line)
    writer.wait()
    writer.stdout.close()
    with KnowledgeStore.open(tmp_path / "s") as store:
        ids = [entry.id for entry in store.entries()]
        assert len(ids) >= last
        assert len(ids) % 50 == 0
        assert ids == list(range(1, len(ids) + 1))
        key = np.random.default_rng(0).normal(size=(50, 16))[:1]
        assert store.search(key, 1).ids[0, 0] == 1
        new = store.add([("after",)], [[1, 0]], np.ones((1, 16)), "user", [0])
        assert store.search(np.ones((1, 16)), 1).ids[0, 0] == new[0]
