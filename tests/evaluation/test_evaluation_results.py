import json
import subprocess

from hundredth.evaluation import results
from hundredth.evaluation.results import Row, commit, machine, versions, write_results


def test_a_file_of_results_says_what_it_was_measured_with(tmp_path):
    rows = [Row("trec", "full", "score", [0.9, 0.91], "fraction")]
    write_results(tmp_path / "deep" / "trec.json", "trec", [0, 1], rows)
    written = json.loads((tmp_path / "deep" / "trec.json").read_text())
    assert written["rows"] == [
        {"task": "trec", "system": "full", "metric": "score", "values": [0.9, 0.91], "unit": "fraction"}
    ]
    assert written["name"] == "trec"
    assert written["seeds"] == [0, 1]
    assert written["machine"] == machine()
    assert written["versions"] == versions()


def test_the_machine_is_described():
    found = machine()
    assert found["cores"] >= 1
    assert found["memory_gb"] > 0
    assert isinstance(found["amx"], bool)
    assert found["cpu"]


def test_versions_name_what_the_numbers_depend_on():
    assert {"python", "hundredth", "torch", "onnxruntime"} <= versions().keys()


def test_the_commit_is_of_this_code_alone(tmp_path, monkeypatch):
    """Installed inside somebody else's checkout, their commit would pass for ours."""
    module = tmp_path / "results.py"
    module.write_text("")
    monkeypatch.setattr(results, "__file__", str(module))
    assert commit() is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    other = tmp_path / "other.txt"
    other.write_text("theirs")
    for command in (["init", "-q"], ["add", "other.txt"], ["commit", "-qm", "theirs"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    assert commit() is None
    for command in (["add", "results.py"], ["commit", "-qm", "ours"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    assert len(commit()) == 40
    module.write_text("changed")
    assert commit().endswith("-dirty")
