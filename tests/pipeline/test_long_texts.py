"""Texts that are longer than what the soft prompt learns: which field is cut, and what is said of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hundredth.errors import UserError
from hundredth.extraction.llm import load_llm
from hundredth.extraction.soft_prompt import PromptedLLM
from hundredth.pipeline.config import RunConfig, make_config
from hundredth.pipeline.extract import longest_text, make_prompt, make_samples
from hundredth.pipeline.progress import Reporter
from hundredth.tasks import TaskConfig, TaskData, load_task


@pytest.fixture
def mails(ticket_rows: list[tuple[str, str]], write_table: Callable[..., Path], tmp_path: Path) -> TaskData:
    """Long bodies and short subjects: a body alone is longer than what is learnt."""
    texts = [text for text, _ in ticket_rows]
    rows = [
        (" ".join([text, *texts[place % 30 : place % 30 + 4]]), f"about {label.replace('_', ' ')}", label)
        for place, (text, label) in enumerate(ticket_rows)
    ]
    path = write_table(tmp_path / "mails.csv", rows, ("body", "subject", "label"))
    return load_task(TaskConfig(data=path, text_columns=("body", "subject"), label_column="label"))


@pytest.fixture
def config(small_settings: dict[str, Any]) -> RunConfig:
    return make_config({**small_settings, "task": {"data": "mails.csv"}})


def test_every_text_to_be_learnt_holds_its_second_field(mails: TaskData, config: RunConfig) -> None:
    """Silent otherwise: no sample has a subject, and after minutes none can be used."""
    llm, words = load_llm(config.llm.name, "float32"), mails.task.verbalisation
    prompted = PromptedLLM(llm, words, None)
    learnt = [words.parse(llm.decode(prompted.target_ids(one.texts, 64))) for one in mails.train]
    assert [texts and texts[1] for texts in learnt] == [one.texts[1] for one in mails.train]
    assert longest_text(prompted, mails, 64) == 64
    assert 64 < longest_text(prompted, mails, 500) < 500


def test_how_many_are_cut_is_said(
    mails: TaskData, config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llm, prompt = load_llm(config.llm.name, "float32"), config.prompt.model_copy(update={"epochs": 1})
    metrics = make_prompt(llm, mails, prompt, tmp_path, Reporter())
    assert metrics["cut"] == len(mails.train)
    assert "30 of 30 training texts are cut to 64 tokens for the soft prompt (prompt.max" in capsys.readouterr().err
    longer = prompt.model_copy(update={"max_tokens": 500})
    assert make_prompt(llm, mails, longer, tmp_path, Reporter())["cut"] == 0
    assert "training texts are cut" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("most", "advice"), [(5, r"prompt.max_tokens \(5\), which cuts 30 of 30"), (900, "temperature=0.7")]
)
def test_where_no_sample_is_usable_the_cause_is_named(
    mails: TaskData, config: RunConfig, tmp_path: Path, most: int, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm, reporter = load_llm(config.llm.name, "float32"), Reporter(quiet=True)
    monkeypatch.setattr(type(mails.task.verbalisation), "parse", lambda self, text: None)
    sampling = config.sampling.model_copy(update={"texts": 3})
    with pytest.raises(UserError, match=f"none of 3 sampled texts could be used: .* try .*{advice}"):
        make_samples(llm, mails, None, sampling, most, tmp_path, reporter)
