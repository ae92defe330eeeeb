import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_run import VERBALISATION

from hundredth import UserError
from hundredth.evaluation import cells, controls
from hundredth.evaluation.controls import SYSTEMS, choose_systems, evaluate
from hundredth.evaluation.measure import scores
from hundredth.extraction.llm import load_llm
from hundredth.extraction.soft_prompt import SoftPrompt
from hundredth.files import write_json
from hundredth.pipeline.config import make_config, save_config
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run
from hundredth.pipeline.stages import read_record
from hundredth.runtime import load
from hundredth.tasks import accuracy, labels_of, macro_f1, matthews
from hundredth.tasks.schema import Example, Task

QUIET = Reporter(quiet=True)


@pytest.fixture
def own_copy(evaluated, tmp_path):
    """A copy of the evaluated run, and what evaluates it anew."""
    root = shutil.copytree(evaluated.run.root, tmp_path / "copy")

    def run(**changes):
        options = {"systems": list(evaluated.cells), "seeds": evaluated.seeds, "threads": 1, **changes}
        return evaluate(root, evaluated.test, reporter=QUIET, **options)

    return root, run


def refuse(*arguments, **options):
    raise AssertionError("a finished cell was done again")


def test_every_system_and_seed_has_a_cell(evaluated):
    found = {name: [cell.seed for cell in cells] for name, cells in evaluated.cells.items()}
    assert found == {"llm": [None], "student": [0, 1], "full": [0, 1]}
    assert evaluated.deployed == "full"


def test_a_cells_numbers_are_those_of_its_probabilities(evaluated, unseen_texts):
    gold = labels_of(unseen_texts)
    for cell in [*evaluated.cells["llm"], *evaluated.cells["student"], *evaluated.cells["full"]]:
        assert cell.probabilities.shape == (len(gold), 3)
        np.testing.assert_allclose(cell.probabilities.sum(axis=1), 1, atol=1e-5)
        predicted = cell.probabilities.argmax(axis=1).tolist()
        assert cell.metrics["score"] == cell.metrics["accuracy"] == accuracy(gold, predicted)
        assert cell.metrics["macro_f1"] == macro_f1(gold, predicted)
        assert cell.metrics["matthews"] == matthews(gold, predicted)
        assert "f1" not in cell.metrics  # of three labels none is the positive one
        assert 0 <= cell.metrics["ece"] <= 1
        assert cell.metrics["ms_per_text"] > 0


def test_a_finished_cell_has_the_scores_that_came_later(own_copy, evaluated):
    """Otherwise every new score would cost hours: cells made before it have their probabilities."""
    root, run = own_copy
    path = root / "evaluation" / "systems" / "full-0" / "stage.json"
    record = json.loads(path.read_text())
    del record["metrics"]["matthews"]
    path.write_text(json.dumps(record))
    assert run().values("full", "matthews") == evaluated.values("full", "matthews")


def test_of_two_labels_the_second_is_the_positive_one():
    probabilities = np.eye(2)[[0, 1, 1, 0]]
    test = [Example(("a text",), label) for label in (0, 1, 0, 1)]
    found = scores(Task("two", ("text",), ("no", "yes"), VERBALISATION, metric="f1"), probabilities, test)
    assert found["f1"] == found["score"] == pytest.approx(0.5)
    assert found["matthews"] == 0


def test_a_student_taught_by_right_knowledge_learns_the_task(evaluated):
    """Labels in another order than the test set's, or another seed's probabilities, would show as chance."""
    assert evaluated.mean("full", "score") > 0.9
    assert evaluated.mean("llm", "score") < 0.7


def test_what_is_measured_is_what_is_deployed(evaluated, unseen_texts):
    """Seed 0 of the full system is the run's own model: a difference would mean that something else is measured."""
    with load(evaluated.run.root / "model", threads=1) as model:
        served = model.predict_proba([example.texts for example in unseen_texts])
    np.testing.assert_allclose(evaluated.cells["full"][0].probabilities, served, atol=1e-6)


def test_a_finished_cell_keeps_its_numbers_and_no_model(evaluated):
    folder = evaluated.run.root / "evaluation" / "systems" / "full-0"
    assert sorted(path.name for path in folder.iterdir()) == ["probabilities.safetensors", "stage.json"]
    kept = load_file(folder / "probabilities.safetensors")["probabilities"]
    np.testing.assert_array_equal(kept, evaluated.cells["full"][0].probabilities)


def test_sizes_say_what_the_store_adds(evaluated):
    student, full = (evaluated.cells[name][0].metrics for name in ("student", "full"))
    assert student["store_bytes"] == student["entries"] == 0
    assert student["retrieval"] is None
    assert full["entries"] == 24 + 36
    assert full["store_bytes"] > 0
    assert full["parameters"] == student["parameters"]
    assert evaluated.cells["llm"][0].metrics["parameters"] == evaluated.run.llm_size["parameters"]


