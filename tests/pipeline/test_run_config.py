"""A run's config: what is read, what overrides what, and how mistakes are said."""

import re
from pathlib import Path
from typing import Any

import pytest

from hundredth.errors import UserError
from hundredth.pipeline.config import make_config, save_config

NAMED: dict[str, Any] = {"task": {"data": "a.csv"}, "llm": {"name": "some-llm"}, "base": {"name": "bert"}}


@pytest.fixture
def yaml_file(tmp_path: Path) -> Path:
    return tmp_path / "run.yaml"


def test_the_defaults_need_a_file_an_llm_and_a_student_alone() -> None:
    config = make_config(NAMED)
    assert config.task.data == Path("a.csv")
    assert (config.llm.name, config.base.name) == ("some-llm", "bert")
    assert config.threads == 0


def test_an_override_wins_over_a_value_which_wins_over_the_seed_which_wins_over_the_file(yaml_file: Path) -> None:
    yaml_file.write_text("student: {seed: 1, epochs: 3, batch_size: 9}\nprompt: {seed: 1}\nsampling: {seed: 1}\n")
    values = {**NAMED, "student": {"epochs": 4, "seed": 3}, "prompt": {"seed": 3}}
    config = make_config(values, yaml_file, ("student.seed=4", "student.max_length=64"), seed=2)
    assert config.sampling.seed == 2
    assert config.prompt.seed == 3
    assert config.student.seed == 4
    assert (config.student.epochs, config.student.batch_size, config.student.max_length) == (4, 9, 64)


def test_the_seed_reaches_every_stage_that_draws() -> None:
    config = make_config(NAMED, seed=7)
    seeds = (config.task, config.prompt, config.sampling, config.annotator, config.student)
    assert [one.seed for one in seeds] == [7] * 5


def test_a_saved_config_is_read_back_as_it_was(yaml_file: Path) -> None:
    labels = {"task": {"data": "ä.csv", "label_words": {"1": "yes"}, "text_columns": ["a", "b"]}}
    config = make_config({**NAMED, **labels}, overrides=("model.retrieval.k=[1, 2]",), seed=3)
    yaml_file.write_text(save_config(config), encoding="utf-8")
    assert make_config({}, yaml_file) == config
    assert make_config({}, yaml_file).model.retrieval.k == (1, 2)


def test_values_of_overrides_are_yaml() -> None:
    overrides = ("task.about='a note: short'", "student.learning_rate=1e-3", "base.prune_vocabulary=true")
    config = make_config(NAMED, overrides=overrides)
    assert config.task.about == "a note: short"
    assert config.student.learning_rate == 1e-3
    assert config.base.prune_vocabulary is True


def test_a_vocabulary_is_made_smaller_in_one_way_at_most() -> None:
    base = {"name": "bert", "prune_vocabulary": True}
    said = "prune_vocabulary and factorise_vocabulary are both set: leave one out"
    with pytest.raises(UserError, match=said):
        make_config({**NAMED, "base": base}, overrides=("base.factorise_vocabulary=true",))


def test_a_student_that_was_made_before_there_was_a_choice_is_still_whole() -> None:
    base = make_config(NAMED).base
    assert base.decisive() == {"name": "bert", "prune_vocabulary": False, "target_share": 0.01}
    factorised = make_config(NAMED, overrides=("base.factorise_vocabulary=true",)).base
    assert factorised.decisive() == {**base.decisive(), "factorise_vocabulary": True}


def test_the_values_given_stay_as_they_are() -> None:
    """Silent otherwise: a setting of one run would be in the next one, too."""
    values = {"task": {"data": "a.csv"}, "llm": {"name": "x"}, "base": {"name": "y"}, "student": {"epochs": 2}}
    make_config(values, overrides=("student.epochs=3", "task.about=mail"), seed=5)
    assert values == {
        "task": {"data": "a.csv"},
        "llm": {"name": "x"},
        "base": {"name": "y"},
        "student": {"epochs": 2},
    }


