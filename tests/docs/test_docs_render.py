"""What the docs take from the results and from the code is current, and is made the same way every time."""

import importlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from published_tables import cells

ROOT = Path(__file__).parents[2]
BEFORE = "not measured yet"
PAGE = "\n".join(
    f"<!-- begin {name} -->\n{BEFORE}\n<!-- end {name} -->\n"
    for name in ("transfer", "transfer-pruned", "transfer-picture", "sampling")
)


@pytest.fixture(scope="module")
def render() -> Any:
    """The script, which is no part of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("render")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A checkout with nothing but two pages."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(PAGE, encoding="utf-8")
    (tmp_path / "docs" / "experiments.md").write_text(PAGE, encoding="utf-8")
    return tmp_path


def put_results(site: Path, name: str, rows: Sequence[tuple[str, str, str, list[float]]]) -> None:
    values = {
        "name": name,
        "date": "2026-03-04T05:06:07+00:00",
        "commit": "0123456789abcdef",
        "machine": {"cpu": "a processor", "cores": 3, "gpu": None},
        "versions": {"torch": "2.0"},
        "seeds": [0, 1],
        "rows": [dict(zip(("task", "system", "metric", "values"), row, strict=True)) for row in rows],
    }
    path = site / "benchmarks" / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


def put_transfer(site: Path, name: str = "transfer-pruned") -> None:
    """Two tasks: on the first the LLM is 20 points above the student, on the second it is below."""
    scores = {
        "news": {"llm": [0.9, 0.9], "student": [0.68, 0.72], "full": [0.85, 0.85]},
        "mail": {"llm": [0.7], "student": [0.75], "full": [0.8]},
    }
    rows = [(task, system, "score", values) for task, of in scores.items() for system, values in of.items()]
    rows += [("news", "full", metric, [value]) for metric, value in (("bytes", 1e6), ("store_bytes", 5e5))]
    rows += [("news", "full", "parameters", [1.3e6]), ("news", "full", "ms_per_text", [0.5])]
    put_results(site, name, rows)


def test_the_committed_docs_are_what_the_committed_results_give(render: Any, tmp_path: Path) -> None:
    """Silent otherwise: a number in the docs that no file of results bears out."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for results in (ROOT / "benchmarks" / "results").glob("*.json"):
        (tmp_path / "benchmarks" / "results").mkdir(parents=True, exist_ok=True)
        shutil.copy(results, tmp_path / "benchmarks" / "results")
    shutil.copy(ROOT / "README.md", tmp_path)
    assert render.main(["--check", "--root", str(tmp_path)]) == 0


def test_a_table_holds_the_means_deviations_and_shares_of_the_gap(render: Any, site: Path) -> None:
    put_transfer(site)
    assert render.main(["--root", str(site)]) == 0
    page = site / "docs" / "experiments.md"
    assert cells(page, "news", "`student`")[2:5] == ["2", "70.0 ± 2.8", "–"]
    assert cells(page, "news", "`full`")[2:5] == ["2", "85.0 ± 0.0", "75 %"]
    assert cells(page, "news", "`full`")[6:] == ["1.3M", "1.5 MB", "0.500"]
    assert cells(site / "README.md", "system")[1:3] == ["news (n=2)", "mail \\* (n=1)"]
    assert cells(site / "README.md", "`full`")[1:3] == ["85.0 ± 0.0 (75 %)", "80.0"]
    assert "2026-03-04, commit `0123456789`; a processor, 3 cores; torch 2.0." in page.read_text(encoding="utf-8")


def test_a_task_whose_llm_is_no_better_is_marked_and_has_no_share(render: Any, site: Path) -> None:
    """Silent otherwise: a share of a gap of nothing is any number at all."""
    put_transfer(site)
    render.main(["--root", str(site)])
    assert cells(site / "docs" / "experiments.md", "mail \\*", "`full`")[4] == "–"
    assert "\\* The LLM is less than a point above the student" in (site / "README.md").read_text(encoding="utf-8")


