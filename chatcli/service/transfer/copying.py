"""Threads on their way from one store straight into another, each read back and compared."""

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryFile

from chatcli.errors import (
    ChatcliError,
    ConfigError,
    InvalidRequest,
    InvalidText,
    StoreCorrupt,
    ThreadBusy,
    ThreadNotFound,
)
from chatcli.frozen import Frozen, replace
from chatcli.models import Thread, Turn, TurnState
from chatcli.service.transfer import import_thread
from chatcli.service.transfer.lines import Export
from chatcli.stores.base import ThreadStore

_PAGE = 500
_WIDTH = 128
"""Characters of the longest thread id."""

_OF_ONE_THREAD = (ConfigError, InvalidRequest, InvalidText, StoreCorrupt, ThreadBusy)
"""Errors that say nothing about the other threads; any other ends the copying."""


class Fate(StrEnum):
    """What became of a thread; in a dry run, what would."""

    COPIED = "copy"
    THERE = "keep"
    FAILED = "fail"


class Copied(Frozen):
    """One thread, and what became of it."""

    owner: str
    thread_id: str
    fate: Fate
    thread: Thread | None = None
    """The thread of the source; None where it can't be read."""
    turns: int = 0
    error: ChatcliError | None = None


class Roll:
    """Ids of threads, in a file that is gone with the process: there may be more than fit into memory."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 - closed with the object
        self._ranges: list[tuple[str, int, int]] = []
        self._end = 0

    def __len__(self) -> int:
        return self._end

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield owners and ids, of each owner the ones that were added last first."""
        for owner, start, end in self._ranges:
            for place in range(end - 1, start - 1, -1):
                self._file.seek(place * _WIDTH)
                yield owner, self._file.read(_WIDTH).decode("ascii").rstrip()

    def add(self, owner: str, ids: Sequence[str]) -> None:
        """Add ids of an owner; all of one owner have to be added before those of the next."""
        self._file.seek(self._end * _WIDTH)
        self._file.write("".join(thread_id.ljust(_WIDTH) for thread_id in ids).encode("ascii"))
        start = self._end
        self._end += len(ids)
        if self._ranges and self._ranges[-1][0] == owner:
            _, start, _ = self._ranges.pop()
        self._ranges.append((owner, start, self._end))

    def close(self) -> None:
        """Give the file up."""
        self._file.close()


def check_source(url: str) -> None:
    """Raise `ConfigError` where no store can be read: with no thread copied, all would look well."""
    scheme = url.partition("://")[0].lower()
    if scheme == "memory":
        raise ConfigError(
            "a store in memory begins empty: there is nothing to copy from it",
            hint="name a store with --from",
        )
    if scheme == "sqlite":
        from chatcli.stores.sqlite import path_of

        if not Path(path_of(url)).exists():
            raise ConfigError(f"there is no store at {path_of(url)}", hint="look at the path after --from")


async def call_roll(source: ThreadStore, *, owner: str | None, archived: bool | None) -> Roll:
    """Return the ids of all threads that are to be copied, of one owner or of all."""
    roll = Roll()
    try:
        for one in await source.owners() if owner is None else (owner,):
            cursor = None
            while True:
                page = await source.threads(one, limit=_PAGE, cursor=cursor, archived=archived)
                roll.add(one, [thread.id for thread in page.threads])
                cursor = page.next_cursor
                if cursor is None:
                    break
    except BaseException:
        roll.close()
        raise
    return roll


async def copy_threads(
    source: ThreadStore, target: ThreadStore, roll: Roll, *, dry_run: bool
) -> AsyncIterator[Copied]:
    """Copy the threads of `roll` one at a time, least recently used first, and yield what became of each.

    Each is written in one transaction, so it may be broken off anywhere and begun again: what is there
    already, with the same turns, stays as it is. A thread that is there with other turns, is in use, or
    can't be read does not keep the others from being copied.
    """
    for owner, thread_id in roll:
        try:
            thread, turns = await _read(source, owner, thread_id)
        except ThreadNotFound:  # deleted since the roll was called
            continue
        except _OF_ONE_THREAD as error:
            yield Copied(owner, thread_id, Fate.FAILED, error=error)
            continue
        done = Copied(owner, thread_id, Fate.COPIED, thread, len(turns))
        try:
            if await _is_there(target, thread, turns):
                done = replace(done, fate=Fate.THERE)
            elif not dry_run:
                await import_thread(target, owner, thread, turns)
                await _verify(target, thread, turns)
        except _OF_ONE_THREAD as error:
            done = replace(done, fate=Fate.FAILED, error=error)
        yield done


def checksum(thread: Thread, turns: Sequence[Turn]) -> str:
    """Return the SHA-256 of everything that there is to a thread, as its line in an export."""
    return hashlib.sha256(Export().line(thread, tuple(turns)).encode("ascii")).hexdigest()


async def _read(store: ThreadStore, owner: str, thread_id: str) -> tuple[Thread, tuple[Turn, ...]]:
    thread, turns = await store.thread(owner, thread_id), await store.turns(owner, thread_id)
    if any(turn.state is TurnState.RUNNING for turn in turns):
        raise ThreadBusy(
            f"a turn is running on thread {thread_id}", hint="run the same command again when it has ended"
        )
    return replace(thread, turn_count=len(turns)), turns  # a turn may have begun between the two


async def _is_there(target: ThreadStore, thread: Thread, turns: Sequence[Turn]) -> bool:
    """Tell whether the target has the thread with these turns; with others is an `InvalidRequest`."""
    try:
        there = await target.turns(thread.owner, thread.id)
    except ThreadNotFound:
        return False
    if [turn.to_json() for turn in there] == [turn.to_json() for turn in turns]:
        return True
    raise InvalidRequest(
        f"there is another thread {thread.id}, with other turns", hint="delete one of them, or keep both"
    )


async def _verify(target: ThreadStore, thread: Thread, turns: Sequence[Turn]) -> None:
    """Raise `StoreCorrupt` unless the target gives back what was written."""
    written = await target.thread(thread.owner, thread.id), await target.turns(thread.owner, thread.id)
    if checksum(*written) != checksum(thread, turns):
        raise StoreCorrupt(
            f"thread {thread.id} does not read back as it was written",
            hint="delete it there, and look at the store with chatcli info --check",
        )
