"""Whole runs on tiny models: what comes out, what a change redoes, and what is kept."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

import hundredth
from hundredth.errors import UserError
from hundredth.pipeline.config import RunConfig, make_config
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import STAGES, Run
from hundredth.pipeline.stages import read_record
from hundredth.pipeline.transfer import transfer


def config_of(root: Path, *overrides: str) -> RunConfig:
    """The config that the run in `root` was made with, changed."""
    return make_config({}, root / "run.yaml", overrides)


def made_at(root: Path) -> dict[str, int]:
    """When each stage's record was written: a stage that is done again has another."""
    return {name: (root / name / "stage.json").stat().st_mtime_ns for name in STAGES}


def redone(before: dict[str, int], root: Path) -> list[str]:
    return [name for name, time in made_at(root).items() if time != before[name]]


def test_a_run_makes_a_model_that_predicts(undisturbed_run: Path) -> None:
    with hundredth.load(undisturbed_run / "model") as model:
        assert model.labels == ("card_swallowed", "lost_phone", "refund")
        texts = ["the machine ate my card", "where is my refund"]
        probabilities = model.predict_proba(texts)
        assert probabilities.shape == (2, 3)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
        assert set(model.predict(texts)) <= set(model.labels)
        counts = model.store._store.counts()
    samples = (undisturbed_run / "samples" / "samples.jsonl").read_text().splitlines()
    assert counts["gold"] == 30
    assert 0 < counts["generated"] <= len(samples) <= 12


def test_a_run_learns_the_task(undisturbed_run: Path) -> None:
    """Chance is a third: the tiny models get well above it on the texts they were taught."""
    rows = [json.loads(line) for line in (undisturbed_run / "task" / "train.jsonl").read_text().splitlines()]
    with hundredth.load(undisturbed_run / "model") as model:
        predicted = model.predict([row["texts"][0] for row in rows])
        right = [label == model.labels[row["label"]] for label, row in zip(predicted, rows, strict=True)]
    assert np.mean(right) > 0.6


def test_the_records_say_what_every_stage_came_to(undisturbed_run: Path) -> None:
    run = Run.open(undisturbed_run, Reporter(quiet=True))
    metrics = {name: run.record(name)["metrics"] for name in STAGES}
    assert metrics["task"] == {
        "train": 30,
        "dev": 6,
        "unlabelled": 0,
        "test": 0,
        "train_per_label": {"card_swallowed": 10, "lost_phone": 10, "refund": 10},
    }
    assert metrics["prompt"]["dev_loss"] < 0.99 * metrics["prompt"]["dev_loss_without"]
    assert metrics["samples"]["sampled"] == 12
    assert metrics["annotator"]["llm"] == run.llm_size
    assert 0 <= metrics["knowledge"]["agreement"] <= 1
    kept = metrics["knowledge"]["filters"]["generated"]["kept"]
    assert metrics["knowledge"]["recombined"] == {"generated": 6}
    assert metrics["model"]["entries"] == 30 + kept
    assert metrics["student"]["share_of_llm"] == metrics["student"]["parameters"] / run.llm_size["parameters"]
    sizes = metrics["model"]["bytes"]
    assert sizes["encoder.onnx"] == (undisturbed_run / "model" / "encoder.onnx").stat().st_size


def test_the_model_card_tells_what_the_model_is(undisturbed_run: Path) -> None:
    card = (undisturbed_run / "model" / "README.md").read_text()
    dev = read_record(undisturbed_run / "model")["metrics"]["dev"]  # type: ignore[index]
    assert card.startswith("# tickets\n")
    assert f"| accuracy | {dev['score']:.3f} |" in card
    assert "`card_swallowed`, `lost_phone`, `refund`" in card


def test_a_finished_run_has_nothing_to_do(finished_run: Path) -> None:
    before = made_at(finished_run)
    transfer(config_of(finished_run), finished_run)
    assert redone(before, finished_run) == []


def test_more_epochs_of_the_student_redo_student_and_model_and_keep_what_users_added(finished_run: Path) -> None:
    before = made_at(finished_run)
    with hundredth.load(finished_run / "model") as model:
        ids = model.store.add(["the atm gobbled up my visa"], ["card_swallowed"])
        assert len(ids) == 1
    transfer(config_of(finished_run, "student.epochs=2", "student.min_steps=21"), finished_run)
    assert redone(before, finished_run) == ["student", "model"]
    assert config_of(finished_run).student.epochs == 2
    with hundredth.load(finished_run / "model") as model:
        hits = model.store.search("the atm gobbled up my visa", 1)
        assert hits[0].similarity == pytest.approx(1, abs=1e-3)
        assert hits[0].entry.origin == "user"
        assert hits[0].entry.texts == ("the atm gobbled up my visa",)
        assert hits[0].entry.label == model.labels.index("card_swallowed")


