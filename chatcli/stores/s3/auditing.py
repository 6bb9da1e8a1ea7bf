"""The audit: each entry an object of its own at ``chat_audit/{id}.json``, written once.

The ids of entries begin with the time of the machine that wrote them, and so does their order. What
an entry tells of is another object: the entry is written right after it.
"""

import asyncio
import json
from collections import deque
from contextlib import suppress
from functools import partial

from chatcli.models import LOCAL_OWNER, parse_time
from chatcli.stores.base import ThreadStore
from chatcli.stores.records import AuditEntry
from chatcli.stores.s3.bucket import Stored
from chatcli.stores.s3.errors import LostRace, corrupt
from chatcli.stores.s3.listing import READERS, batches
from chatcli.stores.s3.location import id_of, is_name
from chatcli.stores.s3.objects import Objects
from chatcli.text import is_generated_id

_KIND = "chat_audit"


class S3Audit(ThreadStore):
    """The audit's methods of `S3Store`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def record(self, entry: AuditEntry) -> None:
        bucket = self._objects.bucket
        key = f"{bucket.location.folder(_KIND, entry.owner)}{entry.id}.json"
        await bucket.prove()
        with suppress(LostRace):  # it is there: an earlier attempt was carried out
            await bucket.patiently(partial(bucket.put, key, _encode(entry), etag=None))

    async def audit(
        self, owner: str | None, *, limit: int, before: int | None = None
    ) -> tuple[AuditEntry, ...]:
        bucket = self._objects.bucket
        found: list[tuple[int, str]] = []
        for name in await self._recorded() if owner is None else (owner,):
            found = sorted([*found, *await self._newest(name, limit, before)])[-limit:] if limit else []
        entries: list[AuditEntry] = []
        for batch in batches(found[::-1], READERS):
            read = await asyncio.gather(*(bucket.get(key) for _, key in batch))
            entries += [
                _entry_of(stored, number, key)
                for stored, (number, key) in zip(read, batch, strict=True)
                if isinstance(stored, Stored)
            ]
        return tuple(entries)

    async def _note(self, entry: AuditEntry | None) -> None:
        """Write the entry of what was just done, if there is one."""
        if entry is not None:
            await self.record(entry)

    async def _recorded(self) -> list[str]:
        """Return everybody in whose folders there may be entries."""
        bucket = self._objects.bucket
        folder = bucket.location.folder(_KIND, LOCAL_OWNER)
        return [LOCAL_OWNER, *[name async for name in bucket.folders(folder) if is_name(name)]]

    async def _newest(self, owner: str, limit: int, before: int | None) -> deque[tuple[int, str]]:
        """Return numbers and keys of the newest entries of an owner, oldest first."""
        bucket = self._objects.bucket
        folder = bucket.location.folder(_KIND, owner)
        newest: deque[tuple[int, str]] = deque(maxlen=limit)
        async for page in bucket.pages(folder):
            for item in page:
                entry_id = id_of(item.key, folder)
                if entry_id is None or not is_generated_id(entry_id):
                    continue
                number = int(entry_id.replace("-", ""), 16)
                if before is None or number < before:
                    newest.append((number, item.key))
        return newest


def _encode(entry: AuditEntry) -> bytes:
    fields = {"id": entry.id, **entry.to_json()}
    del fields["number"]
    return json.dumps(fields, ensure_ascii=False).encode()


def _entry_of(stored: Stored, number: int, key: str) -> AuditEntry:
    try:
        fields = json.loads(stored.body)
        return AuditEntry(**{**fields, "at": parse_time(fields["at"]), "number": number})
    except (KeyError, TypeError, ValueError):
        pass
    raise corrupt(key)
