"""Cleanup: threads that were not used for long, in the order of their last use.

A list of keys tells of most threads that they were used since; nothing is read of those, they are only
counted. The others are read (HEAD) and put in order, some hundred at a time. Each that is expired is
buried on the condition that it is still as it was seen, and removed when the audit tells it. What goes
wrong with one thread does not keep the step from telling what became of the others.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatcli.errors import InvalidRequest
from chatcli.stores.base import Expiry, Sweep
from chatcli.stores.s3.burial import remove
from chatcli.stores.s3.listing import READERS, Candidate, Listing, batches
from chatcli.stores.s3.marks import microseconds
from chatcli.stores.s3.objects import Objects
from chatcli.stores.s3.outbox import deliver
from chatcli.stores.s3.removal import Removal, bury_object
from chatcli.stores.s3.summary import Summary
from chatcli.stores.s3.writes import Write

if TYPE_CHECKING:
    from datetime import datetime

PLANNED = 1000
"""Threads whose order a cleanup knows in advance."""

_SMALLEST = 768
"""Bytes; a smaller object may be no thread, but what is left of one."""

_START = 0, ""


@dataclass(frozen=True, slots=True)
class _Place:
    """After `done` in the plan that begins after `begun`; or there are only `rest` threads to be counted."""

    begun: tuple[int, str] = _START
    done: tuple[int, str] = _START
    rest: int | None = None

    def __str__(self) -> str:
        if self.rest is not None:
            return f"rest.{self.rest}"
        return f"{self.begun[0]}.{self.done[0]}.{self.done[1]}~{self.begun[1]}"


@dataclass(frozen=True, slots=True)
class _Plan:
    """The next threads that may be expired, in the order of their use."""

    threads: list[tuple[int, str, Candidate]]
    end: tuple[int, str] | None
    """Where the next plan begins; None if there is nothing left for one."""
    others: int
    """Threads that were used since, whatever the plan."""

    def after(self, place: tuple[int, str]) -> list[tuple[int, str, Candidate]]:
        return self.threads[bisect_right(self.threads, place, key=lambda one: one[:2]) :]


class Sweeper:
    """Removes threads."""

    def __init__(self, objects: Objects, listing: Listing) -> None:
        self._objects = objects
        self._listing = listing
        self._plans: dict[tuple[str, bool, datetime, tuple[int, str]], _Plan] = {}

    async def sweep(
        self, owner: str, expiry: Expiry, *, limit: int, cursor: str | None, dry_run: bool
    ) -> Sweep:
        """Look at the next threads and remove those that are expired."""
        place = _Place() if cursor is None else _place_of(cursor)
        if place.rest is not None:
            return _counted(0, place.rest, limit)
        mode = owner, expiry.archived_only, expiry.before, place.begun
        plan = None if cursor is None else self._plans.get(mode)
        if plan is None:
            plan = await self._plan(owner, expiry, place.begun, dry_run=dry_run)
            self._plans = {mode: plan}
        left = plan.after(place.done)
        step = left[:limit]
        newest = await self._listing.newest(owner, limit=expiry.keep, archived=None) if expiry.keep else []
        kept = {summary.thread.id for summary in newest if summary.thread is not None}
        removal = Removal(self._objects, self._listing, owner, expiry, kept, dry_run=dry_run)
        failure: BaseException | None = None
        done = 0
        for batch in batches(step, READERS):
            results = await asyncio.gather(
                *(removal.consider(candidate) for _, _, candidate in batch), return_exceptions=True
            )
            await removal.flush(at_once=False)
            failure = next(filter(None, results), None)
            done += len(batch) if failure is None else results.index(failure)
            if failure is not None:
                break
        await removal.flush(at_once=True)
        if failure is not None and not removal.removed:
            raise failure
        if len(left) > done:  # where it failed the next step goes on, and fails if nothing has changed
            end = left[done - 1][:2] if done else place.done
            scanned = max(done, len(removal.removed) + len(removal.busy))
            ended = Sweep(scanned, (), (), str(_Place(place.begun, end)))
        elif plan.end is not None:
            ended = Sweep(done, (), (), str(_Place(plan.end)))
        else:
            ended = _counted(done, plan.others, limit)
        return Sweep(
            scanned=ended.scanned,
            removed=tuple(removal.removed[id_] for _, id_, _ in step if id_ in removal.removed),
            busy=tuple(id_ for _, id_, _ in step if id_ in removal.busy),
            cursor=ended.cursor,
            freed=removal.freed,
        )

    async def _plan(self, owner: str, expiry: Expiry, begun: tuple[int, str], *, dry_run: bool) -> _Plan:
        """Choose the next threads after `begun` by what is known of their last use, and order them."""
        before, others = microseconds(expiry.before), 0
        chosen: list[tuple[int, str, Candidate]] = []
        end: tuple[int, str] | None = None
        async for candidate in self._listing.candidates(
            owner, archived=True if expiry.archived_only else None, idle=True
        ):
            if candidate.used_from >= before and candidate.size >= _SMALLEST:
                others += 1
                continue
            use = candidate.last_use
            rank = candidate.modified if use is None else use.used, candidate.id
            if rank > begun and (end is None or rank <= end):
                chosen.append((*rank, candidate))
            if len(chosen) == 2 * PLANNED:
                chosen.sort(key=lambda one: one[:2])
                del chosen[PLANNED:]
                end = chosen[-1][:2]
        if len(chosen) > PLANNED:
            chosen.sort(key=lambda one: one[:2])
            del chosen[PLANNED:]
            end = chosen[-1][:2]
        threads = await self._order(owner, expiry, [one for *_, one in chosen], dry_run=dry_run)
        return _Plan(threads, end, others)

    async def _order(
        self, owner: str, expiry: Expiry, chosen: Sequence[Candidate], *, dry_run: bool
    ) -> list[tuple[int, str, Candidate]]:
        """Read threads and put them in the order of their use; what there is no use for goes on the way."""
        threads: list[tuple[int, str, Candidate]] = []
        outdated: list[str] = []
        for batch in batches(chosen, READERS):
            for candidate, summary in zip(batch, await self._listing.summaries(owner, batch), strict=True):
                if summary is None or await self._is_left_over(owner, candidate, summary, dry_run=dry_run):
                    continue
                thread = summary.thread
                if thread is None or summary.damaged or (expiry.archived_only and thread.archived_at is None):
                    continue
                threads.append((summary.used, candidate.id, candidate))
                uses = candidate.outdated(thread.updated_at) if summary.etag == candidate.etag else ()
                outdated += (use.key(self._objects.bucket.location, owner, candidate.id) for use in uses)
        if not dry_run:
            await self._objects.bucket.remove(outdated)
        return sorted(threads, key=lambda one: one[:2])

    async def _is_left_over(
        self, owner: str, candidate: Candidate, summary: Summary, *, dry_run: bool
    ) -> bool:
        """Tell whether a deletion was broken off; remove what is left of it, unless somebody uses it."""
        until = summary.deleted_until
        if until is None:
            return False
        is_due = not dry_run and until <= self._objects.bucket.clock.now()
        left = await bury_object(self._objects, owner, candidate, summary, Write()) if is_due else None
        if left is not None:
            await deliver(self._objects.bucket, left.id, left.outbox)
            await remove(self._objects.bucket, self._objects.copies, owner, [left])
        return True


def _counted(scanned: int, rest: int, limit: int) -> Sweep:
    """Return a step that counts as many of the threads that were used since as it may."""
    counted = min(rest, max(limit - scanned, 0))
    cursor = str(_Place(rest=rest - counted)) if rest > counted else None
    return Sweep(scanned + counted, (), (), cursor)


def _place_of(cursor: str) -> _Place:
    place, tilde, begun_id = cursor.partition("~")
    begun, *done = place.split(".", 2)
    if begun == "rest" and len(done) == 1 and not tilde and _is_number(done[0]):
        return _Place(rest=int(done[0]))
    if len(done) == 2 and tilde and _is_number(begun) and _is_number(done[0]):  # noqa: PLR2004 - its parts
        return _Place((int(begun), begun_id), (int(done[0]), done[1]))
    raise InvalidRequest("that is not a cursor of a sweep", hint="begin again without a cursor")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19  # noqa: PLR2004 - so many fit
