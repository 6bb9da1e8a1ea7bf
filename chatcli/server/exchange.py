"""The outermost layer: a request id, an answer whatever happens, one log line, and the metrics."""

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatcli.errors import ChatcliError, Unauthorized
from chatcli.server.logs import get_logger
from chatcli.server.metrics import Metrics
from chatcli.server.problems import internal_error, problem_response
from chatcli.server.watch import Watch
from chatcli.text import new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatcli.server.body import Share
    from chatcli.server.live import LiveTurn

logger = get_logger(__name__)

NO_ROUTE = "none"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
GONE = 499
"""What is logged as the status where the client did not wait for an answer."""
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_SERVER_ERROR = 500


@dataclass(slots=True)
class Exchange:
    """One request and its answer, as they are logged."""

    request_id: str
    route: str = NO_ROUTE
    owner: str | None = None
    status: int = 0
    sent: int = 0
    """Bytes of the answer's body."""
    started: bool = False
    complete: bool = False
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Headers that every answer to this request has."""
    live: "LiveTurn | None" = None
    """The turn that the request asked for."""
    asked_at: float = field(default_factory=time.monotonic)
    texts: dict[str, str] = field(default_factory=dict)
    """The prompt, where messages are logged; the answer is added at the end."""
    share: "Share | None" = None
    """What a large body takes of the room for such."""

    def let_go(self) -> None:
        """Give the share back as soon as nothing holds the body: a turn holds its prompt."""
        share, task = self.share, None if self.live is None else self.live.task
        if share is None:
            return
        if task is None:
            share.give_back()
        else:  # soon, if it is done
            task.add_done_callback(lambda _: share.give_back())


def exchange_of(scope: Scope) -> Exchange:
    """Return the exchange that a scope belongs to."""
    exchange: Exchange = scope["chatcli.exchange"]
    return exchange


def address_of(scope: Scope) -> str:
    """Return the address of the client; ``local`` for one on a socket file."""
    client = scope.get("client")
    return str(client[0]) if client else "local"


async def cut_connection(scope: Scope, receive: Receive) -> None:
    """Cut the connection, whatever waits to be sent on it."""
    abort: Callable[[], None] | None = scope.get("chatcli.abort")
    if abort is not None:
        abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class ExchangeLayer:
    """Wraps everything: what is raised inside is answered as a problem."""

    def __init__(self, app: ASGIApp, metrics: Metrics, watch: Watch) -> None:
        self._app = app
        self._metrics = metrics
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = scope["chatcli.exchange"] = Exchange(_request_id(scope))
        exchange.headers += [
            (b"x-request-id", exchange.request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status, exchange.started = message["status"], True
                message["headers"] = [*message.get("headers", ()), *exchange.headers]
            else:
                exchange.sent += len(message.get("body", b""))
                exchange.complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except ChatcliError as error:
            if isinstance(error, Unauthorized) and _brings_token(scope):
                self._watch.token_refused(address_of(scope))
            await self._refuse(error, exchange, scope, receive, answer)
        except Exception:
            logger.exception("request broke", request_id=exchange.request_id, route=exchange.route)
            await self._refuse(internal_error(), exchange, scope, receive, answer)
        finally:
            exchange.let_go()
            self._watch.look(address_of(scope))
            self._tell(scope, exchange)

    async def _refuse(
        self, error: ChatcliError, exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if exchange.started:
            await cut_connection(scope, receive)
        else:
            await problem_response(error, exchange.request_id)(scope, receive, send)

    def _tell(self, scope: Scope, exchange: Exchange) -> None:
        seconds = time.monotonic() - exchange.asked_at
        self._metrics.count_request(scope["method"], exchange.route, exchange.status, seconds)
        fields: dict[str, Any] = {
            "request_id": exchange.request_id,
            "owner": exchange.owner,
            "method": scope["method"][:16],
            "route": exchange.route,
            "status": exchange.status,
            "bytes": exchange.sent,
            "ms": round(seconds * 1000, 1),
        }
        if not exchange.complete:
            fields["cut"] = True
        if exchange.live is not None:
            fields |= _turn_fields(exchange.live)
        if exchange.status >= _SERVER_ERROR:
            logger.warning("request", **fields)
        elif exchange.route in _QUIET:
            logger.debug("request", **fields)
        else:
            logger.info("request", **fields)
        if exchange.texts:
            if exchange.live is not None:
                exchange.texts["answer"] = exchange.live.answer
            logger.debug("messages", request_id=exchange.request_id, **exchange.texts)


def _turn_fields(live: "LiveTurn") -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if live.started is not None:
        fields |= {"thread_id": live.started.thread_id, "turn_id": live.started.turn_id}
    if live.first_token_at is not None:
        fields["first_token_ms"] = round((live.first_token_at - live.began_at) * 1000, 1)
    if live.outcome is not None:
        fields["state"] = live.outcome.state.value
        usage = getattr(live.outcome, "usage", None)
        if usage is not None:
            fields |= {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    return fields


def _brings_token(scope: Scope) -> bool:
    return any(name in {b"authorization", b"x-api-key"} for name, _ in scope["headers"])


def _request_id(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return str(given[0], "ascii")
    return new_id()
