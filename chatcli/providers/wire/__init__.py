"""The fast engine: chat completions over plain HTTP/1.1, with no library but the standard one.

It costs a tenth of the imports of the LangChain engines and a few microseconds a token, and does what
they do: same requests, same deltas, same errors. What it can't (proxies, traces, addresses that need
encoding) they still carry; `chatcli.providers.find_engine` decides.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from chatcli import __version__
from chatcli.errors import ChatcliError
from chatcli.models import Message, ModelOptions
from chatcli.providers.base import Delta
from chatcli.providers.faults import Faults
from chatcli.providers.transport import ERROR_LIMIT, LINE_LIMIT
from chatcli.providers.wire.chat import DeltaReader, compose_body
from chatcli.providers.wire.connection import Connections, ConnectTimeout, Response
from chatcli.providers.wire.framing import ConnectionFailed

if TYPE_CHECKING:
    from ssl import SSLContext

    from chatcli.config import Network
    from chatcli.providers import Target

logger = logging.getLogger(__name__)

_PORTS = {"http": 80, "https": 443}
_OURS = frozenset({"connection", "content-length", "transfer-encoding"})
"""Headers that say how a message is sent, which no setting changes."""


class WireProvider:
    """A server that speaks chat completions, as a `chatcli.providers.base.Provider`."""

    engine = "wire"

    def __init__(self, target: "Target", network: "Network") -> None:
        self._target = target
        self._faults = Faults(
            target.spec.provider,
            target.spec.model,
            has_key=target.key is not None,
            key_hint=target.key_hint,
        )
        scheme, _, rest = target.api_url.partition("://")
        self._authority, slash, path = rest.partition("/")
        self._path = slash + path
        self._connections = open_connections(
            scheme, self._authority, network, connect_timeout=target.timeouts.connect
        )

    @property
    def spec(self) -> str:
        """The model as the user names it."""
        return str(self._target.spec)

    @property
    def sends_finish_reason(self) -> bool:
        """Whether a clean end of the stream with no finish reason means a cut answer."""
        return self._target.row.sends_finish_reason

    async def stream(
        self, messages: Sequence[Message], options: ModelOptions
    ) -> AsyncGenerator[Sequence[Delta]]:
        """Ask once and yield the answer as it arrives; see `Provider.stream`."""
        failure: ChatcliError | None = None
        try:
            body = compose_body(self._target, messages, options)
            async with await self._send("POST", "/chat/completions", body) as response:
                reader = DeltaReader()
                while not reader.over and (data := await response.read()):
                    if came := reader.feed(data):
                        yield came
                if reader.failure is None:
                    response.release()
                else:
                    failure = self._translate(reader.failure)
        except Exception as error:  # noqa: BLE001 - the gate: nothing foreign may pass
            failure = self._translate(error)
        if failure is not None:
            # Out here, for inside the handler the foreign error would become its context.
            raise failure

    async def models(self) -> Sequence[str]:
        """Return the names of the models that the provider offers, sorted."""
        failure: ChatcliError
        try:
            async with asyncio.timeout(self._target.timeouts.first_token):
                async with await self._send("GET", "/models") as response:
                    page = json.loads(await response.read_up_to(LINE_LIMIT))
                    response.release()
            return sorted(str(item["id"]) for item in page["data"])
        except TimeoutError:
            failure = self._faults.silent(self._target.timeouts.first_token)
        except Exception as error:  # noqa: BLE001 - the gate
            failure = self._translate(error)
        raise failure

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    async def _send(self, method: str, path: str, body: bytes | None = None) -> Response:
        """Send a request and return the response to it, which is a success."""
        response = await self._connections.send(self._compose(method, path, body))
        if 200 <= response.status < 300:  # noqa: PLR2004 - HTTP
            return response
        async with response:
            try:
                page = json.loads(await response.read_up_to(ERROR_LIMIT))
                response.release()
            except (ConnectionFailed, ValueError, RecursionError):
                page = None
            raise self._faults.status(response.status, response.headers, page)

    def _compose(self, method: str, path: str, body: bytes | None) -> bytes:
        target = self._target
        headers = {
            "host": self._authority,
            "connection": "keep-alive",
            "accept": "application/json",
            # Tokens are not to wait for a full block of compressed bytes.
            "accept-encoding": "identity",
            "user-agent": f"chatcli/{__version__}",
        }
        if body is not None:
            headers |= {"content-type": "application/json", "content-length": str(len(body))}
        own = {name.lower(): value for name, value in target.headers.items()}
        headers |= {name: value for name, value in own.items() if name not in _OURS}
        if target.key is not None:
            headers["authorization"] = f"Bearer {target.key.reveal()}"
        lines = [
            f"{method} {self._path}{path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")

    def _translate(self, error: Exception) -> ChatcliError:
        if isinstance(error, ChatcliError):
            return error
        if isinstance(error, ConnectTimeout):
            return self._faults.connect_timeout()
        if isinstance(error, ConnectionFailed):
            return self._faults.unreachable()
        # Its name alone: its text may be the provider's.
        logger.debug("an answer of %s could not be read: %s", self.spec, type(error).__name__)
        return self._faults.protocol()


def open_connections(
    scheme: str, authority: str, network: "Network", *, connect_timeout: float
) -> Connections:
    """Return connections to the origin of a URL; none is made before it is needed."""
    host, port = _split(authority)
    return Connections(
        host,
        port or _PORTS[scheme],
        open_tls=partial(_open_tls, network) if scheme == "https" else None,
        connect_timeout=connect_timeout,
    )


def _split(authority: str) -> tuple[str, int | None]:
    """Return host and port of an authority without a user; an IPv6 address stands in brackets."""
    if authority.startswith("["):
        host, _, port = authority[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = authority.partition(":")
    return host, int(port) if port else None


def _open_tls(network: "Network") -> "SSLContext":
    from chatcli.providers.wire.tls import open_context

    return open_context(network.ca_file, network.ca_directory)
