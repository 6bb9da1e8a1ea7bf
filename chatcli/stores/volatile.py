"""A Redis that nothing depends on: asked for a moment, and left alone for a while where it failed."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from chatcli.errors import ConfigError

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Volatile:
    """One Redis; `use` says in the log what it is not used for while it fails."""

    def __init__(self, url: str, use: str) -> None:
        self._url = url
        self._use = use
        self._redis: Redis | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_from = 0.0

    async def ask(
        self, question: Callable[["Redis"], Awaitable[T]], *, seconds: float, pause: float
    ) -> T | None:
        """Return what `question` makes of Redis' answer, or None if there is none within `seconds`.

        Whatever goes wrong is logged, and nothing is asked in the next `pause` seconds.

        Raises:
            ConfigError: the client is not installed, or the URL is none of its URLs.
        """
        if time.monotonic() < self._asked_from:
            return None
        redis = self._client(seconds)
        try:
            async with asyncio.timeout(seconds):
                return await question(redis)
        except Exception as error:  # noqa: BLE001 - whatever Redis has, everything goes on without it
            logger.warning("Redis %s: %s", self._use, type(error).__name__)
            self._asked_from = time.monotonic() + pause
            await self.aclose()
            return None

    async def aclose(self) -> None:
        """Close the connections; the next question opens them again."""
        redis, self._redis = self._redis, None
        if redis is not None and self._loop is asyncio.get_running_loop():
            with suppress(Exception):
                async with asyncio.timeout(_FAREWELL):
                    await redis.aclose()

    def _client(self, seconds: float) -> "Redis":
        loop = asyncio.get_running_loop()
        if self._redis is None or self._loop is not loop:
            self._redis, self._loop = _open(self._url, seconds), loop
        return self._redis


_FAREWELL = 0.25


def _open(url: str, seconds: float) -> "Redis":
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        return Redis.from_url(
            url,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 1),  # a connection that was closed meanwhile is made anew
        )
    except (ImportError, ValueError):
        failure = ConfigError(
            "CHATCLI_REDIS_URL can't be used: Redis' client is not installed, or the URL is wrong",
            hint="pip install 'chatcli[redis]'",
        )
    # Out here, so that it has no context: that may quote the URL.
    raise failure
