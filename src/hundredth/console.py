"""What the command line prints: results for people or as JSON for programs, and errors in one line."""

import errno
import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from hundredth.errors import MissingExtraError, UserError
from hundredth.files import read_json

if TYPE_CHECKING:
    from hundredth.evaluation.outcome import Evaluation
    from hundredth.pipeline.run import Run
    from hundredth.runtime import Explanation, Model

# A text's fields, with the number of the line where they begin, or of the argument.
Numbered = tuple[int, tuple[str, ...]]

_NEAREST = 5  # stored texts that an explanation shows in any case
_SHOWN = 100  # characters of a neighbour's text


@contextmanager
def plain_errors(writes: Path | None = None, resumable: bool = False) -> Iterator[None]:
    """Say what a user can put right in one line on standard error; exit with 2, or 130 when stopped."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (`| head`). Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(1) from None
    except KeyboardInterrupt:
        again = ": run the same command again to go on from where it was" if resumable else ""
        click.echo(f"\nstopped{again}", err=True)
        raise click.exceptions.Exit(130) from None
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "hundredth":
            raise
        _fail(MissingExtraError("this command", "train", error.name))
    except Exception as error:
        if _disk_is_full(error):
            kept = "; finished stages are kept" if resumable else ""
            _fail(f"disk full while writing {writes or 'files'}: free space and run the same command again{kept}")
        if isinstance(error, OSError) and not isinstance(error, UserError):
            named = f"{error.filename}: " if error.filename is not None else ""
            _fail(f"{named}{error.strerror or error}")
        if isinstance(error, UserError):
            _fail(error)
        raise


def _fail(message: object) -> NoReturn:
    click.echo(f"error: {' '.join(str(message).splitlines())}", err=True)
    raise click.exceptions.Exit(2) from None


def _disk_is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        # Rust and SQLite underneath have errors of their own, of which the text is all that tells. What we say
        # ourselves may quote a user's text; the cause below it tells.
        said = "" if isinstance(error, UserError) else str(error)
        if any(text in said for text in ("No space left on device", "disk is full")):
            return True
        error = error.__cause__ or error.__context__
    return False


def run_as_json(run: "Run") -> str:
    """Return what came out of a finished run as one JSON object."""
    return json.dumps(_outcome(run), ensure_ascii=False)


def run_as_text(run: "Run") -> str:
    """Return what came out of a finished run, and what to do with it next."""
    seen = _outcome(run)
    dev, chosen, entries = seen["dev"], seen["retrieval"], f"{seen['entries']:,} entries"
    if seen["ignores_its_store"]:
        store = f"{entries}, but on the dev texts it was best without them (lambda 0): it ignores its store"
    else:
        store = f"{entries}; K {chosen['k']}, t {chosen['temperature']:g}, lambda {chosen['weight']:g}"
        if seen["store_helps"] is False:
            store += " (no harm on the dev texts, and no clear gain)"
    scores = f"{dev['score']:.3f}, without its store {dev['score_without_store']:.3f}"
    share = f"{seen['share_of_llm']:.1%}"
    model, fields = shlex.quote(seen["model"]), run.data.task.fields
    texts = '"some text"' if len(fields) == 1 else f"--file FILE.csv   # with the columns {', '.join(fields)}"
    return "\n".join(
        [
            f"model       {seen['model']}",
            f"{seen['metric']:<11} {scores} (on {dev['texts']} dev texts, by which it was chosen)",
            f"parameters  {seen['parameters']:,}: {share} of the LLM's {seen['llm_parameters']:,}",
            f"store       {store}",
            f"bytes       {seen['bytes']:,} (encoder: {seen['precision']})",
            "next",
            f"  hundredth predict {model} {texts}",
            f"  hundredth evaluate {shlex.quote(seen['run'])} TEST.csv",
        ]
    )


def show_evaluation(evaluation: "Evaluation", as_json: bool) -> None:
    """Print what an evaluation has found, and where its report and its numbers lie."""
    from rich.console import Console

    from hundredth.evaluation.controls import RESULTS
    from hundredth.evaluation.findings import findings_as_json
    from hundredth.evaluation.report import REPORT
    from hundredth.evaluation.table import show

    root = evaluation.run.root
    if as_json:
        found = {**read_json(root / RESULTS), **findings_as_json(evaluation), "report": str(root / REPORT)}
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    # Wide enough for every column where the output is no terminal, which has a width of its own.
    show(evaluation, Console(width=None if sys.stdout.isatty() else 160, highlight=False))
    click.echo(f"\nreport   {root / REPORT}\nresults  {root / RESULTS}")


def labelled(model: "Model", texts: Sequence[Numbered], least: float) -> Iterator[str]:
    """Predict `texts`; yield a line each: label, probability and the text's fields, with tabs between.

    A text whose probability is below `least` gets "-" for a label.
    """
    probabilities = model.predict_proba([fields for _, fields in texts])
    for (_, fields), row in zip(texts, probabilities, strict=True):
        best = int(row.argmax())
        yield _line(model.labels[best] if row[best] >= least else "-", float(row[best]), fields)


def labelled_as_json(model: "Model", texts: Sequence[Numbered], least: float) -> Iterator[str]:
    """Predict `texts`; yield a JSON object each, with the label null where its probability is below `least`."""
    probabilities = model.predict_proba([fields for _, fields in texts])
    for (line, fields), row in zip(texts, probabilities, strict=True):
        best = int(row.argmax())
        found = {
            "line": line,
            "texts": fields,
            "label": model.labels[best] if row[best] >= least else None,
            "probability": float(row[best]),
            # Another process may just have added a label.
            "probabilities": dict(zip(model.labels[: len(row)], row.tolist(), strict=True)),
        }
        yield json.dumps(found, ensure_ascii=False)


def explained(model: "Model", texts: Sequence[Numbered], least: float) -> Iterator[str]:
    """Predict `texts`; yield for each its line and, below it, what decided it."""
    for _, fields in texts:
        why = model.explain(fields)
        answered = why.probability >= least
        line = _line(why.label if answered else "-", why.probability, fields)
        likeliest = [] if answered else [f"  not sure enough to say {why.label}:"]
        yield "\n".join([line, *likeliest, *_reasons(why)])


def explained_as_json(model: "Model", texts: Sequence[Numbered], least: float) -> Iterator[str]:
    """Predict `texts`; yield a JSON object each, with what decided it: `explained` is the label that it is of."""
    for line, fields in texts:
        why = model.explain(fields)
        found = {
            "line": line,
            "texts": fields,
            **why.to_dict(),
            "label": why.label if why.probability >= least else None,
            "explained": why.label,
        }
        yield json.dumps(found, ensure_ascii=False)


def _reasons(why: "Explanation") -> Iterator[str]:
    """Yield the head's share, the nearest texts, those on which the label hangs, and how much all others have."""
    yield f"  {why.head_share:4.0%} of it from the model itself"
    others = []
    for number, one in enumerate(why.neighbours):
        decides = one.label_without != why.label
        if number >= _NEAREST and not decides:
            others.append(one)
            continue
        text = " | ".join(one_line(text) for text in one.texts)
        shown = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
        about = f"similarity {one.similarity:.2f}, {one.label} ({one.origin})"
        without = f"; without it {one.label_without}" if decides else ""
        yield f"  {one.share:4.0%} from a stored text, {about}: {shown}{without}"
    if others:
        labels = ", ".join(
            f"{label} {count}" for label, count in Counter(one.label for one in others).most_common()
        )
        share = sum(one.share for one in others)
        yield f"  {share:4.0%} from {len(others)} more stored texts ({labels}); --json shows them"
    if why.similarity_quantile == 0:
        yield "       farther from all stored texts than any development text was: it may be out of scope"


def _line(label: str, probability: float, fields: Sequence[str]) -> str:
    # A text's own tabs and line ends would break the line up.
    return "\t".join([label, f"{probability:.4f}", *map(one_line, fields)])


def one_line(text: str) -> str:
    """Return a text with a single space for each run of whitespace, line ends and tabs among it."""
    return " ".join(text.split())


def _outcome(run: "Run") -> dict[str, Any]:
    student, model = run.record("student")["metrics"], run.record("model")["metrics"]
    return {
        "run": str(run.root),
        "model": str(run.root / "model"),
        "task": run.data.task.name,
        "labels": list(run.data.task.labels),
        "metric": run.data.task.metric,
        "dev": model["dev"],
        "parameters": student["parameters"],
        "llm_parameters": run.llm_size["parameters"],
        "share_of_llm": student["share_of_llm"],
        "entries": model["entries"],
        "retrieval": model["retrieval"],
        "ignores_its_store": model["ignores_its_store"],
        "store_helps": model.get("store_helps"),  # which earlier versions did not ask
        "precision": model["export"]["precision"],
        "bytes": sum(model["bytes"].values()),
    }
