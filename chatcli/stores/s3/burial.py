"""What deletion leaves: objects that nobody else writes to for a while, and that are removed in that time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chatcli.stores.base import LEASE_SECONDS
from chatcli.stores.records import AuditEntry
from chatcli.stores.s3.bucket import Bucket
from chatcli.stores.s3.copies import Copies

HASTE = LEASE_SECONDS / 3
"""Seconds before others may write there, from which on nothing is removed: a request may take as long."""


@dataclass(frozen=True, slots=True)
class Buried:
    """A thread of which nothing is left but objects that are to be removed."""

    id: str
    until: datetime
    """When others may write to them."""
    keys: Sequence[str] = ()
    """Of those that tell of it in lists."""
    outbox: tuple[AuditEntry, ...] = ()
    """What the audit may not tell yet."""

    def is_ours(self, now: datetime) -> bool:
        """Tell whether there is time enough to remove it."""
        return (self.until - now).total_seconds() > HASTE


async def remove(bucket: Bucket, copies: Copies | None, owner: str, threads: Sequence[Buried]) -> None:
    """Remove all that threads have had.

    What it is too late for, if this machine slept, stays buried, and goes with the next cleanup.
    """
    location, now = bucket.location, bucket.clock.now()
    in_time = [one for one in threads if one.is_ours(now)]
    objects = [location.thread(owner, one.id) for one in in_time]
    beside = [
        key
        for one in in_time
        for key in (location.mark(owner, one.id, None), location.checkpoints(owner, one.id), *one.keys)
    ]
    await bucket.remove([*objects, *beside])
    if copies is not None:
        await copies.forget(objects)
