"""The routes for many threads at once: cleaned up, exported, imported."""

import time
from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response

from chatcli.errors import ChatcliError, InvalidRequest
from chatcli.models import format_time, utc_now
from chatcli.server import schemas
from chatcli.server.api import Api
from chatcli.server.exchange import exchange_of
from chatcli.server.lines import LineStream, write_line
from chatcli.server.problems import problem
from chatcli.server.requests import answer_with, find_service, read_body
from chatcli.service import ChatService
from chatcli.service.transfer.lines import Export
from chatcli.stores.base import Expiry


async def cleanup(api: Api, request: Request) -> LineStream:
    """Remove threads that were not used for long, and tell of each step."""
    asked = await read_body(api, request, schemas.CleanupRequest)
    return LineStream(_clean_up(api, find_service(api, request), asked))


async def export(api: Api, request: Request) -> LineStream:
    """Write all threads as `chatcli export` does, least recently used first."""
    return LineStream(_export(find_service(api, request)))


async def import_threads(api: Api, request: Request) -> Response:
    """Write threads of an export; what is there already stays as it is."""
    asked = await read_body(api, request, schemas.ImportRequest, limit=api.options.max_body_bytes)
    service = find_service(api, request)
    request_id = exchange_of(request.scope).request_id
    threads = map(schemas.read_imported, asked.threads)
    found = [
        _tell(thread.id, outcome, request_id)
        async for thread, outcome in service.import_threads(threads, dry_run=asked.dry_run)
    ]
    return answer_with(schemas.ImportAnswer(threads=found))


async def _clean_up(api: Api, service: ChatService, asked: schemas.CleanupRequest) -> AsyncGenerator[str]:
    now, before = utc_now(), schemas.read_moment(asked.before)
    if before > now:
        raise InvalidRequest(
            f"{format_time(before)} is in the future: the server's clock says {format_time(now)}",
            hint="give a moment that has been",
        )
    expiry = Expiry(before, archived_only=asked.archived_only, keep=asked.keep)
    began = time.monotonic()
    scanned = removed = busy = freed = 0
    steps = service.cleanup(expiry, now=now, dry_run=asked.dry_run, force_clock=asked.force_clock)
    async for step in steps:
        scanned, freed = scanned + step.scanned, freed + step.freed
        removed, busy = removed + len(step.removed), busy + len(step.busy)
        if not asked.dry_run:
            for thread in step.removed:
                api.turns.forget(service.owner, thread.id)
        yield write_line(
            {
                "type": "step",
                "scanned": step.scanned,
                "removed": [thread.to_json() for thread in step.removed],
                "busy": [*step.busy],
                "bytes_freed": step.freed,
            }
        )
    yield write_line(
        {
            "type": "receipt",
            "dry_run": asked.dry_run,
            "before": format_time(before),
            "scanned": scanned,
            "removed": removed,
            "busy": busy,
            "bytes_freed": freed,
            "seconds": round(time.monotonic() - began, 3),
        }
    )


async def _export(service: ChatService) -> AsyncGenerator[str]:
    sheet = Export()
    # Nothing is written before the store has answered: it may be unreadable.
    head = sheet.header()
    async for thread, turns in service.export():
        yield head + sheet.line(thread, turns)
        head = ""
    yield head + sheet.trailer()


def _tell(thread_id: str, outcome: bool | ChatcliError, request_id: str) -> schemas.Import:  # noqa: FBT001
    if isinstance(outcome, ChatcliError):
        error = schemas.Problem.model_validate(problem(outcome, request_id))
        return schemas.Import(thread_id=thread_id, action=None, error=error)
    return schemas.Import(thread_id=thread_id, action="import" if outcome else "keep")
