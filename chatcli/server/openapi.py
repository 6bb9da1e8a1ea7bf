"""The OpenAPI 3.1 document, made from the table of operations and the models that validate."""

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from pydantic.json_schema import models_json_schema

from chatcli import __version__
from chatcli.server import schemas
from chatcli.server.operations import EVERYWHERE, OPERATIONS, Operation
from chatcli.server.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from pydantic import BaseModel

_REF = "#/components/schemas/{model}"
_HEADERS = ("X-Request-ID", "RateLimit", "RateLimit-Policy")
_PARAMETERS: dict[str, dict[str, Any]] = {
    "thread_id": {"pattern": schemas.THREAD_ID},
    "turn_id": {"minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9-]+$"},
}


def make_openapi(*, title: str, description: str, needs_token: bool, max_input_length: int) -> dict[str, Any]:
    """Return the document for a server with these settings."""
    shown: dict[tuple[type[BaseModel], Literal["validation", "serialization"]], None] = {}
    for operation in OPERATIONS:
        if operation.body is not None:
            shown[operation.body, "validation"] = None
        if operation.answer is not None:
            shown[operation.answer, "serialization"] = None
    shown[schemas.Problem, "serialization"] = None
    _, definitions = models_json_schema(list(shown), ref_template=_REF)
    models = definitions["$defs"]
    for model, field in (("StreamRequest", "input"), ("ChatRequest", "message")):
        found = models[model]["properties"][field]
        text = next(kind for kind in found.get("anyOf", [found]) if kind["type"] == "string")
        text["maxLength"] = max_input_length
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "description": description, "version": __version__},
        "paths": {},
        "components": {
            "schemas": models,
            "headers": {name: {"schema": {"type": "string"}} for name in _HEADERS},
        },
    }
    if needs_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for operation in OPERATIONS:
        path = document["paths"].setdefault(operation.path, {})
        path[operation.method.lower()] = _describe(operation, needs_token=needs_token)
    return document


def _describe(operation: Operation, *, needs_token: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": {str(operation.status): _success(operation)},
    }
    if operation.may_be_empty:
        found["responses"]["204"] = _response("There is nothing more to read")
    secured = needs_token and not operation.is_open
    if secured:
        found["security"] = [{"token": []}]
    for status in sorted({*EVERYWHERE, *operation.problems, *((401,) if secured else ())}):
        found["responses"][str(status)] = _response(
            HTTPStatus(status).phrase, {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
        )
    if parameters := _parameters(operation):
        found["parameters"] = parameters
    if operation.body is not None:
        schema = {"$ref": _REF.format(model=operation.body.__name__)}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found


def _success(operation: Operation) -> dict[str, Any]:
    if operation.answer is None:
        if operation.status == HTTPStatus.NO_CONTENT:
            return _response("It is gone")
        return _response("Text", {operation.media_type: {"schema": {"type": "string"}}})
    reference = {"$ref": _REF.format(model=operation.answer.__name__)}
    if operation.is_stream:
        # One document of the schema is one line, or the data of one event.
        text = {"schema": {"type": "string"}, "x-event-schema": reference}
        return _response("Lines or events, one at a time", dict.fromkeys(operation.formats, text))
    return _response("Done", {operation.media_type: {"schema": reference}})


def _response(description: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS}
    found: dict[str, Any] = {"description": description, "headers": headers}
    if content is not None:
        found["content"] = content
    return found


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", **_PARAMETERS[name]}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    if operation.query is not None:
        schema = operation.query.model_json_schema()
        found += [
            {"name": name, "in": "query", "required": False, "schema": _not_null(field)}
            for name, field in schema["properties"].items()
        ]
    if operation.has_key:
        found.append(_header("Idempotency-Key", "^[!-~]{1,255}$"))
    if operation.query is schemas.StreamQuery:
        found.append(_header("Last-Event-ID", schemas.EVENT_NUMBER))
    return found


def _header(name: str, pattern: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": pattern}
    return {"name": name, "in": "header", "required": False, "schema": schema}


def _not_null(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that may be left out, but can't be null."""
    kinds = [kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"]
    rest = {name: value for name, value in field.items() if name not in ("anyOf", "default", "title")}
    default: dict[str, Any] = {} if field.get("default") is None else {"default": field["default"]}
    kind: dict[str, Any] = kinds[0] if kinds else {}
    return {**rest, **default, **kind}
