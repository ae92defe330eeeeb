"""Is the evaluation of encoders right? all-MiniLM-L6-v2 has known scores on six STS tasks: ours must be the same.

They are those of MTEB, Spearman x 100. Ends with code 1 if one is off by more than 0.05. Takes minutes; reads the
data from HUNDREDTH_DATA.

    python benchmarks/encoder_check.py
"""

import os
import sys
from pathlib import Path

from encoder_parts import MINILM

from hundredth.evaluation.encoders.evaluate import evaluate_encoders
from hundredth.evaluation.results import Row, write_results

RESULTS = Path(__file__).parent / "results"
KNOWN = {"sts12": 72.37, "sts13": 80.6, "sts14": 75.59, "sts15": 85.39, "sts16": 78.99, "stsb": 82.03}
_MOST = 0.05


def main() -> int:
    """Measure, write results/encoder-check.json, and return 1 if a score is another."""
    if "HUNDREDTH_DATA" not in os.environ:
        sys.exit("set HUNDREDTH_DATA to the folder that holds the benchmark data (senteval/)")
    found = evaluate_encoders({"ours": MINILM}, Path(os.environ["HUNDREDTH_DATA"]), ["sts"])
    rows, off = [], 0
    for task in found.tasks:
        ours = found.value("ours", task, "spearman")
        assert ours is not None
        rows.append(Row(task, "ours", "spearman", [ours], "Spearman x 100"))
        if task in KNOWN:
            rows.append(Row(task, "known", "spearman", [KNOWN[task]], "Spearman x 100"))
            off += abs(ours - KNOWN[task]) > _MOST
        print(f"{task}: {ours:.2f}" + (f", known {KNOWN[task]:.2f}" if task in KNOWN else ""))
    write_results(RESULTS / "encoder-check.json", "encoder-check", [0], rows)
    return min(off, 1)


if __name__ == "__main__":
    sys.exit(main())
