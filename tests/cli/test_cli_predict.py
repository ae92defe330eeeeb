"""Predicting from the command line: every way in and out, without the training stack."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest

import hundredth
from hundredth.options import ENGINES
from hundredth.runtime.engines import EngineName

TEXTS = ["The machine ate my card.", "Where is my refund?", "My phone was stolen."]
# The packages that the other extras bring, and those that typer had brought into the base install.
OTHER_EXTRAS = (
    "torch transformers sentence_transformers sklearn scipy peft accelerate safetensors onnx onnxscript pyarrow "
    "matplotlib jinja2 yaml psutil platformdirs gguf rich pygments pydantic pydantic_core typer shellingham"
)
Refused = Callable[..., str]
openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="the package openvino is not installed")


@pytest.fixture(scope="module")
def expected(undisturbed_run: Path) -> list[tuple[str, float]]:
    with hundredth.load(undisturbed_run / "model") as model:
        probabilities = model.predict_proba(TEXTS)
        return [(model.labels[int(row.argmax())], float(row.max())) for row in probabilities]


@pytest.fixture
def model(undisturbed_run: Path) -> Path:
    return undisturbed_run / "model"


@pytest.fixture
def pair_model(finished_run: Path) -> Path:
    """A model of two fields: the same one, told so."""
    path = finished_run / "model" / "hundredth.json"
    manifest = json.loads(path.read_text())
    manifest["task"]["fields"] = ["premise", "hypothesis"]
    path.write_text(json.dumps(manifest))
    return finished_run / "model"


def lines_of(expected: list[tuple[str, float]], texts: list[str]) -> list[str]:
    return [f"{label}\t{p:.4f}\t{text}" for (label, p), text in zip(expected, texts, strict=True)]


def test_texts_as_arguments(run: Any, model: Path, expected: list[tuple[str, float]]) -> None:
    result = run("predict", model, *TEXTS)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == lines_of(expected, TEXTS)
    assert result.stderr == ""


def test_the_folder_of_the_run_does_for_that_of_the_model(run: Any, undisturbed_run: Path, model: Path) -> None:
    assert run("predict", undisturbed_run, *TEXTS).stdout == run("predict", model, *TEXTS).stdout


def test_texts_from_standard_input(run: Any, model: Path, expected: list[tuple[str, float]]) -> None:
    result = run("predict", model, stdin="".join(text + "\r\n" for text in TEXTS))
    assert result.stdout.splitlines() == lines_of(expected, TEXTS)
    with_mark = run("predict", model, stdin="\ufeff" + "\n".join(TEXTS))
    assert with_mark.stdout == result.stdout


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".jsonl"])
def test_texts_from_a_file(
    suffix: str, run: Any, model: Path, tmp_path: Path, expected: list[tuple[str, float]]
) -> None:
    content = {
        ".txt": TEXTS,
        ".csv": ["id,text", *(f'1,"{text}"' for text in TEXTS)],
        ".tsv": ["id\ttext", *(f"1\t{text}" for text in TEXTS)],
        ".jsonl": [json.dumps({"text": text, "id": 1}) for text in TEXTS],
    }
    file = tmp_path / f"texts{suffix}"
    file.write_text("\n".join(content[suffix]) + "\n")
    assert run("predict", model, "--file", file).stdout.splitlines() == lines_of(expected, TEXTS)


def test_a_text_of_several_lines_stays_on_one_line(run: Any, model: Path) -> None:
    """Silent otherwise: what reads the output would take the rest of a text for the next answer."""
    [line] = run("predict", model, "my\tcard\nis \u2028 gone").stdout.split("\n")[:-1]
    assert line.split("\t")[2] == "my card is gone"


def test_json_lines(run: Any, model: Path, expected: list[tuple[str, float]]) -> None:
    found = [json.loads(line) for line in run("predict", model, "--json", *TEXTS).stdout.splitlines()]
    assert [(one["label"], one["probability"]) for one in found] == expected
    assert [(one["line"], one["texts"]) for one in found] == [(n, [text]) for n, text in enumerate(TEXTS, start=1)]
    for one in found:
        assert list(one) == ["line", "texts", "label", "probability", "probabilities"]
        assert one["probabilities"][one["label"]] == max(one["probabilities"].values())
        assert sum(one["probabilities"].values()) == pytest.approx(1)


def test_a_pipe_of_another_encoding_is_written_as_utf_8(model: Path) -> None:
    command = [sys.executable, "-m", "hundredth", "predict", str(model), "my card 卡", "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert json.loads(done.stdout.decode())["texts"] == ["my card 卡"]


def test_an_explanation_for_people(run: Any, model: Path) -> None:
    with hundredth.load(model) as loaded:
        why = loaded.explain(TEXTS[0])
    first, head, *neighbours = run("predict", model, "--explain", TEXTS[0]).stdout.splitlines()
    assert first == f"{why.label}\t{why.probability:.4f}\t{TEXTS[0]}"
    assert head == f"  {why.head_share:4.0%} of it from the model itself"
    if why.similarity_quantile == 0:
        assert neighbours.pop().endswith(
            "farther from all stored texts than any development text was: it may be out of scope"
        )
    assert len(neighbours) == len(why.neighbours) > 0
    for line, one in zip(neighbours, why.neighbours, strict=True):
        shown = one.texts[0] if len(one.texts[0]) <= 100 else one.texts[0][:97] + "..."
        about = f"similarity {one.similarity:.2f}, {one.label} ({one.origin}): {shown}"
        other = "" if one.label_without == why.label else f"; without it {one.label_without}"
        assert line == f"  {one.share:4.0%} from a stored text, {about}{other}"


def test_an_explanation_for_people_adds_up_what_is_far(run: Any, finished_run: Path) -> None:
    """Silent otherwise: where K is 32, the texts that matter are lost among lines of one percent each."""
    path = finished_run / "model" / "hundredth.json"
    manifest = json.loads(path.read_text())
    manifest["retrieval"] |= {"k": 8, "weight": 0.4, "temperature": 1.0}
    path.write_text(json.dumps(manifest))
    with hundredth.load(finished_run / "model") as loaded:
        why = loaded.explain(TEXTS[0])
    assert len(why.neighbours) == 8
    far = [one for one in why.neighbours[5:] if one.label_without == why.label]
    lines = run("predict", finished_run / "model", "--explain", TEXTS[0]).stdout.splitlines()[2:]
    assert sum("from a stored text" in line for line in lines) == 8 - len(far)
    [rest] = [line for line in lines if "more stored" in line]
    assert rest.startswith(f"  {sum(one.share for one in far):4.0%} from {len(far)} more stored texts (")
    assert all(f"{one.label} " in rest for one in far)


def test_an_explanation_for_programs(run: Any, model: Path) -> None:
    [line] = run("predict", model, "--explain", "--json", TEXTS[0]).stdout.splitlines()
    with hundredth.load(model) as loaded:
        why = json.loads(json.dumps(loaded.explain(TEXTS[0]).to_dict()))
    assert json.loads(line) == {"line": 1, "texts": [TEXTS[0]], **why, "explained": why["label"]}


def test_a_file_longer_than_what_is_predicted_at_once(run: Any, model: Path, tmp_path: Path) -> None:
    texts = [f"{TEXTS[number % 3]} {number}" for number in range(600)]
    (tmp_path / "many.txt").write_text("\n".join(texts))
    lines = run("predict", model, "--file", tmp_path / "many.txt").stdout.splitlines()
    assert [line.split("\t")[2] for line in lines] == texts


def test_blank_lines_do_not_stop_it(run: Any, model: Path, tmp_path: Path) -> None:
    """A file of mails ends with one, or has them between: all before it would be answered, and none after."""
    texts = [f"{TEXTS[number % 3]} {number}" for number in range(300)]
    content = "\n".join([*texts, "", TEXTS[0], " ", ""])
    (tmp_path / "a.txt").write_text(content)
    for result in (
        run("predict", model, "--json", stdin=content),
        run("predict", model, "--json", "--file", tmp_path / "a.txt"),
    ):
        assert result.exit_code == 0
        found = [json.loads(line) for line in result.stdout.splitlines()]
        assert len(found) == 301
        assert (found[-1]["line"], found[-1]["texts"]) == (302, [TEXTS[0]])
        assert result.stderr == "2 blank lines were passed over\n"


def test_the_column_of_the_texts_may_have_another_name(
    run: Any, refused: Refused, model: Path, tmp_path: Path, expected: list[tuple[str, float]]
) -> None:
    file = tmp_path / "mails.csv"
    file.write_text("\n".join(["id,body", *(f'1,"{text}"' for text in TEXTS)]))
    shown = run("predict", model, "--file", file, "--text-column", "body").stdout.splitlines()
    assert shown == lines_of(expected, TEXTS)
    assert refused("predict", model, "--file", file).endswith("its columns are 'id', 'body': see --text-column")


def test_a_text_of_a_megabyte(run: Any, model: Path) -> None:
    assert run("predict", model, stdin="my card " * 130_000).exit_code == 0


def test_a_task_of_two_fields_reads_files_and_json_lines(
    run: Any, refused: Refused, pair_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "pairs.csv").write_text("hypothesis,premise\nit rains,the street is wet\n")
    result = run("predict", pair_model, "--file", tmp_path / "pairs.csv")
    assert result.stdout.rstrip("\n").split("\t")[2:] == ["the street is wet", "it rains"]
    line = json.dumps({"premise": "the street is wet", "hypothesis": "it rains"})
    assert run("predict", pair_model, stdin=line).stdout == result.stdout
    said = refused("predict", pair_model, "the street is wet")
    assert said == "this task reads premise, hypothesis: use --file, or pipe JSON lines with these keys"
    assert "standard input line 1: not valid JSON" in refused("predict", pair_model, stdin="the street is wet")


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["{none}", "a text"], None, "none is not a model folder: it has no hundredth.json"),
        (["{model}", "  "], None, "text 0 is empty"),
        (["{model}"], "", "standard input holds no text"),
        (["{model}"], "\n \n", "standard input holds no text"),
        (
            ["{model}", "--text-column", "a", "a text"],
            None,
            "texts are given and --text-column a too: leave one out",
        ),
        (["{model}"], b"a\ncaf\xe9\n", "standard input line 2 is not UTF-8"),
        (["{model}", "--file", "{none}.txt"], None, "none.txt cannot be read: No such file or directory"),
        (["{model}", "--file", "{empty}"], None, "empty.txt holds no text"),
        (["{model}", "--file", "{model}/README.md"], None, "README.md ends in '.md', which is no kind of file"),
        (["{model}", "--file", "{empty}", "a text"], None, "leave one out"),
        (["{model}", "--threads", "0", "a text"], None, "threads is 0: give at least 1"),
    ],
)
def test_mistakes(
    arguments: list[str], stdin: str | bytes | None, said: str, refused: Refused, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").touch()
    places = {"model": model, "none": tmp_path / "none", "empty": tmp_path / "empty.txt"}
    assert said in refused("predict", *(one.format(**places) for one in arguments), stdin=stdin)


def test_a_model_is_no_run_to_evaluate(
    refused: Refused, finished_run: Path, make_model: Callable[..., Path]
) -> None:
    said = refused("evaluate", finished_run / "model")
    assert said == f"{finished_run}/model is a model: name the folder of the run that made it, {finished_run}"
    alone = make_model()
    assert refused("evaluate", alone) == f"{alone} is a model: name the folder of the run that made it"


def test_a_run_without_a_model_yet(refused: Refused, finished_run: Path) -> None:
    (finished_run / "model").rename(finished_run / "elsewhere")
    assert "is not a model folder" in refused("predict", finished_run, "a text")


def python(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


# Runs the command line as it is in a base install: the packages of the extras cannot be imported.
BASE_INSTALL = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OTHER_EXTRAS.split()!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from hundredth.cli import main
main()
"""


