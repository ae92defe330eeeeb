"""What the commands print when all goes well, and when they are stopped."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from hundredth.pipeline.run import STAGES


def test_the_version(run: Any) -> None:
    assert run("--version").stdout == f"hundredth {version('hundredth')}\n"


@pytest.mark.parametrize("command", ["transfer", "predict", "evaluate"])
def test_the_help_of_each_command_has_an_example_that_can_be_copied(run: Any, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"  hundredth {command} " in result.stdout


def test_a_finished_run_says_what_came_out_and_what_to_do_next(run: Any, finished_run: Path) -> None:
    result = run("transfer", "--config", finished_run / "run.yaml", "--out", finished_run)
    assert result.exit_code == 0
    said = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert [words[0] for words in said[:6]] == ["model", "accuracy", "parameters", "store", "bytes", "next"]
    assert said[0][1] == str(finished_run / "model")
    assert "without its store" in said[1][1]
    assert "% of the LLM's" in said[2][1]
    assert said[6][1] == f'predict {finished_run}/model "some text"'
    assert said[7][1] == f"evaluate {finished_run} TEST.csv"
    assert [f"{name}: already done" for name in STAGES] == [
        line for line in result.stderr.splitlines() if line.endswith("already done")
    ]


def test_what_came_out_as_json(run: Any, finished_run: Path) -> None:
    result = run("transfer", "--config", finished_run / "run.yaml", "--out", finished_run, "--json", "--quiet")
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert found["model"] == str(finished_run / "model")
    assert set(found["dev"]) >= {"score", "score_without_store", "texts"}
    assert found["parameters"] == round(found["share_of_llm"] * found["llm_parameters"])
    sizes = sum(
        (finished_run / "model" / name).stat().st_size
        for name in ("encoder.onnx", "hundredth.json", "index.faiss", "store.db", "tokenizer.json")
    )
    assert found["bytes"] == sizes


def test_the_options_reach_the_config(
    run: Any, tickets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_llm: Path, tiny_encoder: Path
) -> None:
    seen: list[Any] = []

    def take(config: Any, out: Path, reporter: Any) -> None:
        seen.append((config, out))
        raise KeyboardInterrupt

    monkeypatch.setattr("hundredth.pipeline.transfer.transfer", take)
    (tmp_path / "base.yaml").write_text("student: {epochs: 7}\nthreads: 3\n")
    result = run(
        *("transfer", "--data", tickets, "--llm", tiny_llm, "--student", tiny_encoder, "--out", tmp_path / "run"),
        *("--dev", tickets, "--unlabelled", tickets, "--unlabelled-limit", 9, "--label-column", "label"),
        *("--text-column", "a", "--text-column", "b", "--about", "mail", "--limit-per-class", 5, "--seed", 4),
        *(
            "--prune-vocabulary",
            "--threads",
            2,
            "--set",
            "student.batch_size=8",
            "--config",
            tmp_path / "base.yaml",
        ),
    )
    assert result.exit_code == 130
    [(config, out)] = seen
    assert out == tmp_path / "run"
    assert (config.task.data, config.task.dev, config.task.unlabelled) == (tickets, tickets, tickets)
    assert (config.task.unlabelled_limit, config.task.limit_per_class, config.task.about) == (9, 5, "mail")
    assert (config.task.text_columns, config.task.label_column) == (("a", "b"), "label")
    assert (config.llm.name, config.base.name) == (str(tiny_llm), str(tiny_encoder))
    assert config.base.prune_vocabulary is True
    assert config.threads == 2
    assert (config.student.epochs, config.student.batch_size) == (7, 8)
    assert [one.seed for one in (config.task, config.prompt, config.sampling, config.student)] == [4] * 4


def test_a_run_that_is_stopped_says_how_to_go_on(
    run: Any, tickets: Path, out: Path, small_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hundredth.pipeline.transfer.make_samples", stop)
    result = run("transfer", tickets, "--config", small_config, "--out", out)
    assert result.exit_code == 130
    assert result.stderr.split("\n")[-2] == "stopped: run the same command again to go on from where it was"
    assert sorted(path.name for path in out.iterdir()) == [".lock", ".unfinished", "prompt", "run.yaml", "task"]


def test_a_fault_of_ours_is_shown_whole(
    run: Any, tickets: Path, out: Path, small_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that hides where it came from could not be mended by anybody."""

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("hundredth.pipeline.transfer.make_samples", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        run("transfer", tickets, "--config", small_config, "--out", out)


@pytest.fixture
def unseen(tmp_path: Path, write_table: Any) -> Path:
    rows = [
        ("The card slot ate my visa.", "card_swallowed"),
        ("I still wait for the money back.", "refund"),
        ("A thief has my phone now.", "lost_phone"),
        ("When is the refund here?", "refund"),
    ]
    return write_table(tmp_path / "test.csv", rows)


def test_an_evaluation_prints_a_table_and_says_where_its_files_lie(
    run: Any, finished_run: Path, unseen: Path
) -> None:
    command = ("evaluate", finished_run, unseen, "--seeds", 1, "--system", "student", "--threads", 1)
    result = run(*command)
    assert result.exit_code == 0, result.stderr
    assert "tickets: 4 test texts, 1 seed" in result.stdout
    lines = result.stdout.splitlines()
    places = dict(line.split(maxsplit=1) for line in lines[-2:])
    assert Path(places["report"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    results = json.loads(Path(places["results"]).read_text())
    [score] = [row["values"][0] for row in results["rows"] if row["metric"] == "score"]
    [student] = [line.split() for line in lines if line.startswith("student")]
    assert student[1] == f"{100 * score:.1f}"
    again = run(*command, "--json", "--quiet")
    assert again.stderr == ""
    found = json.loads(again.stdout)
    assert found["rows"] == results["rows"]
    assert found["report"] == places["report"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["{here}"], "is not a run folder: it has no run.yaml"),
        (["{run}"], "the run's task comes with no test split: name a file of labelled texts"),
        (["{run}", "{here}/none.csv"], "none.csv does not exist"),
        (["{run}", "{test}", "--system", "fuller"], "there is no system 'fuller': choose from llm, student"),
        (["{run}", "{test}", "--controls", "--system", "full"], "--controls and --system full are both given"),
        (["{run}", "{test}", "--limit", "0"], "limit is 0: test on at least 1 text"),
    ],
)
def test_what_cannot_be_evaluated(
    options: list[str], said: str, refused: Callable[..., str], finished_run: Path, unseen: Path, tmp_path: Path
) -> None:
    places = {"run": finished_run, "test": unseen, "here": tmp_path}
    assert said in refused("evaluate", *(one.format(**places) for one in options), "--quiet")
    assert not (finished_run / "evaluation").exists()


def test_an_unfinished_run_is_not_evaluated(refused: Callable[..., str], finished_run: Path, unseen: Path) -> None:
    (finished_run / "student").rename(finished_run / "elsewhere")
    said = refused("evaluate", finished_run, unseen)
    assert said.endswith("has not finished: student is still to do; give the same transfer command again")
