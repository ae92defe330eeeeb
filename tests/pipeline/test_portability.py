"""What runs on Linux must not need it: modules and signals that Windows lacks are asked for, not assumed."""

import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from hundredth.pipeline.stages import peak_memory_mb

# Libraries may ask for these modules and look for the signals as they like: they have builds for each system.
_IMPORT_ALL = """
import builtins, importlib, pkgutil, signal

unix = {"fcntl", "grp", "posix", "pwd", "resource", "termios"}
found = builtins.__import__

def portable(name, globals=None, *rest, **named):
    importer = (globals or {}).get("__name__", "")
    if name in unix and importer.startswith("hundredth"):
        raise ImportError(f"{importer} needs {name}, which Windows lacks")
    return found(name, globals, *rest, **named)

builtins.__import__ = portable
import hundredth
names = [module.name for module in pkgutil.walk_packages(hundredth.__path__, "hundredth.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""


def test_no_module_needs_what_windows_lacks_to_be_imported() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_peak_memory_is_that_of_this_process() -> None:
    now = psutil.Process().memory_info().rss / 2**20
    assert 0.5 * now < peak_memory_mb() < 100 * now


def test_peak_memory_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=3 * 2**20 + 5))
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(psutil, "Process", lambda: told)
    assert peak_memory_mb() == 3


_ON_MACOS = """
import os, sys
import faiss  # its own choice of a build is made for the system that there is
os.environ.pop("KMP_DUPLICATE_LIB_OK", None)
faiss.omp_set_num_threads(2)
sys.platform = sys.argv[1]
import hundredth.store
print(os.environ.get("KMP_DUPLICATE_LIB_OK"), faiss.omp_get_max_threads())
"""


@pytest.mark.parametrize(("system", "expected"), [("darwin", "TRUE 1"), ("linux", "None 2")])
def test_faiss_makes_room_for_the_openmp_of_torch_on_macos_alone(system: str, expected: str) -> None:
    command = [sys.executable, "-c", _ON_MACOS, system]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == expected, done.stderr
