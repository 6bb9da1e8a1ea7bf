"""The audit: each entry an object of its own at ``chat_audit/{id}.json``, written once.

The ids of entries begin with the time of the machine that wrote them, and so does their order. What
an entry tells of is another object, which holds the entry until it is written (`outbox`).
"""

import asyncio
import json
from collections import deque

from chatcli.models import LOCAL_OWNER
from chatcli.stores.base import ThreadStore
from chatcli.stores.records import AuditEntry
from chatcli.stores.s3 import outbox
from chatcli.stores.s3.bucket import Stored
from chatcli.stores.s3.errors import corrupt
from chatcli.stores.s3.listing import READERS, batches
from chatcli.stores.s3.location import id_of, is_name
from chatcli.stores.s3.objects import Objects
from chatcli.text import is_generated_id


class S3Audit(ThreadStore):
    """The audit's methods of `S3Store`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def record(self, entry: AuditEntry) -> None:
        await outbox.record(self._objects.bucket, entry)

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

    async def _recorded(self) -> list[str]:
        """Return everybody in whose folders there may be entries."""
        bucket = self._objects.bucket
        folder = bucket.location.folder(outbox.FOLDER, LOCAL_OWNER)
        return [LOCAL_OWNER, *[name async for name in bucket.folders(folder) if is_name(name)]]

    async def _newest(self, owner: str, limit: int, before: int | None) -> deque[tuple[int, str]]:
        """Return numbers and keys of the newest entries of an owner, oldest first."""
        bucket = self._objects.bucket
        folder = bucket.location.folder(outbox.FOLDER, owner)
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


def _entry_of(stored: Stored, number: int, key: str) -> AuditEntry:
    try:
        return outbox.entry_of(json.loads(stored.body), number=number)
    except (KeyError, TypeError, ValueError):
        pass
    raise corrupt(key)
