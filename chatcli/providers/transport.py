"""The HTTP client under the engines: it alone knows the key, and sees to it what goes out and comes in.

SDKs add headers of their own accord, from variables of the environment too
(``OPENAI_CUSTOM_HEADERS``, ``OPENAI_ORG_ID``, …), and put keys into what they log and raise. So
they are built with a placeholder, and the headers of each request are made here.
"""

from collections.abc import AsyncIterator, Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from chatcli import __version__

if TYPE_CHECKING:
    from chatcli.config import Secret

PLACEHOLDER = "none"
"""What SDKs get instead of a key."""

LINE_LIMIT = 32 * 1024 * 1024
"""Bytes of one line of a stream: more than an answer of the allowed size takes, however escaped."""

ERROR_LIMIT = 64 * 1024
"""Bytes that are read of the body of an error."""

_PLAIN = frozenset({"host", "connection", "accept", "content-type", "content-length", "transfer-encoding"})


def open_client(
    library: ModuleType, *, key: "Secret | None", headers: Mapping[str, str], connect_timeout: float
) -> Any:
    """Return an ``AsyncClient`` of `library` (httpx or httpx2) that follows no redirect.

    Proxies and certificate files of the environment are honoured. Only connecting has a time
    limit here; how long an answer may take is the business of `chatcli.providers.policy`.
    """

    async def dress(request: Any) -> None:
        for name in {name.lower() for name in request.headers} - _PLAIN:
            del request.headers[name]
        request.headers["user-agent"] = f"chatcli/{__version__}"
        # A few bytes saved are not worth a decompression bomb, nor tokens that wait for a full block.
        request.headers["accept-encoding"] = "identity"
        request.headers.update(headers)
        if key is not None:
            request.headers["authorization"] = f"Bearer {key.reveal()}"

    async def bound(response: Any) -> None:
        response.headers.pop("content-encoding", None)
        response.stream = _bounded_stream(library)(response.stream, failed=not response.is_success)

    return library.AsyncClient(
        verify=_tls_context(library),
        timeout=library.Timeout(None, connect=connect_timeout),
        limits=library.Limits(max_connections=None, max_keepalive_connections=20),
        follow_redirects=False,
        event_hooks={"request": [dress], "response": [bound]},
    )


@cache
def _tls_context(library: ModuleType) -> Any:
    """Return the one TLS context of the process: making one reads the whole bundle of certificates."""
    return library.create_ssl_context()


@cache
def _bounded_stream(library: ModuleType) -> Any:
    class BoundedStream(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        """A body that ends early where it would be larger than anything sensible."""

        def __init__(self, stream: Any, *, failed: bool) -> None:
            self._stream = stream
            self._failed = failed

        async def __aiter__(self) -> AsyncIterator[bytes]:
            room = ERROR_LIMIT if self._failed else LINE_LIMIT
            async for piece in self._stream:
                yield piece
                newline = -1 if self._failed else piece.rfind(b"\n")
                room = room - len(piece) if newline < 0 else LINE_LIMIT - (len(piece) - newline)
                if room < 0:
                    return

        async def aclose(self) -> None:
            await self._stream.aclose()

    return BoundedStream