def test_predicting_needs_no_training_stack(model: Path, tmp_path: Path, expected: list[tuple[str, float]]) -> None:
    (tmp_path / "some.csv").write_text(f"text\n{TEXTS[0]}\n")
    for given in (TEXTS[:1], ["--file", tmp_path / "some.csv"]):
        done = python(BASE_INSTALL, "predict", model, "--explain", *given)
        assert done.stderr == ""
        assert done.returncode == 0
        assert done.stdout.splitlines()[0] == lines_of(expected, TEXTS)[0]


def test_files_of_knowledge_need_no_training_stack(model: Path, tmp_path: Path) -> None:
    for suffix in (".jsonl", ".csv"):
        file = tmp_path / f"all{suffix}"
        written = python(BASE_INSTALL, "knowledge", "export", model, file)
        assert (written.returncode, written.stderr) == (0, "")
        read = python(BASE_INSTALL, "knowledge", "import", model, file)
        assert (read.returncode, read.stderr) == (0, "")
        assert read.stdout.startswith("0 entries added, ")
    (tmp_path / "some.parquet").write_bytes(b"PAR1")
    refused = python(BASE_INSTALL, "knowledge", "import", model, tmp_path / "some.parquet")
    assert "pip install '.[train]'" in refused.stderr


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=openvino), "auto"])
def test_the_engine_that_is_named_runs_the_model(
    engine: Any, run: Any, model: Path, expected: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, str]] = []

    def load(path: Path, threads: int | None, engine: Any) -> Any:
        loaded = load_model(path, threads, engine)
        opened.append((engine, loaded.engine))
        return loaded

    load_model = hundredth.load
    monkeypatch.setattr(hundredth, "load", load)
    labels = [line.split("\t")[0] for line in run("predict", model, "--engine", engine, *TEXTS).stdout.splitlines()]
    assert labels == [label for label, _ in expected]
    [(asked, ran)] = opened
    assert asked == engine
    assert ran == engine or engine == "auto"
    run("predict", model, TEXTS[0])
    assert opened[1] == ("onnxruntime", "onnxruntime")


