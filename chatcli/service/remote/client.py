"""Requests to one server over the wire's own connections: documents come back, or errors."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from chatcli import __version__
from chatcli.errors import ChatcliError, ProviderProtocol, ServerUnavailable, Unauthorized
from chatcli.providers.wire import open_connections
from chatcli.providers.wire.connection import Connections, NothingCame, Response
from chatcli.providers.wire.framing import ConnectionFailed
from chatcli.service.remote.documents import NOT_AS_EXPECTED, read_problem

if TYPE_CHECKING:
    from chatcli.config import Settings

logger = logging.getLogger(__name__)

_UNIX = "unix"
_NO_CONTENT = 204
_ERROR_LIMIT = 64 * 1024
_DOCUMENT_LIMIT = 1 << 30

T = TypeVar("T")


class Client:
    """One server, and the token that is for it; no redirect is followed."""

    def __init__(self, settings: "Settings") -> None:
        assert settings.server is not None  # noqa: S101 - who has no server makes no client
        self.url = settings.server
        self.timeouts = settings.timeouts
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
        self,
        path: str,
        read: Callable[[Any], T],
        query: Mapping[str, str | int | None] = MappingProxyType({}),
    ) -> T:
        """Return what `read` makes of the document at a path; None in the query means nothing."""
        from urllib.parse import urlencode

        given = {name: value for name, value in query.items() if value is not None}
        document = await self.call("GET", f"{path}?{urlencode(given)}" if given else path)
        try:
            return read(document)
        except NOT_AS_EXPECTED:
            pass
        raise self.stranger()

    async def call(self, method: str, path: str) -> Any:
        """Make a request without a body, and return the document that is the answer."""
        try:
            async with (
                asyncio.timeout(self.timeouts.first_token),
                await self.send(method, path) as response,
            ):
                data = await response.read_up_to(_DOCUMENT_LIMIT)
                response.release()
                return None if response.status == _NO_CONTENT else json.loads(data)
        except TimeoutError:
            raise self.too_slow(self.timeouts.first_token) from None
        except ConnectionFailed:
            raise self.lost() from None
        except NOT_AS_EXPECTED:
            raise self.stranger() from None

    async def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request and return the response to it, which is a success.

        Raises:
            ServerUnavailable: there was no connection, or no answer.
            ProviderProtocol: what answered is no server of ours.
            The error of the server's problem document.
        """
        try:
            response = await self._connections.send(self._compose(method, path, body, headers or {}))
        except NothingCame:
            raise self.lost() from None
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
