"""How many requests a client may make: counted in memory, or in Redis for several servers."""

import asyncio
import hashlib
import logging
import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from chatcli.config import parse_rate
from chatcli.errors import ConfigError

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

logger = logging.getLogger(__name__)

BUCKETS = 4096
"""Addresses are counted in so many buckets, so that a million of them take no more memory than a few."""
REDIS_SECONDS = 0.25
REDIS_PAUSE = 10.0
"""Seconds for which a Redis that failed is left alone."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass, and what is left of the client's allowance."""

    allowed: bool
    limit: int
    window: int
    remaining: int
    reset: int
    """Seconds until the whole allowance is back."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the header fields of draft-ietf-httpapi-ratelimit-headers."""
        policy = f'"client";q={self.limit};w={self.window}'
        return [
            (b"ratelimit-policy", policy.encode()),
            (b"ratelimit", f'"client";r={self.remaining};t={self.reset}'.encode()),
        ]


class ClientLimiter:
    """Fixed windows of the setting CHATCLI_CLIENT_RATE, one for each owner or bucket of addresses."""

    def __init__(self, rate: str, redis_url: str | None = None) -> None:
        count, seconds = parse_rate(rate)
        self._item = RateLimitItemPerSecond(count, int(seconds), namespace="chatcli")
        self._window = int(seconds)
        self._memory = FixedWindowRateLimiter(MemoryStorage())
        self._pool: ConnectionPool | None = None
        self._redis: FixedWindowRateLimiter | None = None
        if redis_url is not None:
            self._pool, self._redis = _open_redis(redis_url)
        self._redis_from = 0.0
        # Servers that count together must find an address in the same bucket.
        self._salt = os.urandom(16) if redis_url is None else b"chatcli"

    async def check(self, *, owner: str | None, address: str, count: bool) -> Verdict:
        """Return the verdict on a request, and `count` it; the shared count fails open to our own."""
        key = f"owner:{owner}" if owner is not None else self._bucket(address)
        now = time.monotonic()
        if self._redis is not None and now >= self._redis_from:
            try:
                async with asyncio.timeout(REDIS_SECONDS):
                    return await self._ask(self._redis, key, count=count)
            except Exception as error:  # noqa: BLE001 - whatever Redis has, requests go on
                self._redis_from = now + REDIS_PAUSE
                logger.warning("Redis does not count requests: %s", type(error).__name__)
        return await self._ask(self._memory, key, count=count)

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        if self._pool is not None:
            await self._pool.aclose()

    async def _ask(self, strategy: FixedWindowRateLimiter, key: str, *, count: bool) -> Verdict:
        allowed = await strategy.hit(self._item, key) if count else True
        stats = await strategy.get_window_stats(self._item, key)
        reset = min(self._window, max(0, math.ceil(stats.reset_time - time.time())))
        return Verdict(allowed, self._item.amount, self._window, max(0, stats.remaining), reset)

    def _bucket(self, address: str) -> str:
        digest = hashlib.blake2s(address.encode("utf-8", "replace"), key=self._salt, digest_size=4).digest()
        return f"address:{int.from_bytes(digest) % BUCKETS}"


def _open_redis(url: str) -> "tuple[ConnectionPool, FixedWindowRateLimiter]":
    from limits.aio.storage import RedisStorage

    scheme, _, rest = url.partition("://")
    known = {"redis": "async+redis", "rediss": "async+rediss", "unix": "async+redis+unix"}
    try:
        from redis.asyncio import ConnectionPool

        pool = ConnectionPool.from_url(
            url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
        )
        # Its annotations know nothing of the pool that its documentation offers.
        kept: dict[str, Any] = {"connection_pool": pool}
        storage = RedisStorage(f"{known[scheme]}://{rest}", implementation="redispy", **kept)
        return pool, FixedWindowRateLimiter(storage)
    except Exception:  # noqa: BLE001 - what the library raises differs with what is installed
        failure = ConfigError(
            "CHATCLI_REDIS_URL can't be used: Redis' client is not installed, or the URL is wrong",
            hint="pip install 'chatcli[redis]'",
        )
    # Out here, so that it has no context: that may quote the URL.
    raise failure
