"""Empty objects whose keys say something of threads: lists of keys tell it, and nothing has to be read.

``chat_archived/{id}`` marks a thread as archived. ``chat_idle/{id}~{etag}~{updated}~{used}`` tells that
the object of a thread, where it has this ETag, was not written by a use of the thread: it was renamed,
imported, encrypted anew. It says when the thread was last used (microseconds) and its place in the
order of uses. An object for which there is no such key was last written within `IDLE` of its use.
It is written before the object, so that a crash between the two leaves a key that counts for nothing.
Only an object older than ``chat_proof``, the first that is written to a bucket, was brought there from
elsewhere: there nothing tells when its thread was used but the object itself.
"""

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5

from chatcli.models import Thread
from chatcli.stores.s3.bucket import Bucket, Listed
from chatcli.stores.s3.document import Document
from chatcli.stores.s3.errors import LostRace, Unanswered
from chatcli.stores.s3.location import Location

IDLE = timedelta(hours=1)
"""How long after a use its thread's object may be written without a word about it: a long turn is."""

_LONGEST_NUMBER = 18


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Return a moment as the number of microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment_at(number: int) -> datetime:
    """Return the moment so many microseconds after 1970 began."""
    return _EPOCH + timedelta(microseconds=number)


@dataclass(frozen=True, slots=True)
class Mark:
    """What a key says of a thread, and when it was written."""

    key: str
    words: tuple[str, ...]
    modified: datetime


@dataclass(frozen=True, slots=True)
class LastUse:
    """When the thread in one version of an object was last used, in microseconds, and its place."""

    etag: str
    updated: int
    used: int

    def key(self, location: Location, owner: str, thread_id: str) -> str:
        """Return the key that tells it."""
        return f"{_folder(location, owner)}{thread_id}~{self.etag}~{self.updated}~{self.used}"


class Marks:
    """The marks of one kind of an owner's threads, read along with the keys of the threads."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder
        self._all: dict[str, list[Mark]] | None = None
        self._many = False

    async def among(self, ids: Sequence[str]) -> dict[str, list[Mark]]:
        """Return the marks of these threads, those that have none left out."""
        if not ids:
            return {}
        if self._all is None and not self._many:
            first: list[Listed] | None = None
            async for page in self._bucket.pages(self._folder):
                if first is not None:
                    self._many = True
                    break
                first = page
            if not self._many:
                self._all = {}
                for item in first or ():
                    self._take(self._all, item)
        if self._all is not None:
            return self._all
        return await self._between(ids)

    async def _between(self, ids: Sequence[str]) -> dict[str, list[Mark]]:
        """Read from the first mark of these threads to the last: there are too many to read them all.

        Keys are ordered as text, in which what follows an id counts: ``a-b~`` comes before ``a~``.
        """
        starts = sorted(start for id_ in ids for start in (id_, f"{id_}~"))
        found: dict[str, list[Mark]] = {}
        async for page in self._bucket.pages(self._folder, after=self._folder + starts[0][:-1]):
            for item in page:
                name, tilde, _ = item.key.removeprefix(self._folder).partition("~")
                place = bisect_left(starts, name + tilde)
                if place == len(starts):
                    return found
                if starts[place] == name + tilde:
                    self._take(found, item)
        return found

    def _take(self, found: dict[str, list[Mark]], item: Listed) -> None:
        thread_id, *words = item.key.removeprefix(self._folder).split("~")
        found.setdefault(thread_id, []).append(Mark(item.key, tuple(words), item.modified))


async def mark_archived(bucket: Bucket, thread: Thread) -> None:
    """Write the mark of an archived thread anew, or remove the mark of one that is not."""
    key = bucket.location.mark(thread.owner, thread.id)
    await bucket.remove([key])
    if thread.archived_at is not None:
        with suppress(LostRace, Unanswered):  # somebody else wrote it; or it is found slower
            await bucket.put(key, b"", etag=None)


def idle_key(location: Location, document: Document, body: bytes, now: datetime) -> str | None:
    """Return the key that belongs to an object about to be written with `body`; None if it needs none."""
    thread = document.thread
    if thread is None or document.lease is not None or abs(now - thread.updated_at) <= IDLE:
        return None
    etag = md5(body, usedforsecurity=False).hexdigest()
    use = LastUse(etag, max(microseconds(thread.updated_at), 0), document.used)
    return use.key(location, document.owner, document.id)


async def idle_keys(bucket: Bucket, owner: str, thread_id: str) -> list[str]:
    """Return all keys that tell of uses of a thread."""
    pages = bucket.pages(_folder(bucket.location, owner), prefix=f"{thread_id}~")
    return [item.key async for page in pages for item in page]


def _folder(location: Location, owner: str) -> str:
    return location.folder("chat_idle", owner)


def last_use(mark: Mark) -> LastUse | None:
    """Return what the key of `idle_key` tells; None if it is no such key."""
    if len(mark.words) != 3:  # noqa: PLR2004 - as they are written
        return None
    etag, updated, used = mark.words
    if any(
        not (word.isascii() and word.isdecimal()) or len(word) > _LONGEST_NUMBER for word in (updated, used)
    ):
        return None
    return LastUse(etag, int(updated), int(used))
