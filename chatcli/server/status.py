"""The routes about the server itself: what it is, how it is, what it counts."""

from starlette.requests import Request
from starlette.responses import Response

from chatcli import __version__
from chatcli.errors import ServerStopping, StoreUnavailable
from chatcli.server import schemas
from chatcli.server.api import Api
from chatcli.server.metrics import MEDIA_TYPE
from chatcli.server.requests import answer_with, find_owner, read_query
from chatcli.text import check_thread_id


async def info(api: Api, request: Request) -> Response:
    """Say what this is and what it can do."""
    del request
    settings = api.settings
    return answer_with(
        schemas.Info(
            service=schemas.Service(
                name=settings.project_name, description=settings.description, version=__version__
            ),
            features={
                "streaming": True,
                "persistence": not settings.store.startswith("memory:"),
                "thread_management": True,
                "search": True,
                "idempotency": True,
                "pictures": True,
                "transfer": True,
                "stream_attachment": True,
                "authentication": bool(api.tokens),
            },
            endpoints={
                "stream": "/chat/stream",
                "chat": "/chat",
                "chat_history": "/chat/history/{thread_id}",
                "threads": "/threads",
                "thread": "/threads/{id}",
                "rename_thread": "/threads/{id}",
                "fork_thread": "/threads/{id}/fork",
                "undo_turns": "/threads/{id}/undo",
                "save_turn": "/threads/{id}/turns/{turn_id}/save",
                "cleanup": "/cleanup",
                "export": "/export",
                "import": "/import",
                "models": "/models",
                "thread_history": "/threads/{id}/history",
                "attach_stream": "/threads/{id}/turns/{turn_id}/stream",
                "clear_thread": "/threads/{id}/clear",
                "archive_thread": "/threads/{id}/archive",
                "restore_thread": "/threads/{id}/archive",
                "delete_thread": "/threads/{id}",
                "health": "/healthz",
                "readiness": "/readyz",
                "metrics": "/metrics",
                "openapi": "/openapi.json",
                "docs": "/docs",
            },
        )
    )


async def models(api: Api, request: Request) -> Response:
    """Say which model a turn would ask, and what there is to choose from."""
    query = read_query(request, schemas.ModelsQuery)
    service = api.service(find_owner(request))
    thread = None if query.thread_id is None else await service.thread(check_thread_id(query.thread_id))
    model = await service.find_model(query.model, thread)
    offered = [*await service.models(model)] if query.offered == "true" else None
    names = [*await service.model_names()]
    return answer_with(
        schemas.Models(model=model, names=names, offered=offered, context_messages=service.context_messages)
    )


async def health(api: Api, request: Request) -> Response:
    """Say that the process answers."""
    del api, request
    return answer_with(schemas.Health(status="ok"))


async def ready(api: Api, request: Request) -> Response:
    """Say whether the store answers and turns are taken."""
    del request
    if await api.is_ready():
        return answer_with(schemas.Health(status="ready"))
    if api.turns.draining:
        raise ServerStopping("the server is about to stop", retry_after=1.0)
    raise StoreUnavailable("the store does not answer", retry_after=1.0)


async def metrics(api: Api, request: Request) -> Response:
    """Show the metrics."""
    del request
    return Response(api.metrics.show(), media_type=MEDIA_TYPE)
