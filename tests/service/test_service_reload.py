"""A new model in the folder is served without a stop, and one that is no good leaves the old in its place."""

import asyncio
import logging
import shutil
import threading
import time

import pytest
from callers import BEARER, PREDICT, TEXT, Caller, Held, said

from hundredth.files import read_json, replace_folder, write_json
from hundredth.runtime import RetrievalInfo
from hundredth.service.models import stamp


@pytest.fixture
def folders(make_model):
    """The folder that is served, and another model that says something else."""
    return make_model(), make_model(retrieval=RetrievalInfo(k=1, temperature=0.1, weight=0.9))


def _until(reached, seconds=20):
    """Wait for something that must come; fail where it does not."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def _version(client):
    return client.get("/v1/model").json()["model_version"]


def test_a_replaced_folder_is_served(serve, folders):
    served, new = folders
    client = serve(served, watch=0.02)
    before = client.post(PREDICT, json={"text": TEXT}).json()
    replace_folder(new, served)
    _until(lambda: _version(client) != before["model_version"])
    after = client.post(PREDICT, json={"text": TEXT}).json()
    assert after["model_version"] == _version(client)
    assert after["predictions"] != before["predictions"]
    assert 'hundredth_reloads_total{outcome="done"} 1.0' in client.get("/metrics").text


def test_other_settings_in_the_same_folder_are_taken_over_with_its_knowledge(serve, folders):
    served, _ = folders
    client = serve(served, watch=0.02)
    before = _version(client)
    client.post("/v1/knowledge/correct", json={"text": TEXT, "label": "delivery"}, headers=BEARER)
    manifest = read_json(served / "hundredth.json")
    write_json(served / "hundredth.json", {**manifest, "calibration": {"temperature": 2.5}})
    _until(lambda: _version(client) != before)
    [one] = client.post(PREDICT, json={"text": TEXT}).json()["predictions"]
    assert (one["label"], one["probability"]) == ("delivery", 1.0)
    assert client.get("/v1/model").json()["calibration"]["temperature"] == 2.5
    sent = {"text": "money back", "label": "delivery"}
    assert client.post("/v1/knowledge/correct", json=sent, headers=BEARER).status_code == 200


def _without_encoder(folder):
    (folder / "encoder.onnx").unlink()


def _half_a_manifest(folder):
    _put(folder / "hundredth.json", b'{"format_version": 2')


def _other_encoder(folder):
    _put(folder / "encoder.onnx", b"not the one that the manifest describes")


def _damaged_store(folder):
    path = folder / "store.db"
    _put(path, path.read_bytes()[:4096] + b"\xff" * 4096)


def _gone(folder):
    away = folder.with_name("away")
    folder.rename(away)
    shutil.rmtree(away)


def _put(path, content):
    """Exchange a file at once: half of the harm would be another reason, and is told apart."""
    other = path.parent.with_name("other")
    other.write_bytes(content)
    other.rename(path)


@pytest.mark.parametrize(
    "harm",
    [_without_encoder, _half_a_manifest, _other_encoder, _damaged_store, _gone],
    ids=lambda harm: harm.__name__,
)
def test_a_folder_that_is_no_good_is_told_once_and_the_old_model_served_on(serve, folders, caplog, harm):
    served, new = folders
    client = serve(served, watch=0.02)
    before = client.post(PREDICT, json={"text": TEXT}).json()
    with caplog.at_level(logging.ERROR, "hundredth.service.models"):
        harm(served)
        _until(lambda: caplog.records)
        time.sleep(0.1)
    assert len(caplog.records) == 1, caplog.text
    assert "the one before is served on" in caplog.records[0].getMessage()
    assert "\n" not in caplog.records[0].getMessage()
    assert client.post(PREDICT, json={"text": TEXT}).json() == before
    assert client.get("/readyz").status_code == 200
    if served.exists():
        replace_folder(new, served)
    else:
        new.rename(served)
    _until(lambda: _version(client) != before["model_version"])


def test_after_a_tuning_the_calibration_error_is_that_of_the_new_temperature(serve, folders):
    served, _ = folders
    manifest = read_json(served / "hundredth.json")
    tuned = {"on": "2026-01-01", "texts": 50, "after": {"ece": 0.02, "ece_before": 0.03}}
    write_json(served / "hundredth.json", {**manifest, "provenance": {**manifest["provenance"], "tuned": tuned}})
    shown = serve(served).get("/v1/model").json()["calibration"]
    assert (shown["ece"], shown["ece_before"]) == (0.02, 0.03)


def test_a_folder_that_is_copied_file_by_file_is_served_when_it_is_whole(serve, folders):
    served, new = folders
    client = serve(served, watch=0.02)
    before = _version(client)
    for name in ("hundredth.json", "tokenizer.json", "encoder.onnx"):
        time.sleep(0.06)
        shutil.copy(new / name, served / name)
        if name != "encoder.onnx":
            assert client.post(PREDICT, json={"text": TEXT}).status_code == 200
    _until(lambda: _version(client) != before)
    assert client.post(PREDICT, json={"text": TEXT}).status_code == 200


def test_no_request_is_lost_while_models_change_places(make_app, make_model):
    """Each answer is whole, by one of the models, and all models but the last are closed in the end."""
    served = make_model()
    retrievals = [RetrievalInfo(k=1, temperature=0.1, weight=weight) for weight in (0.2, 0.5, 0.8)]
    others = [make_model(retrieval=retrieval) for retrieval in retrievals]
    app = make_app(served)
    service, call = app.state.service, Caller(app)
    used = [service.models.served]
    expected = {used[0].version: used[0].model.predict_proba([TEXT])[0].tolist()}

    async def ask(answers, done):
        while not done.is_set():
            answers.append(await call(PREDICT, {"text": TEXT}))

    async def run():
        watching = asyncio.create_task(service.models.watch(0.01))
        answers, done = [], asyncio.Event()
        asking = [asyncio.create_task(ask(answers, done)) for _ in range(6)]
        for other in others:
            replace_folder(other, served)
            while service.models.served is used[-1]:
                await asyncio.sleep(0.01)
            used.append(service.models.served)
            expected[used[-1].version] = used[-1].model.predict_proba([TEXT])[0].tolist()
            seen = len(answers)
            while len(answers) < seen + 6:
                await asyncio.sleep(0.01)
        done.set()
        await asyncio.gather(*asking)
        watching.cancel()
        return answers

    answers = asyncio.run(run())
    assert {answer.status for answer in answers} == {200}
    assert {answer.json["model_version"] for answer in answers} == set(expected)
    assert len(expected) == 4
    for answer in answers:
        [found] = answer.json["predictions"]
        row = expected[answer.json["model_version"]]
        assert list(found["probabilities"].values()) == pytest.approx(row, abs=1e-6)
    service.models._closer.submit(lambda: None).result()
    assert [one.users for one in used] == [0] * 4
    assert [one.model._knowledge._access._finalizer.alive for one in used] == [False, False, False, True]


def _reloaded(models):
    """Let a model take the place of the one in use, and wait a little for what else may come."""

    async def run():
        first, watching = models.served, asyncio.create_task(models.watch(0.01))
        while models.served is first:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        watching.cancel()

    asyncio.run(run())
    models._closer.submit(lambda: None).result()


def test_a_model_that_was_replaced_while_it_was_loaded_is_not_served(make_app, make_model):
    """Silent otherwise: what comes after it is loaded twice."""
    served, *others = (make_model(retrieval=RetrievalInfo(1, 0.1, weight)) for weight in (0.2, 0.5, 0.8))
    models, loaded = make_app(served).state.service.models, []
    load = models.load

    def overtaken():
        loaded.append(load())
        if others:
            replace_folder(others.pop(), served)
        return loaded[-1]

    models.load = overtaken
    replace_folder(others.pop(), served)
    _reloaded(models)
    assert [one.model._knowledge._access._finalizer.alive for one in loaded] == [False, True]
    assert models.served is loaded[1]
    assert not loaded[0].retired  # it never was in use


def test_the_moment_between_two_renames_is_not_called_a_missing_model(make_app, folders, caplog):
    served, new = folders
    models, tried = make_app(served).state.service.models, []
    load = models.load

    def between():
        tried.append(served.exists())
        try:
            return load()
        finally:
            if len(tried) == 1:
                new.rename(served)

    models.load = between
    shutil.rmtree(served)
    _reloaded(models)
    assert tried == [False, True]
    assert not caplog.records


def test_a_replaced_model_is_open_until_its_last_request_is_answered(make_app, make_model, monkeypatch):
    served, new = make_model(), make_model(retrieval=RetrievalInfo(1, 0.1, 0.9))
    app = make_app(served, max_batch=1)
    held, call, models = Held(app, monkeypatch), Caller(app), app.state.service.models
    old = models.served

    async def run():
        watching = asyncio.create_task(models.watch(0.01))
        first = asyncio.create_task(call(PREDICT, {"texts": [TEXT] * 3}))
        await asyncio.to_thread(held.started.wait)
        replace_folder(new, served)
        while models.served is old:
            await asyncio.sleep(0.01)
        later = asyncio.create_task(call(PREDICT, {"text": TEXT}))
        await asyncio.sleep(0.02)
        assert old.users == 2  # the request itself, and its place in the queue
        held.going.set()
        watching.cancel()
        return await first, await later

    first, later = asyncio.run(run())
    assert (first.status, later.status) == (200, 200)
    assert (first.json["model_version"], later.json["model_version"]) == (old.version, models.served.version)
    assert len(held.batches) == 3
    assert old.users == 0


def test_a_replaced_model_is_open_while_a_thread_still_explains(make_app, make_model, monkeypatch):
    """Also when nobody waits for the explanation any more."""
    served, new = make_model(), make_model(retrieval=RetrievalInfo(1, 0.1, 0.9))
    app = make_app(served)
    call, models, going, started = Caller(app), app.state.service.models, threading.Event(), threading.Event()
    old = models.served
    explain, store = old.model.explain, old.model._knowledge

    def held(row):
        started.set()
        assert going.wait(30)
        return explain(row)

    monkeypatch.setattr(old.model, "explain", held)

    async def run():
        gone, watching = asyncio.Event(), asyncio.create_task(models.watch(0.01))
        asked = asyncio.create_task(call("/v1/explain", {"text": TEXT}, gone=gone))
        await asyncio.to_thread(started.wait)
        gone.set()
        await asked
        replace_folder(new, served)
        while models.served is old:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        held_open = (old.users, len(store))
        going.set()
        while old.users:
            await asyncio.sleep(0.01)
        watching.cancel()
        return held_open

    assert asyncio.run(run()) == (1, 3)


def test_texts_for_two_models_are_not_predicted_together(make_app, make_model, monkeypatch):
    """Silent otherwise: the new model's requests are answered by the old one, under the new one's version."""
    served, new = make_model(), make_model(retrieval=RetrievalInfo(1, 0.1, 0.9))
    app = make_app(served)
    held, call, models = Held(app, monkeypatch), Caller(app), app.state.service.models
    old = models.served

    async def run():
        watching = asyncio.create_task(models.watch(0.01))
        first = [asyncio.create_task(call(PREDICT, {"text": TEXT}))]
        await asyncio.to_thread(held.started.wait)
        first.append(asyncio.create_task(call(PREDICT, {"text": TEXT})))
        await asyncio.sleep(0.02)
        replace_folder(new, served)
        while models.served is old:
            await asyncio.sleep(0.01)
        later = asyncio.create_task(call(PREDICT, {"text": TEXT}))
        await asyncio.sleep(0.02)
        held.going.set()
        watching.cancel()
        return [await one for one in first], await later

    first, later = asyncio.run(run())
    assert [one.json["model_version"] for one in first] == [old.version] * 2
    assert later.json["model_version"] == models.served.version
    [answer] = later.json["predictions"]
    expected = models.served.model.predict_proba([TEXT])[0]
    assert list(answer["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-6)
    [before] = first[1].json["predictions"]
    assert before["probabilities"] != pytest.approx(answer["probabilities"], abs=1e-3)


def test_a_change_after_the_folder_was_replaced_waits_for_the_new_model(serve, folders):
    """Silent otherwise: it is written into the store that has just been deleted."""
    served, new = folders
    client = serve(served)
    before = _version(client)
    replace_folder(new, served)
    sent = {"text": TEXT, "label": "delivery"}
    refused = client.post("/v1/knowledge/correct", json=sent, headers=BEARER)
    assert "was replaced" in said(refused, 503, "unavailable")
    # Though it was told not to watch the folder, it looks now.
    _until(lambda: _version(client) != before)
    assert client.post("/v1/knowledge/correct", json=sent, headers=BEARER).status_code == 200
    assert client.get("/v1/knowledge?origin=user").json()["total"] == 1


def test_changes_of_the_knowledge_are_no_new_model(serve, folders):
    served, _ = folders
    before = stamp(served)
    client = serve(served)
    client.post("/v1/knowledge/correct", json={"text": TEXT, "label": "delivery"}, headers=BEARER)
    assert stamp(served) == before
    (served / ".hundredth.json.x.tmp").write_text("being written")
    assert stamp(served) == before
    (served / "README.md").write_text("# a card")
    assert stamp(served) != before
