"""One spelling an id: of two ids that differ only in case, at most one is a thread's.

Before a thread is made, its id is written into a small object whose key is the id in lower case.
Who finds another spelling there, and its thread, is refused; where that thread is gone, the object
is taken over. After the thread was made the object is looked at again: if somebody took it over in
between, having seen no thread, the thread just made is taken back. So of two who race, at least
one sees the other. The object stays when its thread is deleted, until it is taken over.

Generated ids need none of this: they are lower case, and nobody else can have made one. A thread
of another program gets its object when it is first written to.
"""

from chatcli.errors import InvalidRequest
from chatcli.stores.s3.bucket import Bucket, Stored
from chatcli.stores.s3.errors import LostRace
from chatcli.stores.s3.location import Location
from chatcli.stores.s3.summary import summary_of
from chatcli.text import is_generated_id


class Names:
    """The spellings of the ids in a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @property
    def _location(self) -> Location:
        return self._bucket.location

    async def claim(self, owner: str, thread_id: str) -> str:
        """Write down the spelling of an id, and return the ETag of where it stands.

        Raises:
            InvalidRequest: there is a thread with another spelling.
            Unanswered: it may have been written down; it can be claimed again.
        """
        if thread_id.lower() != thread_id and is_generated_id(thread_id.lower()):
            await self._refuse_other(owner, thread_id.lower())
        key, body = self._location.name(owner, thread_id), thread_id.encode()
        while True:
            try:
                return await self._bucket.put(key, body, etag=None)
            except LostRace:
                pass
            found = await self._bucket.get(key)
            if not isinstance(found, Stored):
                continue
            if found.body == body:
                return found.etag
            other = found.body.decode("ascii", "replace")
            if other.lower() == thread_id.lower():
                await self._refuse_other(owner, other)
            try:
                return await self._bucket.put(key, body, etag=found.etag)
            except LostRace:
                continue

    async def is_held(self, owner: str, thread_id: str, etag: str) -> bool:
        """Tell whether the spelling stands as it was claimed."""
        found = await self._bucket.head(self._location.name(owner, thread_id))
        return found is not None and found.etag == etag

    async def _refuse_other(self, owner: str, other: str) -> None:
        found = await self._bucket.head(self._location.thread(owner, other))
        if found is None:
            return
        summary = None if found.summary is None else summary_of(found.summary, found.etag, owner, other)
        until = None if summary is None else summary.deleted_until
        if until is not None and until <= self._bucket.clock.now():
            return
        raise InvalidRequest(
            f"the thread {other} exists, and ids must differ in more than case",
            hint=f"use {other}, or another id",
        )