def test_a_new_row_in_the_data_redoes_everything(finished_run: Path, tickets: Path) -> None:
    transfer(config_of(finished_run, f"task.data={tickets}"), finished_run)
    before = made_at(finished_run)
    with tickets.open("a", encoding="utf-8") as file:
        file.write("The machine ate my card again.,card_swallowed\n")
    run = transfer(config_of(finished_run), finished_run)
    assert redone(before, finished_run) == list(STAGES)
    assert sum(map(len, (run.data.train, run.data.dev))) == 37
    texts = [example.texts[0] for example in [*run.data.train, *run.data.dev]]
    assert "The machine ate my card again." in texts


def with_new_label(tickets: Path, path: Path) -> Path:
    path.write_text(
        tickets.read_text(encoding="utf-8") + "".join(f"My card melted {i}.,card_melted\n" for i in range(5)),
        encoding="utf-8",
    )
    return path


def test_a_new_label_in_a_file_of_another_name_tells_both_ways_to_keep_what_users_taught(
    finished_run: Path, tickets: Path, tmp_path: Path
) -> None:
    """To follow the message must lose nothing: the model's folder holds what users taught it."""
    other = with_new_label(tickets, tmp_path / "tickets-v2.csv")
    old = config_of(finished_run).task.data
    with pytest.raises(UserError) as caught:
        transfer(config_of(finished_run, f"task.data={other}"), finished_run)
    said = str(caught.value)
    assert f"put it at {old} (what users taught is then taken over)" in said
    assert f"'hundredth knowledge export {finished_run} taught.jsonl --origin user'" in said
    assert "remove" not in said


def test_a_new_label_in_the_same_file_keeps_what_users_taught(finished_run: Path, tickets: Path) -> None:
    """As the message above promises."""
    transfer(config_of(finished_run, f"task.data={tickets}"), finished_run)
    with hundredth.load(finished_run / "model") as model:
        model.store.add(["the atm gobbled up my visa"], ["card_swallowed"])
    with_new_label(tickets, tickets)
    transfer(config_of(finished_run), finished_run)
    with hundredth.load(finished_run / "model") as model:
        assert "card_melted" in model.labels
        assert [entry.texts for entry in model.store.entries("user")] == [("the atm gobbled up my visa",)]