def test_an_empty_section_of_the_file_is_filled(yaml_file: Path) -> None:
    yaml_file.write_text("student:\nprompt: {}\n")
    config = make_config({**NAMED, "student": {"epochs": 2}}, yaml_file, seed=1)
    assert (config.student.epochs, config.student.seed) == (2, 1)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("student.epoch=3",), "there is no setting student.epoch"),
        (("nothing=3",), "there is no setting nothing"),
        (("student.epochs=0",), "student.epochs=0: input should be greater than or equal to 1"),
        (("student.epochs=many",), "student.epochs='many': input should be a valid integer"),
        (("student.epochs=0", "threads=-1"), "student.epochs=0: .*; threads=-1: "),
        (("sampling.top_p=1.5",), "sampling.top_p=1.5: input should be less than or equal to 1"),
        (("model.precision=int4",), "model.precision='int4': input should be 'int8' or 'float32'"),
        (("model.retrieval.weight=[0.5]",), "0 must be among the weights"),
        (("task.about=a: b: c",), "the value cannot be read"),
        (("student",), "write PATH=VALUE, for example --set student.epochs=20"),
        (("=3",), "write PATH=VALUE"),
        (("rl.kl_horizon=.inf",), "rl.kl_horizon=inf: input should be a finite number"),
        (("student.learning_rate=.inf", "sampling.temperature=.nan"), "sampling.*; student.learning_rate=inf: "),
        (("student=3",), "student=3: input should be a valid dictionary"),
        (("annotator.seed=-1",), "annotator.seed=-1: input should be greater than or equal to 0"),
        (("augmentation.seed=-1",), "augmentation.seed=-1: "),
        (("rl.seed=2147483648",), "rl.seed=2147483648: input should be less than or equal to 2147483647"),
        (("prompt.seed=-1", "sampling.seed=-1", "student.seed=-1"), "prompt.*; sampling.*; student.seed=-1: "),
        (("task.seed=99999999999",), "task.seed=99999999999: "),
        (("task.instruction=''",), "task.instruction='': value error, write what the LLM is asked"),
        (("task.instruction=' '",), "task.instruction=' ': "),
        (("task.label_words={yes: it follows}",), "to YAML yes, no, on, off, true and false are no words: put it"),
        (("task.label_words={a: no}",), "to YAML yes, no"),
        (("task.label_words={a: [b]}",), r"task.label_words.a=\['b'\]: input should be a valid string"),
        (("student..epochs=3",), "there is no setting student."),
    ],
)
def test_a_mistake_in_an_override_is_said_in_one_line(overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        make_config(NAMED, overrides=overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_beyond_what_every_stage_takes_is_said_once(seed: int) -> None:
    with pytest.raises(UserError, match=f"^--seed {seed}: a seed is a whole number from 0 to 2147483647$"):
        make_config(NAMED, seed=seed)
    assert make_config(NAMED, seed=2**31 - 1).annotator.seed == 2**31 - 1


def test_words_for_labels_may_be_numbers(yaml_file: Path) -> None:
    yaml_file.write_text("task:\n  label_words: {0: negative, 1: positive, 2: 5}\n  field_names: {7: Text}\n")
    config = make_config(NAMED, yaml_file, ("task.label_words.1=good",))
    assert config.task.label_words == {"0": "negative", "1": "good", "2": "5"}
    assert config.task.field_names == {"7": "Text"}


def test_a_label_with_a_dot_stands_between_quotes() -> None:
    overrides = ('task.label_words."a.b"=one', 'task.label_words."v1.0.2"=two', "task.label_words.it's=three")
    words = make_config(NAMED, overrides=overrides).task.label_words
    assert words == {"a.b": "one", "v1.0.2": "two", "it's": "three"}


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ("llm", "no LLM is named: --llm NAME"),
        ("base", "no encoder is named to start the student from: --student NAME"),
        ("task", "no data is named: --data FILE"),
    ],
)
def test_what_is_missing_is_said_with_its_option(left_out: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_config({key: value for key, value in NAMED.items() if key != left_out})


def test_an_llm_without_a_name_is_missing_its_name() -> None:
    with pytest.raises(UserError, match="no LLM is named"):
        make_config({**NAMED, "llm": {"dtype": "float32"}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"task: [", "cannot be read as YAML"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
        (b"- a\n- b\n", "holds a list"),
        (b"", "holds a NoneType"),
        (b"student: {epochs: 1}\nstuden: {}\n", "there is no setting studen"),
        (b"1: 2\n", "1=1: keys should be strings"),
        (b"task: {about: 2020-01-01}", "task.about=.*valid string"),
    ],
)
def test_a_file_that_is_no_config_is_refused_in_one_line(yaml_file: Path, content: bytes, said: str) -> None:
    yaml_file.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        make_config(NAMED, yaml_file)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"no\.yaml does not exist \(looked in {re.escape(str(tmp_path))}\)"):
        make_config(NAMED, tmp_path / "no.yaml")
