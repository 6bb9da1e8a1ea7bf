"""Requests to one server over the wire's own connections: documents come back, or errors."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from chatcli import __version__
from chatcli.errors import ChatcliError, ProviderProtocol, RateLimited, ServerUnavailable, Unauthorized
from chatcli.providers.wire import open_connections
from chatcli.providers.wire.connection import Connections, NothingCame, Response, Untrusted
from chatcli.providers.wire.framing import ConnectionFailed
from chatcli.service.remote.documents import NOT_AS_EXPECTED, read_problem

if TYPE_CHECKING:
    from chatcli.config import Settings

logger = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds that a request waits at most until its server takes more requests."""
SLOWEST = 128 * 1024
"""Bytes a second that a large request may take to be sent, beyond what every request may take."""
_UNIX = "unix"
_NO_CONTENT = 204
_ERROR_LIMIT = 64 * 1024
_DOCUMENT_LIMIT = 1 << 30

T = TypeVar("T")
_NOTHING: Mapping[str, str | int | None] = MappingProxyType({})


class Client:
    """One server, and the token that is for it; no redirect is followed."""

    def __init__(self, settings: "Settings") -> None:
        assert settings.server is not None  # noqa: S101 - who has no server makes no client
        self.url = settings.server
        self.timeouts = settings.timeouts
        self.on_limit: Callable[[float], object] = lambda _seconds: None
        """Called before the seconds are waited that the server's limit on requests asks for."""
        self._token = settings.server_token
        self._token_origin = None if settings.api_token is None else settings.origin("CHATCLI_API_TOKEN")
        scheme, _, rest = self.url.partition("://")
        if scheme == _UNIX:
            self._authority, self._base = "localhost", ""
            self._connections = Connections(
                "", 0, open_tls=None, connect_timeout=self.timeouts.connect, socket_file=rest
            )
        else:
            self._authority, slash, path = rest.partition("/")
            self._base = slash + path
            self._connections = open_connections(
                scheme, self._authority, settings.network, connect_timeout=self.timeouts.connect
            )

    async def get(
        self, path: str, read: Callable[[Any], T], query: Mapping[str, str | int | None] = _NOTHING
    ) -> T:
        """Return what `read` makes of the document at a path; None in the query means nothing."""
        from urllib.parse import urlencode

        given = {name: value for name, value in query.items() if value is not None}
        return await self.ask("GET", f"{path}?{urlencode(given)}" if given else path, read)

    async def ask(self, method: str, path: str, read: Callable[[Any], T], body: object = None) -> T:
        """Make a request, and return what `read` makes of the document that is the answer."""
        document = await self.call(method, path, body)
        try:
            return read(document)
        except NOT_AS_EXPECTED:
            pass
        raise self.stranger()

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Make a request, and return the document that is the answer."""
        data = _encode(body)
        seconds = self.timeouts.first_token + len(data or b"") / SLOWEST
        try:
            async with await self.send(method, path, data, seconds=seconds) as response:
                async with asyncio.timeout(seconds):
                    data = await response.read_up_to(_DOCUMENT_LIMIT)
                response.release()
                return None if response.status == _NO_CONTENT else json.loads(data)
        except TimeoutError:
            raise self.too_slow(seconds) from None
        except ConnectionFailed:
            raise self.lost() from None
        except NOT_AS_EXPECTED:
            raise self.stranger() from None

    async def lines(self, method: str, path: str, body: object = None) -> AsyncGenerator[bytes]:
        """Make a request, and yield the lines of the answer; who stops reading hangs up."""
        seconds = self.timeouts.first_token
        try:
            async with await self.send(method, path, _encode(body), seconds=seconds) as response:
                held: list[bytes] = []
                while True:
                    async with asyncio.timeout(seconds):
                        data = await response.read()
                    if not data:
                        break
                    first, *rest = data.split(b"\n")
                    held.append(first)
                    for piece in rest:
                        yield b"".join(held)
                        held = [piece]
                response.release()
        except TimeoutError:
            raise self.too_slow(seconds) from None
        except ConnectionFailed:
            raise self.lost() from None

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float | None = None,
    ) -> Response:
        """Send a request and return the response to it, which is a success.

        Where the server takes no more requests for now, it is sent again when it does, but for
        `PATIENCE` seconds at most. The head of the response may take `seconds`.

        Raises:
            ServerUnavailable: there was no connection, or no answer.
            ProviderProtocol: what answered is no server of ours.
            TimeoutError: no head came in time.
            The error of the server's problem document.
        """
        request = self._compose(method, path, body, headers or {})
        patience = PATIENCE
        while True:
            try:
                async with asyncio.timeout(seconds):
                    return await self._send(request)
            except RateLimited as error:
                if error.retry_after is None or error.retry_after > patience:
                    raise
                pause = max(1.0, error.retry_after)
            patience -= pause
            self.on_limit(pause)
            await asyncio.sleep(pause)

    async def _send(self, request: bytes) -> Response:
        try:
            response = await self._connections.send(request)
        except NothingCame:
            raise self.lost() from None
        except Untrusted:
            raise self._untrusted() from None
        except ConnectionFailed:
            raise ServerUnavailable(
                f"the server at {self.url} can't be reached",
                hint="is it running there? it is reached without a proxy; chatcli serve starts one",
            ) from None
        if 200 <= response.status < 300:  # noqa: PLR2004 - HTTP
            return response
        async with response:
            raise await self._read_problem(response)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    def lost(self) -> ChatcliError:
        """Return the error for a connection that ended too early."""
        return ServerUnavailable(
            f"the server at {self.url} hung up without an answer", hint="look into its log, or try again"
        )

    def too_slow(self, seconds: float) -> ChatcliError:
        """Return the error for an answer that did not come in time."""
        return ServerUnavailable(f"the server at {self.url} did not answer within {seconds:g} seconds")

    def stranger(self) -> ChatcliError:
        """Return the error for an answer that no server of ours gives."""
        return ProviderProtocol(
            f"what answers at {self.url} is no chatcli server, or of another version",
            hint="check --server or CHATCLI_SERVER",
        )

    def _untrusted(self) -> ChatcliError:
        return ServerUnavailable(
            f"the certificate of {self.url} is not trusted, or is for another name",
            hint="check the name; SSL_CERT_FILE names the certificate of an authority of your own",
        )

    async def _read_problem(self, response: Response) -> ChatcliError:
        error: ChatcliError | None = None
        try:
            error = read_problem(json.loads(await response.read_up_to(_ERROR_LIMIT)))
            response.release()
        except (ConnectionFailed, *NOT_AS_EXPECTED) as failure:
            logger.debug("an answer %s could not be read: %s", response.status, type(failure).__name__)
        if isinstance(error, Unauthorized):
            error.hint = self._token_hint()
        return error or self.stranger()

    def _token_hint(self) -> str:
        if self._token is not None:
            return "CHATCLI_API_TOKEN is none of the server's tokens"
        if self._token_origin is not None:
            return (
                f"CHATCLI_API_TOKEN of {self._token_origin} was set for another server, and was not sent; "
                "set it in the environment"
            )
        return "set CHATCLI_API_TOKEN to a token of the server"

    def _compose(self, method: str, path: str, body: bytes | None, more: Mapping[str, str]) -> bytes:
        headers = {
            "host": self._authority,
            "connection": "keep-alive",
            "accept-encoding": "identity",
            "user-agent": f"chatcli/{__version__}",
            **more,
        }
        if body is not None:
            headers |= {"content-type": "application/json", "content-length": str(len(body))}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token.reveal()}"
        lines = [
            f"{method} {self._base}{path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def _encode(body: object) -> bytes | None:
    """Return a body as it is sent; bytes are JSON already."""
    return body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
