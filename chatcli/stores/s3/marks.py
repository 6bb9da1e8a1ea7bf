"""Empty objects whose keys say something of threads: lists of keys tell it, and nothing has to be read.

Each tells something of an object where it has one ETag, and is written before the object: a crash between
the two, or whoever changes the object meanwhile, leaves a key that counts for nothing. An archived thread
always has a mark of the version that it has in the bucket.

``chat_archived/{id}~{etag}`` marks a thread as archived. (Earlier versions wrote ``chat_archived/{id}`` after
the object: it counts while it is not older than that.) ``chat_idle/{id}~{etag}~{updated}~{used}`` tells that
the object was not written by a use of the thread: it was renamed, imported, encrypted anew. It says when the
thread was last used (microseconds) and its place in the order of uses. An object for which there is no such
key was last written within `IDLE` of its use.
Only an object older than ``chat_proof``, the first that is written to a bucket, was brought there from
elsewhere: there nothing tells when its thread was used but the object itself.
"""

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import md5

from chatcli.stores.s3.bucket import Bucket, Listed
from chatcli.stores.s3.document import Document
from chatcli.stores.s3.errors import LostRace
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

    def is_of(self, item: Listed) -> bool:
        """Tell whether a mark of archived threads counts for the object as it is listed."""
        return self.words == (item.etag,) if self.words else self.modified >= item.modified


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


def keys_of(location: Location, document: Document, body: bytes, now: datetime) -> list[str]:
    """Return the keys that belong to an object about to be written with `body`."""
    thread = document.thread
    if thread is None:
        return []
    is_idle = document.lease is None and abs(now - thread.updated_at) > IDLE
    if not is_idle and thread.archived_at is None:
        return []
    etag = md5(body, usedforsecurity=False).hexdigest()
    keys = [] if thread.archived_at is None else [location.mark(document.owner, document.id, etag)]
    if is_idle:
        use = LastUse(etag, max(microseconds(thread.updated_at), 0), document.used)
        keys.append(use.key(location, document.owner, document.id))
    return keys


async def correct_marks(bucket: Bucket, before: Document, document: Document, body: bytes) -> None:
    """Leave of the marks of a thread only the one of the version that was just written as `body`.

    Where ETags are no digests, none could be written for that version before it was there.
    """
    location, wrong, etag = bucket.location, list[str](), document.etag
    if document.thread is not None and document.thread.archived_at is not None:
        digest = md5(body, usedforsecurity=False).hexdigest()
        if etag != digest:
            with suppress(LostRace):  # it is there
                key = location.mark(document.owner, document.id, etag)
                await bucket.patiently(partial(bucket.put, key, b"", etag=None))
            wrong = [location.mark(document.owner, document.id, digest)]
    if before.thread is not None and before.thread.archived_at is not None and before.etag != etag:
        wrong += [location.mark(before.owner, before.id, version) for version in (None, before.etag)]
    await bucket.remove(wrong)


async def all_keys(bucket: Bucket, owner: str, thread_id: str) -> list[str]:
    """Return all keys that tell of a thread, whatever version of it."""
    folders = _folder(bucket.location, owner), bucket.location.folder("chat_archived", owner)
    return [
        item.key
        for folder in folders
        async for page in bucket.pages(folder, prefix=f"{thread_id}~")
        for item in page
    ]


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
