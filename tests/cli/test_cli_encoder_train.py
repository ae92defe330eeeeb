"""`hundredth encoder train`: what it prints and writes, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from sentence_transformers import SentenceTransformer

from hundredth.hub import names_dataset

WORDS = ["card", "money", "phone", "machine", "refund", "lost", "bank", "order", "stolen", "shop"]
TEXTS = [f"{one} {two} {three}" for one in WORDS for two in WORDS for three in WORDS[:2]]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXTS))
    return path


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.npy"
    np.save(path, np.random.default_rng(0).normal(size=(len(TEXTS), 8)).astype(np.float32))
    return path


@pytest.fixture
def command(corpus: Path, tiny_encoder: Path, out: Path) -> tuple[object, ...]:
    return (
        *("encoder", "train", corpus, "--base", tiny_encoder, "--out", out, "--threads", 1),
        *("--batch-size", 20, "--steps", 4, "--set", "precision=float32"),
    )


def test_a_training_says_what_it_does_and_what_came_out(
    run: Any, command: tuple[object, ...], teacher: Path, out: Path
) -> None:
    result = run(*command, "--teacher", teacher)
    assert result.exit_code == 0, result.stderr
    assert "corpus: 200 sentences" in result.stderr
    assert "4 steps of 20 sentences" in result.stderr
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines()[:3])
    assert lines["encoder"] == str(out)
    assert lines["trained"] == "4 steps on 200 sentences"
    assert "not measured" in lines["score"]
    assert SentenceTransformer(str(out), device="cpu").encode(["a card"]).shape == (1, 32)
    again = run(*command, "--teacher", teacher, "--json", "--quiet")
    assert again.stderr == ""
    assert json.loads(again.stdout)["steps"] == 4


def test_scored_pairs_choose_the_step(run: Any, command: tuple[object, ...], tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("sentence1,sentence2,score\n" + "".join(f"{TEXTS[i]},{TEXTS[-i]},{i}\n" for i in range(1, 30)))
    result = run(*command, "--method", "simcse", "--dev", pairs, "--json", "--quiet")
    chosen = json.loads(result.stdout)["chosen_by"]
    assert chosen["metric"] == "spearman"
    assert chosen["count"] == 29


def test_sts_b_of_a_senteval_folder_chooses_the_step(run: Any, command: tuple[object, ...], tmp_path: Path) -> None:
    folder = tmp_path / "senteval" / "downstream" / "STS" / "STSBenchmark"
    folder.mkdir(parents=True)
    rows = [f"main\tfile\t2012\t{i}\t{i % 6}\t{TEXTS[i]}\t{TEXTS[-i]}" for i in range(1, 20)]
    for split in ("train", "dev", "test"):
        (folder / f"sts-{split}.csv").write_text("\n".join(rows) + "\n")
    senteval = tmp_path / "senteval"
    result = run(*command, "--method", "simcse", "--senteval", senteval, "--json", "--quiet")
    assert json.loads(result.stdout)["chosen_by"]["count"] == 19


def test_ctrl_c_says_how_to_go_on(run: Any, command: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hundredth.ranking.training._train", stop)
    result = run(*command, "--method", "simcse", "--quiet")
    assert result.exit_code == 130
    assert "run the same command again to go on from where it was" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "no teacher is named, whose rankings are to be learnt"),
        (["--method", "simcsee"], "there is no method 'simcsee': choose from rankcse, simcse"),
        (["--method", "simcse", "--set", "stepps=2"], "there is no setting stepps"),
        (["--method", "simcse", "--dev", "a.csv", "--senteval", "b"], "a.csv and b: leave one out"),
        (["--method", "simcse", "--dev", "none.csv"], "none.csv does not exist"),
        (["--teacher", "/none"], "'/none': no such file or folder"),
        (["--teacher", "/none.npy"], "/none.npy"),
    ],
)
def test_what_is_refused(
    options: list[str], said: str, refused: Callable[..., str], command: tuple[object, ...], out: Path
) -> None:
    assert said in refused(*command, "--quiet", *options)
    assert not out.exists()


@pytest.mark.parametrize("option", ["--base", "--teacher"])
def test_a_name_on_the_hub_without_a_network_is_said_at_once(
    option: str, no_network: None, refused: Callable[..., str], command: tuple[object, ...]
) -> None:
    method = "simcse" if option == "--base" else "rankcse"
    said = refused(*command, "--quiet", "--method", method, option, "nobody-has/this")
    assert f"{option[2:]} 'nobody-has/this' cannot be loaded" in said
    assert "needs a network" in said
    # The hub's client alone would have tried again for half a minute.
    assert constants.HF_HUB_OFFLINE


def test_only_what_can_be_nothing_else_is_taken_for_a_dataset_on_the_hub(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    others = [
        "name",
        "folder/corpus.txt",
        "./owner/name",
        "/a",
        "~/a",
        "a/b/c",
        "~no-such-user/a",
        str(tmp_path / "here"),
    ]
    assert [name for name in ["owner/name", *others] if names_dataset(name)] == ["owner/name"]
