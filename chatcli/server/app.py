"""The application: routes from the table of operations, and the layers around them."""

from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from chatcli.server.api import Api
from chatcli.server.exchange import ExchangeLayer, exchange_of
from chatcli.server.guard import Guard
from chatcli.server.openapi import make_openapi
from chatcli.server.operations import OPERATIONS, Endpoint, Operation
from chatcli.server.problems import MethodNotAllowed, NoSuchPage, internal_error, problem_response

_STATIC = {
    "/docs": ("docs.html", "text/html"),
    "/docs/page.js": ("docs.js", "text/javascript"),
    "/docs/page.css": ("docs.css", "text/css"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'"
)
_NOT_FOUND = 404


def create_app(api: Api) -> Starlette:
    """Return the application that serves `api`."""
    app = Starlette(
        routes=[*_routes(api), *_pages(api)],
        middleware=[
            Middleware(ExchangeLayer, metrics=api.metrics, watch=api.watch),
            Middleware(
                Guard,
                tokens=api.tokens,
                hosts=api.options.hosts,
                origins=api.options.cors_origins,
                limiter=api.limiter,
                metrics=api.metrics,
            ),
        ],
        exception_handlers={HTTPException: _refuse},
    )
    # A slash too many is a mistake, and not to be sent around with a body.
    app.router.redirect_slashes = False
    return app


class _Bound:
    """An endpoint with its `Api`: what it returns is sent."""

    def __init__(self, api: Api, path: str, methods: dict[str, Endpoint]) -> None:
        self._api = api
        self._path = path
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange_of(scope).route = self._path
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        endpoint = self._methods.get(method)
        if endpoint is None:
            allowed = {*self._methods, *(("HEAD",) if "GET" in self._methods else ())}
            raise MethodNotAllowed(", ".join(sorted(allowed)))
        answer = await endpoint(self._api, Request(scope, receive))
        await answer(scope, receive, send)


def _routes(api: Api) -> list[BaseRoute]:
    found: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        found.setdefault(operation.path, {})[operation.method] = operation
    return [
        Route(path, _Bound(api, path, {name: operation.endpoint for name, operation in methods.items()}))
        for path, methods in found.items()
    ]


def _pages(api: Api) -> list[BaseRoute]:
    document = make_openapi(
        title=api.settings.project_name,
        description=api.settings.description,
        needs_token=bool(api.tokens),
        max_input_length=api.max_input_length,
    )

    async def openapi(_api: Api, _request: Request) -> Response:
        return JSONResponse(document)

    pages: dict[str, Endpoint] = {path: _page(*found) for path, found in _STATIC.items()}
    return [
        Route(path, _Bound(api, path, {"GET": page}))
        for path, page in {**pages, "/openapi.json": openapi}.items()
    ]


def _page(name: str, media_type: str) -> Callable[[Api, Request], Awaitable[ASGIApp]]:
    content = files("chatcli.server").joinpath("static", name).read_bytes()
    headers = {"content-security-policy": _POLICY, "cache-control": "max-age=3600"}

    async def page(_api: Api, _request: Request) -> Response:
        return Response(content, headers=headers, media_type=media_type)

    return page


def _refuse(request: Request, error: Exception) -> Response:
    """Answer what the router refuses."""
    status = error.status_code if isinstance(error, HTTPException) else 0
    request_id = exchange_of(request.scope).request_id
    if status == _NOT_FOUND:
        return problem_response(
            NoSuchPage("nothing is served at this path", hint="/docs shows what is"), request_id
        )
    return problem_response(internal_error(), request_id)
