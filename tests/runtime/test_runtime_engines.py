"""The engines that run an encoder: the same answers from each, and a clear word where one cannot be used."""

import os
import subprocess
import sys
import threading
from importlib.util import find_spec

import numpy as np
import pytest

import hundredth
from hundredth.errors import UnavailableError, UserError
from hundredth.runtime import engines
from hundredth.runtime.encoder import available_threads

TEXTS = ["the machine ate my card", "money back", "where is my parcel is my parcel where", "refund", "xyzzy"]
openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="the package openvino is not installed")
every_engine = pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=openvino)])


@openvino
@pytest.mark.parametrize("token_types", [True, False])
def test_openvino_answers_as_onnxruntime_does(make_model, token_types):
    folder = make_model(token_types=token_types)
    with hundredth.load(folder, threads=1) as one, hundredth.load(folder, threads=1, engine="openvino") as other:
        assert (one.engine, other.engine) == ("onnxruntime", "openvino")
        for seen, expected in zip(other.embed(TEXTS), one.embed(TEXTS), strict=True):
            assert np.allclose(seen, expected, atol=1e-5)
        assert np.allclose(other.predict_proba(TEXTS), one.predict_proba(TEXTS), atol=1e-5)
        for text in TEXTS:
            seen, expected = other.explain(text), one.explain(text)
            assert [hit.id for hit in seen.neighbours] == [hit.id for hit in expected.neighbours]


@every_engine
def test_results_are_each_as_if_alone_and_are_not_overwritten_by_the_next(make_model, engine):
    """Silent otherwise: an engine hands out its own memory, which the next text changes."""
    with hundredth.load(make_model(), threads=1, engine=engine) as model:
        first = model.embed(TEXTS[:1])
        kept = [array.copy() for array in first]
        together = model.embed(TEXTS)
        for array, copy, batch in zip(first, kept, together, strict=True):
            assert np.array_equal(array, copy)
            assert np.allclose(batch[:1], copy, atol=1e-6)
        assert model.predict([]) == []


@every_engine
def test_threads_may_share_a_model(make_model, engine):
    failures = []
    with hundredth.load(make_model(), threads=1, engine=engine) as model:
        expected = model.predict_proba(TEXTS)

        def predict():
            try:
                for turn in range(30):
                    row = turn % len(TEXTS)
                    assert np.allclose(model.predict_proba([TEXTS[row]])[0], expected[row], atol=1e-6)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=predict) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


@openvino
def test_openvino_is_given_the_threads_and_stays_exact(make_model):
    folder = make_model()
    for threads, expected in ((None, available_threads()), (1, 1)):
        with hundredth.load(folder, threads=threads, engine="openvino") as model:
            compiled = model._encoder._engine.model
            assert compiled.get_property("INFERENCE_NUM_THREADS") == expected
            assert compiled.get_property("NUM_STREAMS") == 1
            assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
            assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0


@every_engine
def test_a_graph_that_cannot_be_read_is_named(tmp_path, engine):
    broken = tmp_path / "encoder.onnx"
    broken.write_bytes(b"\x08\x07 this is no graph")
    with pytest.raises(UserError, match=rf"encoder\.onnx cannot be loaded by {engine}: .+") as error:
        engines.open_engine(broken, 1, engine)
    assert "\n" not in str(error.value)


def test_a_graph_that_fails_when_it_runs_is_named_once(make_model, capfd):
    engine = engines.open_engine(make_model() / "encoder.onnx", 1, "onnxruntime")
    beyond = np.full((1, 3), 10_000)
    with pytest.raises(UnavailableError, match=r"encoder\.onnx cannot be run by onnxruntime: .+") as error:
        engine.run(dict.fromkeys(engine.inputs, beyond))
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")  # onnxruntime prints nothing of its own


def test_an_engine_that_does_not_exist_is_refused(make_model):
    with pytest.raises(UserError, match="unknown engine 'tensorrt': use onnxruntime, openvino, auto"):
        hundredth.load(make_model(), engine="tensorrt")


def test_without_openvino_auto_is_onnxruntime_and_openvino_says_what_to_install(make_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    folder = make_model()
    with hundredth.load(folder, threads=1, engine="auto") as model:
        assert model.engine == "onnxruntime"
    with pytest.raises(UserError, match=r"pip install '.\[openvino\]'"):
        hundredth.load(folder, engine="openvino")


@openvino
@pytest.mark.parametrize("quicker", ["onnxruntime", "openvino"])
def test_auto_is_the_quicker_one(make_model, monkeypatch, quicker):
    measured, measure = {}, engines._seconds

    def seconds(engine):
        measured[engine.name] = measure(engine)
        return 1.0 if engine.name == quicker else 2.0

    monkeypatch.setattr(engines, "_seconds", seconds)
    with hundredth.load(make_model(), threads=1, engine="auto") as model:
        assert model.engine == quicker
    assert sorted(measured) == ["onnxruntime", "openvino"]
    assert all(time > 0 for time in measured.values())


@every_engine
def test_nothing_is_reported_to_the_makers_of_an_engine(make_model, tmp_path, engine):
    """Silent otherwise: each sends events over the network by default, and keeps an id in the home folder."""
    script = (
        "import sys, hundredth\n"
        "with hundredth.load(sys.argv[1], threads=1, engine=sys.argv[2]) as model:\n"
        "    model.predict(['money back'])\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    home = tmp_path / "home"
    home.mkdir()
    # Automatic builds report nothing anyway.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    ran = subprocess.run(
        [sys.executable, "-c", script, str(make_model()), engine],
        capture_output=True,
        text=True,
        env={**environment, "HOME": str(home)},
    )
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "[]", "")
    assert list(home.iterdir()) == []
