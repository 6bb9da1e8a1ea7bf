"""The application: routes from the table of operations, and the layers around them."""

from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from chatcli.server.api import Api
from chatcli.server.exchange import ExchangeLayer, exchange_of
from chatcli.server.guard import Guard
from chatcli.server.openapi import make_openapi
from chatcli.server.operations import OPERATIONS, Endpoint, Operation
from chatcli.server.problems import MethodNotAllowed, NoSuchPage

_STATIC = {
    "/docs": ("docs.html", "text/html"),
    "/docs/page.js": ("docs.js", "text/javascript"),
    "/docs/page.css": ("docs.css", "text/css"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'"
)


def create_app(api: Api) -> ASGIApp:
    """Return the application that serves `api`.

    Not a `Starlette`: what it wraps around the routes we have in layers of our own, and each layer costs
    something for every piece that is sent.
    """
    # A slash too many is a mistake, and not to be sent around with a body.
    routes = Router([*_routes(api), *_pages(api)], redirect_slashes=False, default=_refuse)
    guard = Guard(
        routes,
        tokens=api.tokens,
        hosts=api.options.hosts,
        origins=api.options.cors_origins,
        limiter=api.limiter,
        metrics=api.metrics,
    )
    return ExchangeLayer(guard, metrics=api.metrics, watch=api.watch)


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


async def _refuse(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Refuse what no route is for."""
    raise NoSuchPage("nothing is served at this path", hint="/docs shows what is")
