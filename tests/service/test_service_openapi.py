"""The description of the interface, and that the service does what it says there."""

import pytest
from callers import BEARER
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema_rs import validator_for
from schemathesis import GenerationMode, openapi
from schemathesis.specs.openapi.checks import positive_data_acceptance

ROUTES = [
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/v1/model"),
    ("POST", "/v1/predict"),
    ("POST", "/v1/explain"),
    ("GET", "/v1/knowledge"),
    ("POST", "/v1/knowledge"),
    ("GET", "/v1/knowledge/log"),
    ("GET", "/v1/knowledge/{id}"),
    ("DELETE", "/v1/knowledge/{id}"),
    ("POST", "/v1/knowledge/search"),
    ("POST", "/v1/knowledge/correct"),
    ("POST", "/v1/knowledge/undo"),
]
every_route = pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda value: value)


@pytest.fixture(scope="module")
def document(shared):
    return shared.get("/openapi.json").json()


def _resolved(document, schema):
    """A schema with those that it refers to, as one that stands alone."""
    return {**schema, "components": document["components"]}


def test_every_route_is_described(document):
    described = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert described == set(ROUTES)


@every_route
def test_each_route_has_examples_that_are_right_and_the_errors_that_it_can_give(document, method, path):
    operation = document["paths"][path][method.lower()]
    assert operation["summary"]
    schemas = [
        media["schema"]
        for answer in operation["responses"].values()
        for kind, media in answer["content"].items()
        if kind == "application/json"
    ]
    if "requestBody" in operation:
        schemas.append(operation["requestBody"]["content"]["application/json"]["schema"])
        assert {"400", "408", "413", "422"} <= set(operation["responses"])
    for schema in schemas:
        shown = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        assert shown["examples"]
        check = validator_for(_resolved(document, schema))
        for example in shown["examples"]:
            assert check.is_valid(example), (schema, example)
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "query" and parameter["required"]:
            assert parameter["schema"]["examples"]
    if path not in ("/healthz", "/readyz"):
        assert {"401", "429", "500", "503"} <= set(operation["responses"])
    writes = method == "DELETE" or (method == "POST" and path.startswith("/v1/knowledge") and "search" not in path)
    assert ("security" in operation) is writes
    assert ("403" in operation["responses"]) is writes


def test_a_service_that_protects_reads_says_so(serve):
    paths = serve(protect_reads=True).get("/openapi.json").json()["paths"]
    assert "security" in paths["/v1/predict"]["post"]
    assert "security" not in paths["/readyz"]["get"]


def _without_end(app):
    """The application for one who would stop it after every request."""

    async def wrapped(scope, receive, send):
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        while (kind := (await receive())["type"]) != "lifespan.shutdown":
            await send({"type": f"{kind}.complete"})
        await send({"type": f"{kind}.complete"})

    return wrapped


@every_route
def test_what_is_made_up_from_the_description_is_answered_as_described(shared, method, path):
    """Nothing the description allows or forbids leads to an error of the service, or to an undescribed answer."""
    operation = openapi.from_asgi("/openapi.json", _without_end(shared.app))[path][method]
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        if mode == GenerationMode.NEGATIVE and not (operation.body or operation.path_parameters or operation.query):
            continue

        @settings(
            max_examples=12,
            derandomize=True,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def call(case):
            # What the description allows may still not fit the model: texts for other fields, labels it has not.
            case.call_and_validate(
                headers={**BEARER, **(case.headers or {})}, excluded_checks=[positive_data_acceptance]
            )

        call()
