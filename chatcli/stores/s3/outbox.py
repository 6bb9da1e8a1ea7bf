"""Entries of the audit on their way: an object tells what was done to it until the audit tells it.

The entry of a change goes into the object with the same request as the change, and into the audit
right after. If that fails, or whoever made the change dies in between, the next one who changes or
removes the object does it: the same entry is written once, however often.

What one step of a cleanup buried holds the entry of that step, which counts all of them. It is written
only if it is right for all; where it is not there, each thread has an entry of its own instead.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any

import orjson

from chatcli.errors import ChatcliError
from chatcli.frozen import replace
from chatcli.models import parse_time
from chatcli.stores.records import AuditEntry
from chatcli.stores.s3.bucket import Bucket
from chatcli.stores.s3.errors import LostRace

FOLDER = "chat_audit"


def fields_of(entry: AuditEntry) -> dict[str, Any]:
    """Return an entry as it stands in an object."""
    fields = {"id": entry.id, **entry.to_json()}
    del fields["number"]
    return fields


def entry_of(fields: Mapping[str, Any], *, number: int = 0) -> AuditEntry:
    """Return what `fields_of` made; nonsense raises `KeyError`, `TypeError` or `ValueError`."""
    return AuditEntry(**{**fields, "at": parse_time(fields["at"]), "number": number})


async def record(bucket: Bucket, entry: AuditEntry) -> None:
    """Write an entry into the audit, unless it is there."""
    await bucket.prove()
    with suppress(LostRace):  # it is there
        await bucket.patiently(partial(bucket.put, _key(bucket, entry), _encode(entry), etag=None))


async def deliver(bucket: Bucket, thread_id: str, entries: Iterable[AuditEntry]) -> None:
    """Write what the object of a thread tells into the audit."""
    for entry in entries:
        if entry.thread_id is not None:
            await record(bucket, entry)
        elif await bucket.head(_key(bucket, entry)) is None:
            await record(bucket, share_of(entry, thread_id))


async def deliver_rest(
    bucket: Bucket, thread_id: str, entries: Iterable[AuditEntry], until: datetime | None
) -> None:
    """Write what a deletion that was broken off has left to tell, if there was one, and if that works.

    Before `until` a cleanup may still be at it, which counts its threads itself.
    """
    if until is None:
        return
    is_due = until <= bucket.clock.now()
    with suppress(ChatcliError):
        await deliver(bucket, thread_id, (one for one in entries if is_due or one.thread_id is not None))


def share_of(entry: AuditEntry, thread_id: str) -> AuditEntry:
    """Return what the entry of a cleanup's step tells of one thread, always with the same id."""
    digits = sha256(f"{entry.id}/{thread_id}".encode()).hexdigest()
    entry_id = f"{entry.id[:14]}7{digits[:3]}-8{digits[3:6]}-{digits[6:18]}"
    return replace(entry, id=entry_id, thread_id=thread_id, count=1)


def _key(bucket: Bucket, entry: AuditEntry) -> str:
    return f"{bucket.location.folder(FOLDER, entry.owner)}{entry.id}.json"


def _encode(entry: AuditEntry) -> bytes:
    return orjson.dumps(fields_of(entry))
