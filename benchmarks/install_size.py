"""How much a deployed hundredth takes on the disk: each package of a fresh environment, in MB.

Installs this checkout with the versions of constraints.txt into environments of their own: plain, with the extra
for the service, and plain without the compiled files, which Python can do without. pip and setuptools, which
brought the rest, do not count. Needs a package index.

    python benchmarks/install_size.py [--extra service] [--results FOLDER]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from hundredth.evaluation.results import Row, write_results

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
INSTALLERS = ("pip", "setuptools")
UNCOMPILED = "install-base-uncompiled"  # the task of the installation without compiled files

# Run by the environment that is measured. Compiled files are in a package's list of files too.
_MEASURE = """
import json
from importlib.metadata import distributions
sizes = {}
for one in distributions():
    paths = [one.locate_file(file) for file in one.files or []]
    sizes[one.metadata["Name"]] = sum(path.stat().st_size for path in paths if path.is_file())
print(json.dumps(sizes))
"""


def installed_sizes(extras: str, compiled: bool = True) -> dict[str, int]:
    """Return the bytes of each package that an installation with these extras ("" or "[service]") brings."""
    with tempfile.TemporaryDirectory(prefix="hundredth-install-") as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder) / "bin" / "python"
        options = ["--quiet", "--disable-pip-version-check", "--constraint", str(ROOT / "constraints.txt")]
        options += [] if compiled else ["--no-compile"]
        subprocess.run([python, "-m", "pip", "install", *options, f"{ROOT}{extras}"], check=True)
        measured = subprocess.run([python, "-c", _MEASURE], stdout=subprocess.PIPE, text=True, check=True)
    sizes: dict[str, int] = json.loads(measured.stdout)
    return {name: size for name, size in sizes.items() if name not in INSTALLERS}


def total(task: str, sizes: dict[str, int]) -> Row:
    """Print what the packages of an installation take together, and return it in MB."""
    row = Row(task, "total", "mb", [round(sum(sizes.values()) / 1e6, 2)], "MB")
    print(f"{task}: {row.values[0]:.0f} MB in {len(sizes)} packages", flush=True)
    return row


def main() -> None:
    """Measure, print, and write results/install_size.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extra", action="append", help="beside the plain installation (service)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes (%(default)s)")
    options = parser.parse_args()
    rows = []
    for extra in ("", *(options.extra or ["service"])):
        sizes = installed_sizes(f"[{extra}]" if extra else "")
        task = f"install-{extra or 'base'}"
        rows.append(total(task, sizes))
        for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
            rows.append(Row(task, name, "mb", [round(size / 1e6, 2)], "MB"))
    rows.append(total(UNCOMPILED, installed_sizes("", compiled=False)))
    write_results(options.results / "install_size.json", "install_size", [0], rows)


if __name__ == "__main__":
    main()