def test_a_gap_that_chance_explains_has_no_share(render: Any, site: Path) -> None:
    """Silent otherwise: of a test set of fifty texts, shares of minus three hundred percent."""
    scores = {"llm": [0.73, 0.75, 0.75], "student": [0.71, 0.77, 0.71], "full": [0.73, 0.68, 0.68]}
    put_results(site, "transfer-pruned", [("pairs", name, "score", found) for name, found in scores.items()])
    render.main(["--root", str(site)])
    assert cells(site / "docs" / "experiments.md", "pairs \\*", "`full`")[4] == "–"
    steady = scores | {"llm": [0.76, 0.79, 0.75]}
    put_results(site, "transfer-pruned", [("pairs", name, "score", found) for name, found in steady.items()])
    render.main(["--root", str(site)])
    assert cells(site / "docs" / "experiments.md", "pairs", "`full`")[4].endswith("%")


def test_links_and_pictures_are_found_from_each_page(render: Any, site: Path) -> None:
    put_transfer(site)
    render.main(["--root", str(site)])
    for page in (site / "README.md", site / "docs" / "experiments.md"):
        targets = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
        assert len(targets) == 3
        assert all((page.parent / target).is_file() for target in targets)


def test_the_sampling_table_shows_the_median_and_the_range(render: Any, site: Path) -> None:
    rates = {"tokens_per_s": [300.0, 100.0, 200.0], "times_generate": [3.0, 1.0, 2.5]}
    rows = [("sampling", "sampler", metric, values) for metric, values in rates.items()]
    put_results(site, "sampling_speed", [("sampling", "generate", "tokens_per_s", [100.0]), *rows])
    render.main(["--root", str(site)])
    assert cells(site / "README.md", "`sampler`") == ["`sampler`", "3", "200 (100 to 300)", "2.50 (1.00 to 3.00)"]
    assert cells(site / "README.md", "`generate`") == ["`generate`", "1", "100", "–"]


def test_without_results_a_block_is_kept_and_that_is_said(
    render: Any, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render.main(["--root", str(site)]) == 0
    assert (site / "README.md").read_text(encoding="utf-8") == PAGE
    assert "README.md: no results for the block 'sampling', so it is kept as it is" in capsys.readouterr().out


def test_a_second_time_changes_nothing(render: Any, site: Path) -> None:
    put_transfer(site)
    put_transfer(site, "transfer-whole")
    assert render.main(["--check", "--root", str(site)]) == 1
    render.main(["--root", str(site)])
    times = {path: path.stat().st_mtime_ns for path in site.rglob("*.*")}
    assert render.main(["--root", str(site)]) == 0
    assert render.main(["--check", "--root", str(site)]) == 0
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*.*")} == times


def test_check_finds_a_number_changed_by_hand_and_leaves_it(
    render: Any, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_transfer(site)
    render.main(["--root", str(site)])
    changed = (site / "README.md").read_text(encoding="utf-8").replace("85.0 ± 0.0", "86.0 ± 0.0")
    (site / "README.md").write_text(changed, encoding="utf-8")
    assert render.main(["--check", "--root", str(site)]) == 1
    assert "README.md: is not current" in capsys.readouterr().out
    assert (site / "README.md").read_text(encoding="utf-8") == changed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- begin transfers -->\n<!-- end transfers -->", "unknown block 'transfers'"),
        ("<!-- begin sampling -->\n<!-- end transfer -->", "1 blocks begin, but 0 of them have an end"),
    ],
)
def test_a_block_that_cannot_be_filled_is_refused(render: Any, site: Path, text: str, said: str) -> None:
    (site / "README.md").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"README.md: {said}"):
        render.main(["--root", str(site)])


def test_every_setting_is_described() -> None:
    from hundredth.pipeline.config import RunConfig

    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert {line[0].strip("| `") for line in lines} == set(_paths(RunConfig))
    assert all(line[2].removesuffix(" |").strip() for line in lines)


def test_the_options_beside_the_settings_are_there(render: Any) -> None:
    from hundredth.cli import app
    from hundredth.pipeline.config import RunConfig

    command = app.commands["transfer"]
    assert render.SHORTCUTS.keys() <= {option for parameter in command.params for option in parameter.opts}
    assert set(render.SHORTCUTS.values()) <= set(_paths(RunConfig))


def _paths(model: Any, path: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        inner = f"{path}{name}"
        nested = getattr(field.annotation, "model_fields", None)
        found += [inner] if nested is None else _paths(field.annotation, f"{inner}.")
    return found
