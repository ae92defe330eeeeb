"""Requests that are predicted together: as if each were alone, whatever the others bring."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from callers import PREDICT, TEXT, Caller, Held

from hundredth import UserError
from hundredth.runtime.manifest import DevInfo

WORDS = ["card", "swallowed", "machine", "ate", "my", "the", "refund", "money", "back", "where", "is", "parcel"]


@pytest.fixture
def held(make_app, monkeypatch):
    def make(**settings):
        app = make_app(**settings)
        return Held(app, monkeypatch), Caller(app), app.state.service

    return make


def test_requests_that_wait_form_batches_and_get_the_answers_of_the_model(held, monkeypatch):
    one, call, service = held(max_batch=8)
    dev = DevInfo(2, (0.0,), (2,), (1,), (0.5, 0.9, 0.999))
    monkeypatch.setattr(one.model, "manifest", replace(one.model.manifest, dev=dev))
    generator = np.random.default_rng(0)
    bodies = [
        {"texts": [" ".join(generator.choice(WORDS, size=3)) for _ in range(generator.integers(1, 4))]}
        for _ in range(20)
    ]
    answers = asyncio.run(one.fill(call, bodies))
    assert [answer.status for answer in answers] == [200] * 21
    for body, answer in zip(bodies, answers[1:], strict=True):
        rows = [list(found["probabilities"].values()) for found in answer.json["predictions"]]
        assert np.allclose(rows, one.model.predict_proba(body["texts"]), atol=1e-6)
        near, expected = answer.json["predictions"], one.model.nearness(body["texts"])
        assert np.allclose([found["similarity"] for found in near], expected.similarity, atol=1e-6)
        assert np.allclose([found["quantile"] for found in near], expected.quantile, atol=1e-3)
    texts = sum(len(body["texts"]) for body in bodies)
    assert one.sizes == [1, *[8] * (texts // 8), *([texts % 8] if texts % 8 else [])]
    assert service.models.served.users == 0


def test_a_request_alone_is_predicted_alone_and_at_once(held):
    one, call, _ = held()
    one.going.set()
    answer = asyncio.run(call(PREDICT, {"texts": [TEXT, "refund"]}))
    assert (answer.status, one.sizes) == (200, [2])


def test_a_long_request_takes_turns_with_the_others(held):
    """Silent otherwise: one request of many texts holds up everybody else's."""
    one, call, _ = held(max_batch=4)
    long = {"texts": [f"card {number}" for number in range(12)]}
    answers = asyncio.run(one.fill(call, [long, {"text": "money"}, {"text": "back"}]))
    assert one.sizes == [1, 4, 4, 4, 2]
    # The short ones, sent later, are in the second batch after the first texts of the long one.
    assert one.batches[2][:2] == [("money",), ("back",)]
    assert len(answers[1].json["predictions"]) == 12
    found = [list(each["probabilities"].values()) for each in answers[1].json["predictions"]]
    assert np.allclose(found, one.model.predict_proba(long["texts"]), atol=1e-6)


def test_a_text_that_cannot_be_predicted_spoils_only_its_own_request(held):
    one, call, _ = held()
    whole = one.answer

    def choosy(rows):
        if ("poison",) in rows:
            raise UserError("no token is left of the text")
        return whole(rows)

    one.answer = choosy
    bodies = [{"text": "money"}, {"texts": ["refund", "poison"]}, {"text": "back"}]
    answers = asyncio.run(one.fill(call, bodies))
    assert [answer.status for answer in answers] == [200, 200, 422, 200]
    assert answers[2].json["error"]["message"] == "no token is left of the text"
    assert one.sizes == [1, 4, 1, 2, 1]


def test_the_parts_of_a_request_that_has_failed_are_not_predicted(held):
    one, call, service = held(max_batch=2)
    whole = one.answer

    def choosy(rows):
        if ("poison",) in rows:
            raise UserError("no token is left of the text")
        return whole(rows)

    one.answer = choosy
    answers = asyncio.run(one.fill(call, [{"texts": ["poison", *["card"] * 9]}, {"text": "back"}]))
    assert [answer.status for answer in answers] == [200, 422, 200]
    assert one.sizes == [1, 2, 1]
    assert service.models.served.users == 0