def test_an_engine_that_is_not_there(
    run: Any, refused: Refused, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_args(EngineName) == ENGINES
    result = run("predict", model, "--engine", "tensorrt", TEXTS[0])
    assert result.exit_code == 2
    assert all(name in result.stderr for name in ("'tensorrt' is not one of", *ENGINES))
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    said = refused("predict", model, "--engine", "openvino", TEXTS[0])
    assert said.endswith("which is not installed: in a checkout, pip install '.[openvino]'")


@pytest.mark.parametrize("command", [["transfer", "data.csv", "--out", "run"], ["evaluate", "run"]])
def test_without_the_training_stack_the_other_commands_name_what_to_install(command: list[str]) -> None:
    done = python(BASE_INSTALL, *command)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: this command needs the package '")
    assert line.endswith("which is not installed: in a checkout, pip install '.[train]'")


def test_the_help_is_there_at_once() -> None:
    code = "import sys; import hundredth.cli; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = [*OTHER_EXTRAS.split(), "numpy", "onnxruntime", "faiss", "tokenizers", "huggingface_hub"]
    assert python(code, *heavy).stdout == "[]\n"


def test_a_reader_that_goes_away_is_no_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("My card is gone.\n" * 20_000)
    command = "from hundredth.cli import main; main()"
    arguments = [sys.executable, "-c", command, "predict", str(model), "--file", str(tmp_path / "many.txt")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().endswith(b"My card is gone.\n")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 1
