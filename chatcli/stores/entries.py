"""What stores keep in Redis for a while, so as not to read it again: bytes, each entry under a name.

Redis may lose an entry, or give back what somebody else put there: it is for the store to tell. An
entry that is forgotten leaves a blank for a while, so that one that is on its way comes too late.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from chatcli.errors import ConfigError
from chatcli.stores.volatile import Volatile

if TYPE_CHECKING:
    from redis.asyncio import Redis

SECONDS = 0.25
"""How long Redis is waited for."""

PAUSE = 10.0
"""Seconds for which a Redis that failed is left alone."""

KEPT = 3600
"""Seconds for which an entry is kept."""

LARGEST = 1 << 20
"""Bytes of what the largest entry holds."""

_BLANK = 10
"""Seconds for which nothing is put where an entry was forgotten."""

_READ = """
local head = redis.pcall('GETRANGE', KEYS[1], 0, math.max(#ARGV[1], 1) - 1)
if type(head) ~= 'string' or head == '' or head == ARGV[1] then return false end
return redis.call('GET', KEYS[1])
"""

_PUT = f"""
if redis.pcall('STRLEN', KEYS[1]) == 0 and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', {KEPT})
return 1
"""

_FORGET = f"for _, key in ipairs(KEYS) do redis.call('SET', key, '', 'EX', {_BLANK}) end return 1"


class Entries:
    """The entries of one store; `space` is what their names begin with."""

    def __init__(self, url: str, space: str) -> None:
        self._redis = Volatile(url, "keeps no threads")
        self._space = space

    async def read(self, name: str, *, known: str = "") -> bytes | None:
        """Return an entry, unless it begins with `known`: that one the caller holds."""

        async def read(redis: "Redis") -> bytes | None:
            found = await redis.eval(_READ, 1, self._space + name, known)
            return found if isinstance(found, bytes) else None

        return await self._redis.ask(read, seconds=SECONDS, pause=PAUSE)

    async def put(self, name: str, entry: bytes) -> None:
        """Keep an entry, unless there is a blank."""

        async def write(redis: "Redis") -> bool:
            return bool(await redis.eval(_PUT, 1, self._space + name, entry))

        with suppress(ConfigError):  # it is too late to say so: what it is a copy of is written
            await self._redis.ask(write, seconds=SECONDS, pause=PAUSE)

    async def forget(self, names: Sequence[str]) -> None:
        """Remove entries, and leave blanks."""
        keys = [self._space + name for name in names]

        async def remove(redis: "Redis") -> bool:
            return bool(await redis.eval(_FORGET, len(keys), *keys))

        with suppress(ConfigError):  # there are no entries then
            if keys:
                await self._redis.ask(remove, seconds=SECONDS, pause=PAUSE)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
