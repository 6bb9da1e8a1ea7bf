"""What the routes read from a request, and how they answer: checked, or refused with the place named."""

import re

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from chatcli.errors import InvalidRequest
from chatcli.server import schemas
from chatcli.server.api import Api
from chatcli.server.body import MAX_BYTES, Share, read_model, validate
from chatcli.server.exchange import address_of, exchange_of
from chatcli.server.problems import BadRequest
from chatcli.service import ChatService
from chatcli.service.auditing import Actor
from chatcli.service.requests import check_key
from chatcli.text import check_thread_id

ANYBODY = "anybody"
"""Who acts on a server that wants no token, as the audit calls them."""

_EVENT = re.compile(schemas.EVENT_NUMBER)


def find_owner(request: Request) -> str:
    """Return whose threads the request is about."""
    owner = exchange_of(request.scope).owner
    if owner is None:
        raise RuntimeError("a route for everybody asked for an owner")
    return owner


def find_service(api: Api, request: Request) -> ChatService:
    """Return the owner's service, as the client uses it."""
    owner = find_owner(request)
    actor = Actor(owner if api.tokens else ANYBODY, "serve", address_of(request.scope))
    return api.service(owner).acting(actor)


def find_place(api: Api, request: Request) -> tuple[ChatService, str]:
    """Return the owner's service, as the client uses it, and the thread that the path names."""
    return find_service(api, request), check_thread_id(request.path_params["thread_id"])


async def read_body(
    api: Api, request: Request, model: type[schemas.Asked], *, limit: int = MAX_BYTES
) -> schemas.Asked:
    """Return the request's body, of at most `limit` bytes, as a `model`."""
    exchange = exchange_of(request.scope)
    if limit > MAX_BYTES:
        exchange.share = Share(api.room)
    return await read_model(
        model,
        request.scope,
        request.receive,
        seconds=api.options.receive,
        limit=limit,
        share=exchange.share,
    )


def read_query(request: Request, model: type[schemas.Asked]) -> schemas.Asked:
    """Return the query's parameters as a `model`."""
    pairs = request.query_params.multi_items()
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadRequest("a parameter is given twice")
    return validate(model, found)


def read_key(request: Request) -> str | None:
    """Return the idempotency key, if there is one."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1:
        raise BadRequest("Idempotency-Key is given twice")
    try:
        return check_key(given[0])
    except InvalidRequest as error:
        raise BadRequest(error.message) from None


def read_event_id(request: Request) -> int | None:
    """Return the number of the event that a reader of server-sent events had last."""
    given = request.headers.get("last-event-id")
    if given is None:
        return None
    if not _EVENT.fullmatch(given):
        raise BadRequest("Last-Event-ID is no number of an event")
    return int(given)


def accepts(request: Request, media_type: str) -> bool:
    """Whether the client names `media_type` itself; ``*/*`` is no wish."""
    ranges = ",".join(request.headers.getlist("accept")).lower().split(",")
    return any(part.partition(";")[0].strip() == media_type for part in ranges)


def answer_with(document: BaseModel, *, status: int = 200) -> Response:
    """Return the answer that holds a document."""
    return Response(
        document.model_dump_json(),
        status,
        media_type="application/json",
        headers={"cache-control": "no-store"},
    )