def test_results_are_written_as_rows_with_a_value_a_seed(evaluated):
    results = json.loads((evaluated.run.root / "evaluation" / "results.json").read_text())
    assert {"name", "date", "commit", "machine", "versions", "seeds", "rows"} == results.keys()
    assert results["seeds"] == [0, 1]
    rows = {(row["system"], row["metric"]): row for row in results["rows"]}
    assert rows["full", "score"] == {
        "task": "tiny",
        "system": "full",
        "metric": "score",
        "values": evaluated.values("full", "score"),
        "unit": "fraction",
    }
    assert len(rows["llm", "score"]["values"]) == 1
    assert len(rows["student", "ms_per_text"]["values"]) == 2


def test_nothing_is_done_twice(own_copy, evaluated, monkeypatch):
    _root, run = own_copy
    for name in ("make_student", "make_model", "measure_llm"):
        monkeypatch.setattr(cells, name, refuse)
    found = run()
    assert found.values("full", "score") == evaluated.values("full", "score")


def test_an_interrupted_evaluation_goes_on_with_the_cell_that_was_cut_off(own_copy, monkeypatch):
    root, run = own_copy
    systems = root / "evaluation" / "systems"
    shutil.rmtree(systems / "student-1")
    others = {path: path.stat().st_mtime_ns for path in systems.glob("*/stage.json")}
    trained, seeds = cells.make_student, []

    def counted(*given):
        seeds.append(given[1].seed)
        return trained(*given)

    def cut_off(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(cells, "make_student", counted)
    with monkeypatch.context() as patch:
        patch.setattr(cells, "make_model", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert not (systems / "student-1").exists()
    found = run()
    assert seeds == [1, 1]
    assert len(found.values("student", "score")) == 2
    assert others == {path: path.stat().st_mtime_ns for path in others}


def test_other_test_texts_make_new_cells(own_copy, monkeypatch):
    """Numbers of one test set shown for another would look like any others."""
    _root, run = own_copy
    monkeypatch.setattr(cells, "make_student", refuse)
    with pytest.raises(AssertionError, match="done again"):
        run(limit=5)


def test_every_student_has_at_least_the_steps_of_the_runs_own(evaluated):
    steps = {
        folder.name: json.loads((folder / "stage.json").read_text())["settings"]["student"]["min_steps"]
        for folder in (evaluated.run.root / "evaluation" / "systems").iterdir()
        if folder.is_dir() and folder.name != "llm"
    }
    assert set(steps.values()) == {40}


def test_each_system_teaches_what_its_name_says(evaluated):
    """Silent otherwise: a control that has what it is to show the worth of."""
    run = evaluated.run
    taught = {name: one.recipe.training_texts(run.knowledge) for name, one in SYSTEMS.items() if one.recipe}
    losses = {name: one.recipe.settings(run.config.student) for name, one in SYSTEMS.items() if one.recipe}
    assert run.config.student.retrieval > 0
    for name, texts in taught.items():
        origins = {run.knowledge.origins[run.knowledge.texts.index(text)] for text in texts.texts}
        assert origins == {*SYSTEMS[name].recipe.origins} & {*run.knowledge.origins}
        assert (texts.soft_labels is None) == (texts.embeddings is None) == (name == "student")
        assert (losses[name].retrieval > 0) == name.startswith(("full", "retrieval", "no-"))


def test_no_prompt_writes_its_own_texts_and_judges_them_with_the_runs_annotator(copy_of_run, unseen_texts):
    found = evaluate(copy_of_run, unseen_texts, systems=["no-prompt"], reporter=QUIET, threads=1)
    samples = copy_of_run / "evaluation" / "systems" / "no-prompt-samples" / "samples.jsonl"
    written = {tuple(json.loads(line)["texts"]) for line in samples.read_text().splitlines()}
    assert written
    assert written.isdisjoint(set(found.run.knowledge.texts))
    assert 24 < found.cells["no-prompt"][0].metrics["entries"] <= 24 + len(written)
    assert found.deployed is None


def test_no_ppo_writes_from_the_prompt_before_it_was_reinforced(copy_of_run, unseen_texts, monkeypatch):
    """Silent otherwise: written from the reinforced prompt, it would be the run's own system once more."""
    config = make_config({}, copy_of_run / "run.yaml", ("rl.algorithm=ppo",))
    (copy_of_run / "run.yaml").write_text(save_config(config))
    tuned = SoftPrompt.from_words(load_llm(config.llm.name, config.llm.dtype), VERBALISATION, 4, 2)
    tuned.save(copy_of_run / "prompt" / "prompt.safetensors")
    shutil.copytree(copy_of_run / "samples", copy_of_run / "reinforcement")
    for name in ("reinforcement", "samples"):  # whole stages, as far as can be told
        needs = Run(copy_of_run, config, QUIET).needs(name)
        inputs = {one: read_record(copy_of_run / one)["outputs"] for one in needs}
        write_json(copy_of_run / name / "stage.json", {**read_record(copy_of_run / name), "inputs": inputs})
    make_samples, prompts = cells.make_samples, []

    def written(llm, data, prompt, *rest):
        prompts.append(prompt)
        return make_samples(llm, data, prompt, *rest)

    monkeypatch.setattr(cells, "make_samples", written)
    found = evaluate(copy_of_run, unseen_texts, systems=["no-ppo"], reporter=QUIET, threads=1)
    assert [one.shared_PD.tolist() for one in prompts] == [tuned.shared_PD.tolist()]
    samples = copy_of_run / "evaluation" / "systems" / "no-ppo-samples" / "samples.jsonl"
    written_texts = {tuple(json.loads(line)["texts"]) for line in samples.read_text().splitlines()}
    assert 24 < found.cells["no-ppo"][0].metrics["entries"] <= 24 + len(written_texts)
    assert found.deployed is None


def test_the_default_leaves_out_what_is_written_anew_and_all_has_it():
    everything = {"gold", "generated", "unlabelled"}
    slow = {"no-prompt", "no-ppo"}
    assert choose_systems(None, everything, 10, True)[0] == [name for name in SYSTEMS if name not in slow]
    assert choose_systems(["all"], everything, 10, True) == (list(SYSTEMS), [])


def test_without_reinforcement_there_is_nothing_to_leave_out():
    """Silent otherwise: the run itself under another name, which would seem to show that it is worth nothing."""
    chosen, notes = choose_systems(["all"], {"gold", "generated", "unlabelled"}, 10, False)
    assert chosen == [name for name in SYSTEMS if name != "no-ppo"]
    assert notes == ["no-ppo is left out: the run's prompt was not reinforced (--rl), so that it would be full"]


def test_systems_without_their_knowledge_are_left_out_with_a_note():
    chosen, notes = choose_systems(["full", "kd-unlabelled", "student"], {"gold", "generated"}, 10, False)
    assert chosen == ["student", "full"]
    assert notes == ["kd-unlabelled is left out: the run has no unlabelled texts"]
    assert choose_systems(["all"], {"gold"}, 0, True)[0] == ["llm", "student", "kd-gold", "retrieval-gold"]


def test_a_run_that_sampled_nothing_still_has_its_own_system():
    """Left out, the report would be about everything but the model that is deployed."""
    assert "full+unlabelled" in choose_systems(None, {"gold", "unlabelled"}, 0, False)[0]
    assert controls._recipe("full+unlabelled", {"gold", "unlabelled"}).origins == ("gold", "unlabelled")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"systems": ["fall"]}, "no system 'fall': choose from llm, student"),
        ({"systems": ["kd-unlabelled"]}, "nothing to evaluate: kd-unlabelled is left out"),
        ({"seeds": []}, "different whole numbers"),
        ({"seeds": [1, 1]}, "different whole numbers"),
        ({"seeds": [-1]}, "different whole numbers"),
        ({"limit": 0}, "limit is 0"),
        ({"test": None}, "comes with no test split"),
        ({"test": []}, "the test set is empty"),
        ({"test": [Example(("a text",), None)]}, "has no label of the task"),
        ({"test": [Example(("a text",), 3)]}, "has no label of the task"),
        ({"test": [Example(("one", "two"), 0)]}, "has 2 fields"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(run_folder, unseen_texts, options, message, monkeypatch):
    monkeypatch.setattr(controls, "run_stages", refuse)
    test = options.pop("test", unseen_texts)
    with pytest.raises(UserError, match=message):
        evaluate(run_folder, test, reporter=QUIET, **options)


def test_an_unfinished_run_is_refused(copy_of_run, unseen_texts):
    shutil.rmtree(copy_of_run / "model")
    with pytest.raises(UserError, match="has not finished: model is still to do"):
        evaluate(copy_of_run, unseen_texts, reporter=QUIET)


def test_test_texts_that_the_run_has_seen_are_counted(evaluated, monkeypatch):
    seen = evaluated.run.data.train[0]
    note = controls._leaks(evaluated.run, [*evaluated.test, Example((f"  {seen.texts[0]} ",), seen.label)])
    assert note == ["1 of 32 test texts also stand in the run's own data: the numbers flatter"]
    assert controls._leaks(evaluated.run, evaluated.test) == []