def test_another_file_of_the_same_labels_is_said_to_redo_the_run(
    finished_run: Path, tickets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "has the same fields and labels, so the run is redone with it; what users taught its model is taken over"
    other, moved = tmp_path / "tickets-v2.csv", tmp_path / "moved" / "tickets.csv"
    moved.parent.mkdir()
    for path in (other, moved):
        shutil.copy(tickets, path)
    before = made_at(finished_run)
    transfer(config_of(finished_run, f"task.data={moved}"), finished_run, Reporter())
    assert redone(before, finished_run) == []
    assert said not in capsys.readouterr().err
    transfer(config_of(finished_run, f"task.data={other}"), finished_run, Reporter())
    assert redone(before, finished_run) == list(STAGES)
    assert said in capsys.readouterr().err


def test_another_spelling_of_a_path_names_the_same_file(
    finished_run: Path, tickets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer(config_of(finished_run, f"task.data={tickets}"), finished_run)
    with_new_label(tickets, tickets)
    monkeypatch.chdir(tickets.parent)
    transfer(config_of(finished_run, f"task.data={tickets.name}"), finished_run)
    with hundredth.load(finished_run / "model") as model:
        assert "card_melted" in model.labels


def test_a_run_of_another_task_is_refused_and_left_as_it_is(
    finished_run: Path, tmp_path: Path, write_table: Any
) -> None:
    other = write_table(tmp_path / "mood.csv", [(f"text {i} of {mood}", mood) for i in range(6) for mood in "ab"])
    before = {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"holds a run of another task, 'tickets' with labels card_swallowed"):
        transfer(config_of(finished_run, f"task.data={other}"), finished_run)
    assert {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()} == before


def test_a_wrong_student_is_found_before_the_llm_starts(
    tickets: Path, small_settings: dict[str, Any], tiny_llm: Path, tmp_path: Path
) -> None:
    """Silent otherwise for hours: the student is needed after all of the LLM's work."""
    values = {**small_settings, "task": {"data": tickets}, "base": {"name": str(tiny_llm)}}
    with pytest.raises(UserError, match=r"is a 'llama' model, not an encoder"):
        transfer(make_config(values), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run_is_left_alone(
    tickets: Path, small_settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.bin").write_bytes(b"precious")
    with pytest.raises(UserError, match="was not made by a run and would be replaced"):
        transfer(make_config({**small_settings, "task": {"data": tickets}}), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "tickets.csv"]
    assert (tmp_path / "model" / "mine.bin").read_bytes() == b"precious"


def test_a_run_half_redone_cannot_be_opened(
    finished_run: Path, tickets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent otherwise: stages of two data files are evaluated together, and every number is wrong."""
    transfer(config_of(finished_run, f"task.data={tickets}"), finished_run)
    tickets.write_text(tickets.read_text().replace("refund\n", "a_refund\n"))
    with monkeypatch.context() as patched:
        patched.setattr("hundredth.pipeline.transfer.make_annotator", stopped)
        with pytest.raises(KeyboardInterrupt):
            transfer(config_of(finished_run), finished_run)
    assert {name for name in STAGES if read_record(finished_run / name) is None} == set()
    with pytest.raises(UserError, match=r"not finished: annotator is still to do; give the same transfer command"):
        Run.open(finished_run, Reporter(quiet=True))
    transfer(config_of(finished_run), finished_run)
    assert "a_refund" in Run.open(finished_run, Reporter(quiet=True)).data.task.labels


def test_a_run_stopped_before_its_first_new_stage_cannot_be_opened(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent otherwise: run.yaml has settings that nothing was made with, and students are evaluated by them."""
    with monkeypatch.context() as patched:
        patched.setattr("hundredth.pipeline.transfer.make_student", stopped)
        with pytest.raises(KeyboardInterrupt):
            transfer(config_of(finished_run, "student.epochs=3"), finished_run)
    with pytest.raises(UserError, match="not finished: it was stopped, or failed, while it was redone; give that"):
        Run.open(finished_run, Reporter(quiet=True))
    transfer(config_of(finished_run, "student.epochs=2"), finished_run)
    assert Run.open(finished_run, Reporter(quiet=True)).config.student.epochs == 2


def test_a_format_that_was_chosen_from_the_machine_is_kept_on_another(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Silent otherwise: the annotator does not fit the LLM of the other machine, or results of two are mixed."""
    machine = "hundredth.extraction.llm.fast_dtype"
    monkeypatch.setattr(machine, lambda device: (torch.float32, "float32: a slow machine"))
    transfer(config_of(finished_run, "llm.dtype=auto"), finished_run)
    before = made_at(finished_run)
    monkeypatch.setattr(machine, lambda device: (torch.bfloat16, "bfloat16: a fast machine"))
    run = transfer(config_of(finished_run, "augmentation.texts=7"), finished_run, Reporter())
    assert redone(before, finished_run) == ["knowledge", "student", "model"]
    assert run.llm.dtype == torch.float32
    assert "float32: as when the run began" in capsys.readouterr().err
    assert Run.open(finished_run, Reporter(quiet=True)).llm_stamp[1] == "float32"


def test_a_benchmark_that_lies_elsewhere_is_the_same_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_settings: dict[str, Any]
) -> None:
    """Silent otherwise: after hours of the LLM's work, a relative path in place of an absolute one redoes it."""
    folder = tmp_path / "bench" / "downstream" / "MR"
    folder.mkdir(parents=True)
    for name, word in (("pos", "good"), ("neg", "bad")):
        lines = [f"a {word} film of number {number} ." for number in range(40)]
        (folder / f"rt-polarity.{name}").write_text("\n".join(lines) + "\n", encoding="latin-1")
    task = {"task": "mr", "limit_per_class": 8}
    values = {**small_settings, "task": {**task, "data": tmp_path / "bench"}}
    transfer(make_config(values), tmp_path / "run")
    before = made_at(tmp_path / "run")
    shutil.copytree(tmp_path / "bench", tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    for place in ("bench", "copy"):
        transfer(make_config({**values, "task": {**task, "data": place}}), tmp_path / "run")
        assert redone(before, tmp_path / "run") == []


def stopped(*arguments: Any) -> None:
    raise KeyboardInterrupt


def test_a_second_process_is_refused_and_leaves_the_settings_alone(finished_run: Path) -> None:
    """Silent otherwise: run.yaml says what no stage was made with."""
    before = (finished_run / "run.yaml").read_bytes()
    with FileLock(finished_run / ".lock"), pytest.raises(UserError, match="another process is working in"):
        transfer(config_of(finished_run, "student.epochs=7"), finished_run)
    assert (finished_run / "run.yaml").read_bytes() == before
    with FileLock(finished_run / ".lock", timeout=0):
        pass


def test_longer_texts_for_the_student_reach_the_model(finished_run: Path) -> None:
    """The tickets are shorter than 48 tokens: the student is the same, and was taken for the model's only input."""
    lengths, students = [], []
    for length in (48, 60):
        transfer(config_of(finished_run, f"student.max_length={length}"), finished_run)
        lengths.append(json.loads((finished_run / "model" / "hundredth.json").read_text())["encoder"]["max_length"])
        students.append(read_record(finished_run / "student")["outputs"])  # type: ignore[index]
    assert lengths == [48, 60]
    assert students[0] == students[1]


def test_an_unfinished_run_cannot_be_opened(finished_run: Path, tmp_path: Path) -> None:
    shutil.rmtree(finished_run / "student")
    with pytest.raises(UserError, match=r"has not finished: student is still to do"):
        Run.open(finished_run, Reporter(quiet=True))
    with pytest.raises(UserError, match=r"is not a run folder"):
        Run.open(tmp_path, Reporter(quiet=True))


def test_pairs_of_texts_with_unlabelled_ones_no_samples_and_a_pruned_student(
    small_settings: dict[str, Any],
    ticket_rows: list[tuple[str, str]],
    write_table: Any,
    tmp_path: Path,
) -> None:
    pairs = [(text, label.replace("_", " "), "yes") for text, label in ticket_rows[:24]]
    pairs += [(text, "something else", "no") for text, _label in ticket_rows[:24]]
    data = write_table(tmp_path / "pairs.csv", pairs, ("message", "topic", "label"))
    more = [(text, label.replace("_", " ")) for text, label in ticket_rows[24:]]
    unlabelled = write_table(tmp_path / "more.csv", more, ("message", "topic"))
    task = {"data": data, "text_columns": ["message", "topic"], "unlabelled": unlabelled, "limit_per_class": 8}
    base = {**small_settings["base"], "prune_vocabulary": True, "target_share": 0.85}
    values = {**small_settings, "task": task, "base": base, "sampling": {"texts": 0}}
    run = transfer(make_config(values), tmp_path / "run")
    student = run.record("student")["metrics"]
    assert student["parameters"] < student["parameters_whole"]
    assert student["parameters"] <= 0.85 * run.llm_size["parameters"]
    assert run.knowledge.origins == ["gold"] * 16 + ["unlabelled"] * (12 + 6)
    assert run.knowledge.augmented.tolist() == [False] * 28 + [True] * 6
    assert run.record("model")["metrics"]["entries"] == 28
    assert run.record("knowledge")["metrics"]["agreement"] is None
    # Nothing is written, so that no prompt is needed, which might not come out well.
    assert not (tmp_path / "run" / "prompt").exists()
    reopened = Run.open(tmp_path / "run", Reporter(quiet=True))
    assert "prompt" not in reopened.stages
    with pytest.raises(UserError, match=r"rl\.algorithm is ppo, but sampling\.texts is 0"):
        transfer(make_config({**values, "rl": {"algorithm": "ppo"}}), tmp_path / "other")
    with hundredth.load(tmp_path / "run" / "model") as model:
        assert model.fields == ("message", "topic")
        assert len(model.predict([("My card is gone.", "card swallowed")])) == 1
        assert "hundredth.load" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_a_student_with_every_token_in_fewer_numbers_is_made_of_the_same_knowledge(finished_run: Path) -> None:
    overrides = ("base.factorise_vocabulary=true", "base.target_share=0.8")
    before = Run.open(finished_run, Reporter(quiet=True)).record("knowledge")
    run = transfer(make_config({}, finished_run / "run.yaml", overrides), finished_run)
    student = run.record("student")["metrics"]
    assert run.record("knowledge") == before
    assert student["factorised"]["rank"] > 1
    assert student["parameters"] == student["factorised"]["parameters_after"] <= 0.8 * run.llm_size["parameters"]
    with hundredth.load(finished_run / "model") as model:
        assert model.has_store
        assert set(model.predict(["My card is gone.", "Where is my refund?"])) <= set(model.labels)


def test_progress_goes_to_standard_error_and_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter()
    reporter.say("[not markup]")
    with reporter.bar("counting") as progress:
        for done in range(1, 9):
            progress(done, 8, "note")
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.splitlines() == [
        "[not markup]",
        "  counting: 2 of 8, note",
        "  counting: 4 of 8, note",
        "  counting: 6 of 8, note",
        "  counting: 8 of 8, note",
    ]
    quiet = Reporter(quiet=True)
    quiet.say("nothing")
    with quiet.bar("nothing") as progress:
        progress(1, 1, "")
    assert capsys.readouterr() == ("", "")
