"""The places of the last used threads in the order of uses, written down for whoever lists them next.

``chat_recent/index.json`` of an owner holds ``[[id, etag, used], …]``. A place counts only for the object
with that ETag, so it can be missing and never wrong; without it a HEAD tells the same.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from chatcli.errors import ChatcliError
from chatcli.stores.s3.bucket import Bucket, Stored
from chatcli.stores.s3.errors import LostRace, Unanswered

MOST = 512
"""Threads of an owner that are written down."""

MANY = 32
"""Places that were not written down: from so many on it is worth the requests that it takes."""

_OWNERS = 16
"""Owners whose places are known at the same time."""


@dataclass(slots=True)
class _Index:
    uses: dict[str, tuple[str, int]]
    """By thread id: the ETag of its object, and its place."""
    etag: str | None
    """Of the index itself."""
    news: int = 0
    read: bool = False


class Recent:
    """What is known of places: read once, learned from reading and writing objects."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._indexes: dict[str, _Index] = {}

    def place(self, owner: str, thread_id: str, etag: str) -> int | None:
        """Return the place of a thread whose object has this ETag."""
        index = self._indexes.get(owner)
        known = None if index is None else index.uses.get(thread_id)
        return known[1] if known is not None and known[0] == etag else None

    def note(self, owner: str, thread_id: str, etag: str, used: int) -> None:
        """Take in what an object said, or was made to say."""
        index = self._index(owner)
        index.news += index.uses.get(thread_id) != (etag, used)
        index.uses[thread_id] = etag, used
        if len(index.uses) > 2 * MOST:
            index.uses = dict(_newest(index.uses.items()))

    def newest(self, owner: str) -> str | None:
        """Return the thread with the last place that is known."""
        index = self._indexes.get(owner)
        return None if index is None else max(index.uses, key=lambda id_: index.uses[id_][1], default=None)

    async def load(self, owner: str) -> None:
        """Read the index, the first time."""
        index = self._index(owner)
        if index.read:
            return
        stored = await self._bucket.get(self._key(owner))
        index.read = True
        if isinstance(stored, Stored):
            index.etag = stored.etag
            index.uses = {**_uses_of(stored.body), **index.uses}

    async def save(self, owner: str) -> None:
        """Write the index if there is much news; whatever stands against it, nothing depends on it."""
        index = self._indexes.get(owner)
        if index is None or index.news < MANY:
            return
        index.news = 0
        with contextlib.suppress(ChatcliError, LostRace, Unanswered):
            await self.load(owner)
            body = orjson.dumps([[id_, *use] for id_, use in _newest(index.uses.items())])
            index.read = False
            index.etag = await self._bucket.put(self._key(owner), body, etag=index.etag)
            index.read = True

    async def save_all(self) -> None:
        """Write what there is much news of."""
        for owner in list(self._indexes):
            await self.save(owner)

    def _index(self, owner: str) -> _Index:
        index = self._indexes.get(owner)
        if index is None:
            index = self._indexes[owner] = _Index({}, None)
            if len(self._indexes) > _OWNERS:
                del self._indexes[next(iter(self._indexes))]
        return index

    def _key(self, owner: str) -> str:
        return f"{self._bucket.location.folder('chat_recent', owner)}index.json"


def _newest(uses: Iterable[tuple[str, tuple[str, int]]]) -> list[tuple[str, tuple[str, int]]]:
    return sorted(uses, key=lambda one: one[1][1], reverse=True)[:MOST]


def _uses_of(body: bytes) -> dict[str, tuple[str, int]]:
    try:
        return {str(id_): (str(etag), int(used)) for id_, etag, used in orjson.loads(body)}
    except (ValueError, TypeError):
        return {}
