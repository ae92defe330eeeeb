"""Encoders side by side: what is kept, what is done again, and what comes out."""

import shutil
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from rich.console import Console
from tiny_senteval import write_senteval

from hundredth.errors import UserError
from hundredth.evaluation.encoders import evaluate as module
from hundredth.evaluation.encoders import regression
from hundredth.evaluation.encoders.embeddings import Embeddings
from hundredth.evaluation.encoders.encoder import open_encoder
from hundredth.evaluation.encoders.evaluate import EncoderEvaluation, evaluate_encoders
from hundredth.evaluation.encoders.plots import write_plots
from hundredth.evaluation.encoders.table import encoder_tables
from hundredth.evaluation.encoders.tasks import GROUPS, read_tasks
from hundredth.files import read_json


@pytest.fixture(scope="module")
def senteval(tmp_path_factory, ticket_rows):
    return write_senteval(tmp_path_factory.mktemp("data"), ticket_rows)


@pytest.fixture(autouse=True)
def few_folds(monkeypatch):
    """What is tested here needs no ten folds inside ten folds."""
    monkeypatch.setattr(regression, "FOLDS", 3)


@pytest.fixture
def encoder(tiny_encoder):
    return open_encoder(str(tiny_encoder), "mean")


@pytest.fixture
def encoded(monkeypatch):
    """Every text that goes through an encoder."""
    seen = []

    class Watched(Embeddings):
        def _encode(self, texts):
            texts = list(texts)
            seen.extend(texts)
            super()._encode(texts)

    monkeypatch.setattr(module, "Embeddings", Watched)
    return seen


def complete(labels=("one", "two")):
    """An evaluation of all tasks with made-up numbers."""
    results = {}
    for shift, label in enumerate(labels):
        numbers = {task: {"spearman": 70.0 + shift + i} for i, task in enumerate(GROUPS["sts"])}
        numbers |= {task: {"accuracy": 80.0 + shift} for task in GROUPS["transfer"]}
        numbers["mrpc"]["f1"] = 12.5
        numbers["geometry"] = {"alignment": 0.25 + shift, "uniformity": -2.5 - shift}
        results[label] = numbers
    return EncoderEvaluation([task for group in GROUPS.values() for task in group], results, 1111, [])


def shown(evaluation):
    console = Console(width=160)
    with console.capture() as capture:
        for table in encoder_tables(evaluation):
            console.print(table)
    return capture.get()


def test_a_sentence_is_encoded_once_however_many_tasks_contain_it(senteval, encoder, encoded, ticket_rows):
    found = evaluate_encoders({"tiny": encoder}, senteval)
    assert found.tasks == ["stsb", "sickr", "mr", "trec", "geometry"]
    assert len(encoded) == len(set(encoded)) == len({text for text, _ in ticket_rows})


def test_a_stopped_evaluation_goes_on_and_a_changed_encoder_is_measured_again(
    senteval, encoder, encoded, tmp_path, monkeypatch
):
    class Stopped(BaseException):
        pass

    def stop(self, embed):
        raise Stopped

    with monkeypatch.context() as broken:
        broken.setattr("hundredth.evaluation.encoders.geometry.Geometry.measure", stop)
        with pytest.raises(Stopped):
            evaluate_encoders({"tiny": encoder}, senteval, ["stsb", "mr", "geometry"], out=tmp_path)
    before = len(encoded)
    assert before > 0
    first = evaluate_encoders({"tiny": encoder}, senteval, ["stsb", "mr"], out=tmp_path)
    assert len(encoded) == before, "what was whole is not measured again"
    with torch.no_grad():
        for one in encoder.parameters():
            one += 0.1 * torch.randn(one.shape, generator=torch.Generator().manual_seed(0))
    second = evaluate_encoders({"tiny": encoder}, senteval, ["stsb", "mr"], out=tmp_path)
    assert len(encoded) > before
    assert first.results != second.results


def test_changed_data_and_another_seed_are_measured_again(senteval, encoder, encoded, tmp_path):
    data = shutil.copytree(senteval, tmp_path / "senteval")
    counts = []

    def measure(seed):
        evaluate_encoders({"tiny": encoder}, data, ["stsb", "mr"], out=tmp_path / "out", seed=seed)
        counts.append(len(encoded))

    measure(0)
    measure(0)
    path = data / "downstream/STS/STSBenchmark/sts-test.csv"
    path.write_text(path.read_text().replace("\t5\t", "\t4.5\t", 1))
    measure(0)
    measure(1)
    fresh, again, changed, seeded = counts[0], counts[1] - counts[0], counts[2] - counts[1], counts[3] - counts[2]
    assert (fresh > 0, again, changed > 0, seeded > 0) == (True, 0, True, True)
    assert changed != seeded, "STS-B alone is measured again, and MR alone: its folds are what a seed decides"


