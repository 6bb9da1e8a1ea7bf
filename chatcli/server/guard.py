"""Who may come in: Host, Origin, token, content type, and how often. Nothing of a body is read here."""

import hashlib
import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chatcli.errors import ChatcliError, ForbiddenOrigin, RateLimited, Unauthorized
from chatcli.models import LOCAL_OWNER
from chatcli.server.body import check_media_type
from chatcli.server.exchange import Exchange, address_of, exchange_of
from chatcli.server.limiter import ClientLimiter, Verdict
from chatcli.server.metrics import Metrics
from chatcli.server.problems import BadRequest, HeadTooLarge

if TYPE_CHECKING:
    from chatcli.config import ApiToken

MAX_HEAD = 16 * 1024
OPEN_PATHS = frozenset(
    {"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/page.js", "/docs/page.css", "/favicon.ico"}
)
"""Paths that need no token: nothing of anybody's is behind them."""
UNCOUNTED_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
_METHODS = b"GET, POST, PUT, PATCH, DELETE"
_HEADERS = b"authorization, content-type, idempotency-key, last-event-id, x-api-key, x-request-id"
_EXPOSED = b"ratelimit, ratelimit-policy, retry-after, x-request-id"


@dataclass(frozen=True, slots=True)
class _Token:
    owner: str
    digest: bytes


class Guard:
    """Lets a request through with its owner, or refuses it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: "Sequence[ApiToken]",
        hosts: Collection[str],
        origins: Collection[str],
        limiter: ClientLimiter,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._tokens = [_Token(token.owner, _digest(token.secret.reveal().encode())) for token in tokens]
        self._hosts = frozenset(hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._limiter = limiter
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or raise why it is refused."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        try:
            preflight = await self._admit(scope, exchange)
        except ChatcliError as refusal:
            self._metrics.refusals.labels(refusal.name).inc()
            raise
        if preflight:
            await Response(status_code=204, headers={"access-control-max-age": "600"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _admit(self, scope: Scope, exchange: Exchange) -> bool:
        """Return whether this is a preflight request, which is answered here."""
        headers, path = Headers(scope=scope), scope["path"]
        address = address_of(scope)
        try:
            host = self._check_head(scope, headers)
            preflight = self._check_origin(headers, host, scope["method"], exchange)
            if preflight:
                return True
            owner = None if path in OPEN_PATHS else self._find_owner(headers)
        except ChatcliError:
            self._apply(await self._ask(None, address, path), exchange)
            raise
        exchange.owner = owner
        # With no token at all everybody is the same owner, and addresses tell clients apart.
        self._apply(await self._ask(owner if self._tokens else None, address, path), exchange)
        if scope["method"] == "POST":
            check_media_type(headers)
        return False

    async def _ask(self, owner: str | None, address: str, path: str) -> Verdict:
        return await self._limiter.check(owner=owner, address=address, count=path not in UNCOUNTED_PATHS)

    def _apply(self, verdict: Verdict, exchange: Exchange) -> None:
        exchange.headers += verdict.headers()
        if not verdict.allowed:
            raise RateLimited(
                f"more than {verdict.limit} requests in {verdict.window} seconds",
                hint="wait, or raise CHATCLI_CLIENT_RATE on the server",
                retry_after=max(1, verdict.reset),
            )

    def _check_head(self, scope: Scope, headers: Headers) -> str:
        """Return the Host in lower case, with its port."""
        size = len(scope.get("raw_path") or b"") + len(scope.get("query_string", b""))
        if size + sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > MAX_HEAD:
            raise HeadTooLarge(f"the head of the request has more than {MAX_HEAD} bytes")
        coding = headers.getlist("transfer-encoding")
        if coding and ("content-length" in headers or [it.strip().lower() for it in coding] != ["chunked"]):
            # Who stands before us may see the end of the body, and the next request, somewhere else.
            exchange_of(scope).headers.append((b"connection", b"close"))
            raise BadRequest("it is not certain where the body ends", hint="send one length, or plain chunks")
        given = headers.getlist("host")
        if len(given) != 1:
            raise BadRequest("the request must have exactly one Host header")
        name, port = _split_host(given[0].lower())
        if name not in self._hosts or not ((port.isascii() and port.isdigit()) or not port):
            raise BadRequest(
                "the Host header names no host of this server",
                hint="chatcli serve --allow-host NAME adds one",
            )
        return given[0].lower()

    def _check_origin(self, headers: Headers, host: str, method: str, exchange: Exchange) -> bool:
        """Refuse pages of other origins; return whether this is the preflight request of an allowed one."""
        given = headers.getlist("origin")
        origin = given[0].lower() if given else ""
        if len(given) == 1 and origin in self._origins:
            exchange.headers += [
                (b"access-control-allow-origin", given[0].encode("latin-1")),
                (b"access-control-expose-headers", _EXPOSED),
                (b"vary", b"Origin"),
            ]
            if method == "OPTIONS" and "access-control-request-method" in headers:
                exchange.headers += [
                    (b"access-control-allow-methods", _METHODS),
                    (b"access-control-allow-headers", _HEADERS),
                ]
                return True
            return False
        own = origin in {f"http://{host}", f"https://{host}"}
        sites = {site.strip().lower() for site in headers.getlist("sec-fetch-site")}
        if (given and not (own and len(given) == 1)) or "cross-site" in sites:
            raise ForbiddenOrigin(
                "pages of other origins may not call this server",
                hint="chatcli serve --cors-origin ORIGIN allows one",
            )
        return False

    def _find_owner(self, headers: Headers) -> str:
        if not self._tokens:
            return LOCAL_OWNER
        given = _token_of(headers)
        found: str | None = None
        for token in self._tokens:  # all of them, so that time tells nothing
            if hmac.compare_digest(given, token.digest):
                found = token.owner
        if found is None:
            raise Unauthorized(
                "the token is missing or wrong",
                hint="send it as Authorization: Bearer TOKEN, or as X-API-Key",
            )
        return found


def _token_of(headers: Headers) -> bytes:
    """Return the digest of the client's token; of what can't be one, that of nothing."""
    given = headers.getlist("authorization")
    keys = headers.getlist("x-api-key")
    if len(given) == 1 and not keys:
        scheme, _, token = given[0].partition(" ")
        if scheme.lower() == "bearer":
            return _digest(token.strip().encode("latin-1"))
    if len(keys) == 1 and not given:
        return _digest(keys[0].encode("latin-1"))
    return _digest(b"")


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _split_host(host: str) -> tuple[str, str]:
    """Return name and port of a Host header; the name without the brackets of an IPv6 address."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, rest.removeprefix(":") if rest.startswith(":") or not rest else "?"
    name, colon, port = host.partition(":")
    return name.removesuffix("."), port if port or not colon else "?"
