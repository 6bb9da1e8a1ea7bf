"""The times of recent calls in Redis, where several servers share one limit on calls of providers.

Redis' own clock is the only one. Whatever is wrong with Redis, calls go on without it.
"""

import asyncio
import logging
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from chatcli.errors import ConfigError

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger(__name__)

KEY = "chatcli:calls"
"""A sorted set: each call by its time in microseconds."""

SECONDS = 0.25
"""How long Redis is waited for."""

PAUSE = 10.0
"""Seconds for which a Redis that failed is left alone."""

_SHORTEST = 0.01

_CLAIM = """
local key, calls, period = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', key, '-inf', now - period)
redis.call('ZREMRANGEBYSCORE', key, '(' .. string.format('%.0f', now), '+inf')
local count = redis.call('ZCARD', key)
if count >= calls then
  local first = redis.call('ZRANGE', key, count - calls, count - calls, 'WITHSCORES')
  return first[2] + period - now
end
redis.call('ZADD', key, string.format('%.0f', now), ARGV[3])
redis.call('PEXPIRE', key, math.ceil(period / 1000))
return 0
"""
"""Counts a call, or tells in how many microseconds there is room for one. Times to come are of a clock
that was set back."""


class SharedCalls:
    """At most `calls` calls in any `period` seconds, of all who use one Redis.

    Raises `ConfigError` if the client is not installed, or `url` is none of its URLs.
    """

    def __init__(self, url: str, *, calls: int, period: float) -> None:
        self._url = url
        self._calls = calls
        self._period = period
        self._redis: Redis | None = _open(url)
        self._asked_from = 0.0

    async def claim(self) -> float | None:
        """Count a call and return 0, or return the seconds after which to try again; None: unknown."""
        if time.monotonic() < self._asked_from:
            return None
        if self._redis is None:
            self._redis = _open(self._url)
        values = (self._calls, round(self._period * 1_000_000), os.urandom(8).hex())
        try:
            async with asyncio.timeout(SECONDS):
                answer = await self._redis.eval(_CLAIM, 1, KEY, *values)
                pause = int(answer) / 1_000_000
        except Exception as error:  # noqa: BLE001 - whatever Redis has, turns go on
            logger.warning("Redis does not count calls of models: %s", type(error).__name__)
            self._asked_from = time.monotonic() + PAUSE
            await self.aclose()
            return None
        return 0.0 if pause <= 0 else min(max(pause, _SHORTEST), self._period)

    async def aclose(self) -> None:
        """Close the connections."""
        redis, self._redis = self._redis, None
        if redis is not None:
            with suppress(Exception):
                async with asyncio.timeout(SECONDS):
                    await redis.aclose()


def _open(url: str) -> "Redis":
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        return Redis.from_url(
            url,
            socket_timeout=SECONDS,
            socket_connect_timeout=SECONDS,
            retry=Retry(NoBackoff(), 1),  # a connection that was closed meanwhile is made anew
        )
    except (ImportError, ValueError):
        failure = ConfigError(
            "CHATCLI_REDIS_URL can't be used: Redis' client is not installed, or the URL is wrong",
            hint="pip install 'chatcli[redis]'",
        )
    # Out here, so that it has no context: that may quote the URL.
    raise failure