def test_tasks_that_are_not_there_are_left_out_of_all_and_said(senteval):
    read = read_tasks(senteval, seed=0)
    assert list(read.found) == ["stsb", "sickr", "mr", "trec", "geometry"]
    assert "STS12, STS13" in read.notes[0]


@pytest.mark.parametrize("wanted", [["sts"], ["cr"], ["all", "cr"]])
def test_a_task_that_is_named_must_be_there(senteval, wanted):
    with pytest.raises(UserError, match="does not hold senteval/downstream/"):
        read_tasks(senteval, wanted, seed=0)


@pytest.mark.parametrize(
    ("wanted", "said"), [(["sts17"], "no encoder task 'sts17': choose from all, sts,"), ([], "no task is named")]
)
def test_unknown_tasks_are_refused_with_the_known_ones(senteval, wanted, said):
    with pytest.raises(UserError, match=said):
        read_tasks(senteval, wanted, seed=0)


def test_a_folder_without_any_task_is_refused(tmp_path):
    with pytest.raises(UserError, match="is it a folder in SentEval's layout"):
        read_tasks(tmp_path, seed=0)


def test_an_error_says_which_encoder_and_which_task(senteval, encoder):
    with torch.no_grad():
        next(encoder.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match=r"^broken, STS-B: the encoder gives .* NaN"):
        evaluate_encoders({"broken": encoder}, senteval, ["stsb"])


def test_a_wrong_name_comes_out_before_any_encoder_is_measured(senteval, encoder, encoded, tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        evaluate_encoders({"tiny": encoder, "wrong": str(tmp_path / "nowhere")}, senteval, ["stsb"])
    assert encoded == []


def test_the_average_is_given_only_where_all_tasks_of_the_group_are():
    """A mean over fewer tasks would stand in a column with means over seven."""
    whole = complete()
    assert whole.average("one", "sts") == pytest.approx(73)
    partial = EncoderEvaluation(["stsb"], {"one": {"stsb": {"spearman": 80.0}}}, 1111, [])
    assert partial.average("one", "sts") is None
    assert all(row.metric != "sts_avg" for row in partial.rows())


def test_results_hold_machine_versions_and_a_row_a_number(senteval, encoder, tmp_path):
    evaluation = evaluate_encoders({"tiny": encoder}, senteval, ["stsb", "geometry"], out=tmp_path)
    written = read_json(tmp_path / "results.json")
    assert {"machine", "versions", "date", "commit"} <= written.keys()
    assert [(row["task"], row["metric"]) for row in written["rows"]] == [
        ("stsb", "spearman"),
        ("geometry", "alignment"),
        ("geometry", "uniformity"),
    ]
    assert written["rows"] == evaluation.to_dict()["rows"]


def test_tables_show_every_encoder_with_its_averages():
    text = shown(complete())
    assert "STS12" in text
    assert "73.00" in text
    assert "74.00" in text
    assert "12.50" in text
    assert "-2.5000" in text
    assert text.count("\none") == 3


def test_a_label_in_brackets_is_shown_as_it_is():
    """Rich would take it for markup and drop it."""
    assert "[red]run" in shown(complete(labels=("[red]run",)))


def test_plots_are_images_that_name_every_encoder(tmp_path):
    paths = write_plots(complete(), tmp_path)
    assert [path.name for path in paths] == ["sts.svg", "transfer.svg", "geometry.svg"]
    for path in paths:
        words = "".join(ElementTree.fromstring(path.read_text()).itertext())
        assert "one" in words
        assert "two" in words
    assert "Spearman x 100" in paths[0].read_text()
    assert "Accuracy x 100" in paths[1].read_text()
    assert "two (74.0)" in paths[2].read_text()


def test_only_what_was_measured_is_plotted(tmp_path):
    partial = EncoderEvaluation(["mr"], {"one": {"mr": {"accuracy": 80.0}}}, 1111, [])
    assert [path.name for path in write_plots(partial, tmp_path)] == ["transfer.svg"]
    assert write_plots(EncoderEvaluation([], {"one": {}}, 1111, []), tmp_path) == []
