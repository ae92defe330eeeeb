"""What `load` takes for a folder, and for a number of threads."""

from pathlib import Path

import pytest

import hundredth
from hundredth import UserError
from hundredth.folders import folder_of
from hundredth.runtime import available_threads
from hundredth.runtime import encoder as encoder_module


def test_a_model_is_loaded_from_a_file_url(make_model, tmp_path):
    folder = make_model()
    moved = folder.rename(tmp_path / "my modèle 100%")
    assert "%20" in moved.as_uri()
    for given in (moved.as_uri(), moved.as_uri().replace("file://", "file://localhost"), Path(moved.as_uri())):
        with hundredth.load(given, threads=1) as model:
            assert len(model.store) == 3
    assert folder_of("FILE:/a/b") == Path("/a/b")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("https://example.org/model", "is a URL of https: a model is loaded from a folder or a file:// URL"),
        (Path("s3://bucket/model"), "s3:/bucket/model is a URL of s3"),
        ("file://elsewhere/model", "names the machine 'elsewhere'"),
        ("file:///no/such/model", "/no/such/model is not a model folder"),
        (None, "the folder of a model is None"),
        (7, "the folder of a model is 7"),
    ],
)
def test_what_is_no_folder_is_refused(given, said):
    with pytest.raises(UserError, match=said):
        hundredth.load(given)


def test_the_folder_of_a_run_does_for_that_of_its_model(make_model, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(UserError, match="is not a model folder"):
        hundredth.load(run)
    make_model().rename(run / "model")
    for given in (run, str(run), run.as_uri()):
        with hundredth.load(given, threads=1) as model:
            assert len(model.store) == 3


def test_a_folder_may_be_named_like_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "model").mkdir(parents=True)
    assert folder_of("s3:/model") == Path("s3:/model")
    assert folder_of("C:/model") == Path("C:/model")


def test_no_more_threads_are_started_than_there_are_cpus(make_model, monkeypatch):
    started = []
    opened = encoder_module.open_engine

    def noted(path, threads, engine):
        started.append(threads)
        return opened(path, threads, engine)

    folder = make_model()
    monkeypatch.setattr(encoder_module, "open_engine", noted)
    for threads in (1, 10**6, None):
        hundredth.load(folder, threads=threads).close()
    assert started == [1, available_threads(), available_threads()]


@pytest.mark.parametrize("threads", [0, -1, "2", 1.5])
def test_what_is_no_number_of_threads_is_refused(make_model, threads):
    with pytest.raises(UserError, match=f"threads is {threads!r}: give at least 1"):
        hundredth.load(make_model(), threads=threads)
