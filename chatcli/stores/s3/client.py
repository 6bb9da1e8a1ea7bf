"""The client of the process: opened at the first request, with nothing in it that retries by itself."""

import asyncio
import gc
from base64 import b64encode
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from hashlib import md5
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from chatcli.errors import ConfigError
from chatcli.stores.s3.location import Location

if TYPE_CHECKING:
    from chatcli.config import Settings
    from chatcli.config.secret import Secret

_CONNECT_SECONDS = 3.0
_READ_SECONDS = 5.0
_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Access:
    """What settings say of the server; where they say nothing, AWS's own chain of places is asked."""

    key_id: "Secret | None" = None
    secret: "Secret | None" = None
    token: "Secret | None" = None
    region: str | None = None
    endpoint_url: str | None = None

    @classmethod
    def of(cls, settings: "Settings | None") -> "Access":
        """Return what `settings` say."""
        if settings is None:
            return cls()
        return cls(
            settings.aws_access_key_id,
            settings.aws_secret_access_key,
            settings.aws_session_token,
            settings.aws_region,
            settings.aws_endpoint_url,
        )


class Client:
    """One aioboto3 client for the life of the process, or of the event loop if there are several."""

    def __init__(self, location: Location, access: Access) -> None:
        if find_spec("aioboto3") is None:
            raise ConfigError(
                "the S3 store needs a package that is not installed",
                hint="install it with: pip install 'chatcli[s3]'",
            )
        self._location = location
        self._access = access
        self._stack: AsyncExitStack | None = None
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()

    async def get(self) -> Any:
        """Return the client."""
        if self._client is None or self._loop is not asyncio.get_running_loop():
            async with self._opening:
                if self._client is None or self._loop is not asyncio.get_running_loop():
                    await self._open()
        return self._client

    async def aclose(self) -> None:
        """Close all connections; the next request opens them again."""
        stack, self._stack, self._client = self._stack, None, None
        if stack is not None and self._loop is asyncio.get_running_loop():
            await stack.aclose()
            # Transports close their sockets in the loop's next round.
            await asyncio.sleep(0)

    async def _open(self) -> None:
        session = _session_of(self._access)
        from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
        from botocore.handlers import add_expect_header  # type: ignore[import-untyped]

        access, location = self._access, self._location
        endpoint_url = location.endpoint_url or access.endpoint_url
        config = AioConfig(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            max_pool_connections=_CONNECTIONS,
            # A write that was carried out must not be tried again by somebody who does not know it.
            retries={"total_max_attempts": 1},
            signature_version="s3v4",
            # Servers other than AWS need not know the checksums that are sent by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if endpoint_url else "auto"},
        )
        stack = AsyncExitStack()
        region = location.region or session.region_name or "us-east-1"
        self._client = await stack.enter_async_context(
            session.client("s3", endpoint_url=endpoint_url, region_name=region, config=config)
        )
        events = self._client.meta.events
        events.register("before-sign.s3.DeleteObjects", _add_md5)
        # A write is one round trip instead of two; that it is refused when half of it is sent is rare.
        events.unregister("before-call.s3", add_expect_header)
        self._stack, self._loop = stack, asyncio.get_running_loop()


def _add_md5(request: Any, **_: object) -> None:
    """Add the digest that servers other than AWS want of a list of keys; botocore sends another one."""
    digest = md5(request.body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = b64encode(digest).decode("ascii")


@cache
def _session_of(access: Access) -> Any:
    """Return the session of the process, which loads the service's model of a megabyte once."""
    collects = gc.isenabled()
    gc.disable()  # a thousand modules, all of which stay
    try:
        import aioboto3  # type: ignore[import-untyped]
    finally:
        if collects:
            gc.enable()
    return aioboto3.Session(
        aws_access_key_id=None if access.key_id is None else access.key_id.reveal(),
        aws_secret_access_key=None if access.secret is None else access.secret.reveal(),
        aws_session_token=None if access.token is None else access.token.reveal(),
        region_name=access.region,
    )
