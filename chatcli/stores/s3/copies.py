"""Copies of objects in Redis: what another machine has just written need not be read from the bucket.

A copy is an object's bytes with the ETag that they have there, and it is the body of the next write
on the condition of that ETag. So it must be impossible to change what is stored by changing what is
in Redis: a copy counts only if its ETag is the MD5 digest of its bytes. Bytes that are not in the
bucket have another digest, and the bucket refuses the write. Where a server's ETags are not such
digests, no copies are made.

A copy is forgotten with its thread.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import md5, sha256
from typing import TYPE_CHECKING

from chatcli.errors import StoreCorrupt, StoreNewerSchema
from chatcli.stores.entries import LARGEST, Entries
from chatcli.stores.s3.bucket import Stored
from chatcli.stores.s3.document import Document, document_of
from chatcli.stores.s3.location import Location
from chatcli.stores.sealed import is_sealed_blob, is_sealed_content, is_sealed_object, is_sealed_text

if TYPE_CHECKING:
    from chatcli.config import Settings

_ENTRY = re.compile(rb"1 ([0-9a-f]{32}) ")
_HEAD = 35


class Copies:
    """The copies of one bucket's objects; with `only_sealed` none that holds a word in the clear."""

    def __init__(self, url: str, place: str, *, only_sealed: bool) -> None:
        self._entries = Entries(url, f"chatcli:threads:{sha256(place.encode()).hexdigest()[:16]}:")
        self._only_sealed = only_sealed

    @classmethod
    def of(cls, location: Location, settings: "Settings | None") -> "Copies | None":
        """Return the copies that the settings ask for."""
        if settings is None or settings.redis_url is None:
            return None
        place = f"{location.endpoint_url or settings.aws_endpoint_url or ''} {location}"
        return cls(settings.redis_url, place, only_sealed=settings.encryption_key is not None)

    async def newer(self, key: str, held: Document) -> Document | None:
        """Return what the object at `key` may hold, if that is known, and is not before what is held."""
        mine = "" if held.etag is None else f"1 {held.etag} "
        entry = await self._entries.read(key, known=mine)
        head = None if entry is None or len(entry) > _HEAD + LARGEST else _ENTRY.match(entry)
        if entry is None or head is None:
            return None
        stored = Stored(entry[_HEAD:], head[1].decode(), _LONG_AGO, None)
        if _digest(stored.body) != stored.etag:
            return None
        try:
            document = document_of(stored, key, held.owner, held.id)
        except (StoreCorrupt, StoreNewerSchema):
            return None
        is_ours = document.thread is not None and not document.foreign
        return document if is_ours and document.used >= held.used else None

    async def put(self, key: str, document: Document, body: bytes) -> None:
        """Keep the bytes of an object that was just written as `document`, unless a turn runs on it."""
        if document.thread is None or document.lease is not None or len(body) > LARGEST:
            return
        if self._only_sealed and not _is_sealed(document):
            return
        if (etag := document.etag) is None or _digest(body) != etag:
            return
        await self._entries.put(key, f"1 {etag} ".encode() + body)

    async def forget(self, keys: Iterable[str]) -> None:
        """Remove the copies of objects that are gone, or about to go."""
        await self._entries.forget(tuple(keys))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._entries.aclose()


_LONG_AGO = datetime.fromtimestamp(0, UTC)
"""When an object was written is told by its own text, if it is one of ours."""


def _digest(body: bytes) -> str:
    return md5(body, usedforsecurity=False).hexdigest()


def _is_sealed(document: Document) -> bool:
    """Tell whether all that was said, or is made of it, is encrypted."""
    thread, shelf = document.thread, document.shelf
    texts = [] if thread is None else [text for text in (thread.title, thread.system) if text is not None]
    errors = (entry.record.get("error") for entry in document.entries)
    texts += [error["message"] for error in errors if error is not None]
    blobs = [row.head for row in shelf.rows.values()]
    blobs += shelf.channels.values()
    blobs += [write.value for writes in shelf.writes.values() for write in writes.values()]
    contents = (message["content"] for entry in document.entries for message in entry.messages)
    return (
        all(map(is_sealed_text, texts))
        and all(map(is_sealed_blob, blobs))
        and all(is_sealed_object(row.metadata) for row in shelf.rows.values())
        and all(map(is_sealed_content, contents))
    )
