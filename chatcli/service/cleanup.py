"""Cleaning up: which moment an age means, whether the clock can be right, and the removal in steps."""

import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, time, timedelta

from chatcli.config.values import check_age
from chatcli.errors import InvalidRequest
from chatcli.frozen import replace
from chatcli.models import format_time
from chatcli.stores.base import Expiry, Sweep, ThreadStore
from chatcli.stores.records import AuditEntry

UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}
"""What a letter of an age is worth; the arithmetic is in UTC: time zones and summer time have no effect."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TOLERANCE = timedelta(days=1)
"""How far the last use of a thread may lie ahead of a clock that is still believed."""

STEP = 500
"""Threads that are looked at in one transaction."""


def moment_of(age: str, *, now: datetime) -> datetime:
    """Return the moment that lies `age` before `now`, or at which a date begins in UTC.

    Raises `InvalidRequest` for text that is neither, and for a date that has not begun yet: it would
    take the threads with it that are in use.
    """
    try:
        check_age(age)
    except ValueError:
        raise InvalidRequest(
            f"{age!r} is no age", hint="use 12h, 90d, 2w, 1y (365 days), or a date such as 2026-01-31"
        ) from None
    if match := re.fullmatch("([0-9]+)([hdwy])", age):
        try:
            return max(EPOCH, now - int(match[1]) * UNITS[match[2]])
        except OverflowError:
            return EPOCH
    moment = datetime.combine(date.fromisoformat(age), time(), UTC)
    if moment > now:
        raise InvalidRequest(f"{age} is in the future", hint="give a date that has begun, or an age")
    return max(EPOCH, moment)


def check_clock(now: datetime, newest_use: datetime | None) -> None:
    """Raise `InvalidRequest` if a thread was used so long after `now` that one of the clocks was wrong."""
    if newest_use is not None and newest_use > now + TOLERANCE:
        raise InvalidRequest(
            f"the clock says {format_time(now)}, but a thread was used at {format_time(newest_use)}; "
            "nothing was removed",
            hint="set the clock, or use --force-clock if it is right",
        )


async def sweep(
    store: ThreadStore, owner: str, expiry: Expiry, *, dry_run: bool, audit: Callable[[], AuditEntry]
) -> AsyncIterator[Sweep]:
    """Yield the steps of one pass over the expired threads, least recently used first.

    `audit` makes the entry of each step that is no dry run.
    """
    cursor = None
    while True:
        expiry = replace(expiry, audit=None if dry_run else audit())
        step = await store.sweep(owner, expiry, limit=STEP, cursor=cursor, dry_run=dry_run)
        yield step
        cursor = step.cursor
        if cursor is None:
            return
