"""The document that describes the API is valid, and the API keeps to it."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from tests.server.peer import Server

if TYPE_CHECKING:
    import httpx

Document = dict[str, Any]

REFUSALS = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422"]
"""What a bad request may get; one that is wrong may be too large as well."""


@pytest.fixture
def document(server: Server) -> Document:
    """The OpenAPI document of a server."""
    found: Document = server.call("GET", "/openapi.json", owner=None).json()
    return found


def test_the_document_is_valid_openapi(document: Document) -> None:
    """By the specification of 3.1."""
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")


def test_the_document_names_every_route(document: Document) -> None:
    """Each method and path of the API is in it, with the token that it wants."""
    named = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert {
        ("POST", "/chat/stream"),
        ("POST", "/chat"),
        ("GET", "/chat/history/{thread_id}"),
        ("GET", "/threads"),
        ("GET", "/threads/{thread_id}"),
        ("GET", "/threads/{thread_id}/history"),
        ("GET", "/threads/{thread_id}/turns/{turn_id}/stream"),
        ("PUT", "/threads/{thread_id}/turns/{turn_id}/save"),
        ("PATCH", "/threads/{thread_id}"),
        ("POST", "/threads/{thread_id}/fork"),
        ("POST", "/threads/{thread_id}/undo"),
        ("PUT", "/threads/{thread_id}/clear"),
        ("PUT", "/threads/{thread_id}/archive"),
        ("DELETE", "/threads/{thread_id}/archive"),
        ("DELETE", "/threads/{thread_id}"),
        ("POST", "/cleanup"),
        ("GET", "/export"),
        ("POST", "/import"),
        ("GET", "/models"),
        ("GET", "/info"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    } == named
    unsecured = {
        path
        for path, methods in document["paths"].items()
        for one in methods.values()
        if "security" not in one
    }
    assert unsecured == {"/healthz", "/readyz"}


def test_the_server_keeps_to_its_document(
    server: Server, document: Document, pytestconfig: pytest.Config
) -> None:
    """Good and bad requests of all kinds: never a 5xx, never an answer that the document does not name.

    An input that is fine by the schema may still be refused for what it means, such as a model that
    nobody has: that is 422, and all right.
    """
    config = schemathesis.Config.from_dict(
        {
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "404", "409", "410", "422"]},
                "negative_data_rejection": {"expected-statuses": REFUSALS},
            }
        }
    )
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.config.update(base_url=server.url)

    sent: Counter[str] = Counter()

    def check(case: schemathesis.Case[Any]) -> None:
        assume(not _is_mended(case))
        sent[f"{case.method} {case.path}"] += 1
        case.call_and_validate(base_url=server.url, headers=server.headers, timeout=60)

    generate = settings(
        max_examples=pytestconfig.getoption("--examples"),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    tried = 0
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == len(list(schema.get_all_operations()))
    # What makes threads comes last: an export of thousands takes its time.
    for operation in sorted(operations, key=lambda one: one.method.upper() == "POST"):
        for mode in GenerationMode:
            try:
                generate(given(case=operation.as_strategy(generation_mode=mode))(check))()
                tried += 1
            except Unsatisfiable:  # where nothing goes in, nothing can be wrong with it
                assert mode is GenerationMode.NEGATIVE
    print(dict(sent))
    assert tried > len(document["paths"])


def _is_mended(case: schemathesis.Case[Any]) -> bool:
    """Whether what is wrong with a bad request is lost on its way: an empty list in a query is not sent."""
    is_bad = case.meta is not None and case.meta.generation.mode is GenerationMode.NEGATIVE
    return is_bad and any(value in ([], {}, None) for value in (case.query or {}).values())


def test_the_lines_of_a_stream_are_as_documented(server: Server, document: Document) -> None:
    """Each line is a document of the schema that the stream names."""
    schema = {"$ref": "#/components/schemas/StreamEvent", "components": document["components"]}
    validator = Draft202012Validator(schema)
    for model in ("fake", "reason", "error-mid", "length"):
        for line in server.lines(model=f"openai:{model}"):
            validator.validate(line)


def test_the_limit_of_the_settings_is_in_the_document(document: Document) -> None:
    """A client learns how long its input may be."""
    models = document["components"]["schemas"]
    assert models["ChatRequest"]["properties"]["message"]["maxLength"] == 10_000
    text, parts = models["StreamRequest"]["properties"]["input"]["anyOf"]
    assert (text["type"], text["maxLength"], parts["type"]) == ("string", 10_000, "array")


def test_answers_are_json_as_documented(server: Server) -> None:
    """An answer outside of ASCII is UTF-8."""
    answer: httpx.Response = server.chat("Größe \u2028", model="openai:echo")
    assert json.loads(answer.content)["response"] == "Größe \u2028"
