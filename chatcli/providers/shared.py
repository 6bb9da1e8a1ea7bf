"""The times of recent calls in Redis, where several servers share one limit on calls of providers.

Redis' own clock is the only one. Whatever is wrong with Redis, calls go on without it.
"""

import os
from typing import TYPE_CHECKING

from chatcli.stores.volatile import Volatile

if TYPE_CHECKING:
    from redis.asyncio import Redis

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
    """At most `calls` calls in any `period` seconds, of all who use one Redis."""

    def __init__(self, url: str, *, calls: int, period: float) -> None:
        self._calls = calls
        self._period = period
        self._redis = Volatile(url, "does not count calls of models")

    async def claim(self) -> float | None:
        """Count a call and return 0, or return the seconds after which to try again; None: unknown.

        Raises `ConfigError` if Redis' client is not installed, or the URL is none of its URLs.
        """
        pause = await self._redis.ask(self._claim, seconds=SECONDS, pause=PAUSE)
        if pause is None:
            return None
        return 0.0 if pause <= 0 else min(max(pause, _SHORTEST), self._period)

    async def _claim(self, redis: "Redis") -> float:
        values = (self._calls, round(self._period * 1_000_000), os.urandom(8).hex())
        return int(await redis.eval(_CLAIM, 1, KEY, *values)) / 1_000_000

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
