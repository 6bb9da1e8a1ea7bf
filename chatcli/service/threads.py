"""What is done with threads that exist: found, listed, changed, forked, cleaned up, moved."""

from collections.abc import AsyncIterator, Iterable, Sequence
from copy import copy
from typing import TYPE_CHECKING, Self

from chatcli.errors import ChatcliError, InvalidRequest, InvalidText, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, Content, Page, Role, Thread, Turn, TurnState
from chatcli.service.requests import check_search
from chatcli.stores.base import Expiry, Hit, Sweep, ThreadStore
from chatcli.stores.records import AuditEntry
from chatcli.text import check_text, check_thread_id, new_id

if TYPE_CHECKING:
    from datetime import datetime

    from chatcli.service.auditing import Actor

LAST_USED = "@last"
SHORTEST_PREFIX = 4
CANDIDATES = 10
WATCH_SECONDS = 0.25


class ThreadService:
    """The threads of one owner in one store, without the running of turns."""

    def __init__(self, store: ThreadStore, *, owner: str = LOCAL_OWNER, actor: "Actor | None" = None) -> None:
        self.store = store
        self.owner = owner
        self.actor = actor

    def acting(self, actor: "Actor") -> Self:
        """Return the same service for somebody else, as the audit will tell."""
        other = copy(self)
        other.actor = actor
        return other

    # Finding -----------------------------------------------------------------------------------

    async def resolve(self, reference: str) -> str:
        """Return the id of the thread that `find` finds."""
        return (await self.find(reference)).id

    async def find(self, reference: str) -> Thread:
        """Return the thread that `reference` names: by its id, a unique prefix of that, or ``@last``.

        Raises:
            ThreadNotFound: there is none; never is another thread taken instead.
            InvalidRequest: several begin like that; the message lists them.
        """
        if reference == LAST_USED:
            return await self.last_used()
        check_thread_id(reference)
        try:
            return await self.thread(reference)
        except ThreadNotFound:
            if len(reference) < SHORTEST_PREFIX:
                raise
        found = await self.beginning_with(reference)
        if not found:
            raise ThreadNotFound(f"there is no thread {reference}", hint="chatcli history lists the threads")
        if len(found) > 1:
            raise InvalidRequest(f"several threads begin with {reference}", hint=candidates(found))
        return found[0]

    async def last_used(self) -> Thread:
        """Return the thread that was used last, or raise `ThreadNotFound`."""
        page = await self.threads(limit=1)
        if not page.threads:
            raise ThreadNotFound("there is no thread to continue", hint='begin one: chatcli chat "hello"')
        return page.threads[0]

    async def beginning_with(self, prefix: str) -> tuple[Thread, ...]:
        """Return some threads whose ids begin like that, archived ones too."""
        page = await self.threads(limit=CANDIDATES, archived=None, prefix=prefix)
        return page.threads

    # Reading -----------------------------------------------------------------------------------

    async def thread(self, thread_id: str) -> Thread:
        """Return the thread with exactly this id."""
        return await self.store.thread(self.owner, thread_id)

    async def turns(self, thread_id: str, *, tail: int | None = None) -> tuple[Turn, ...]:
        """Return the turns of a thread, oldest first; with `tail` only so many of the newest."""
        if tail is None:
            return await self.store.turns(self.owner, thread_id)
        thread = await self.store.thread(self.owner, thread_id)
        return await self.store.turns(self.owner, thread_id, after=max(0, thread.turn_count - tail))

    async def turns_after(self, thread_id: str, index: int, *, limit: int | None = None) -> tuple[Turn, ...]:
        """Return the turns of a thread behind an index, oldest first, at most `limit`."""
        return await self.store.turns(self.owner, thread_id, after=index, limit=limit)

    async def news(self, thread_id: str, index: int) -> tuple[Thread, tuple[Turn, ...]]:
        """Return a thread as it is now, and its turns behind an index."""
        return await self.thread(thread_id), await self.turns_after(thread_id, index)

    async def turn_ended(self, thread_id: str, turn: Turn) -> None:
        """Return when a turn that somebody else runs has ended, or is gone."""
        import asyncio

        while True:
            found = await self.turns_after(thread_id, turn.index - 1, limit=1)
            if not found or found[0].id != turn.id or found[0].state is not TurnState.RUNNING:
                return
            await asyncio.sleep(WATCH_SECONDS)

    async def threads(
        self,
        *,
        limit: int,
        cursor: str | None = None,
        archived: bool | None = False,
        prefix: str = "",
    ) -> Page:
        """Return threads whose ids begin with `prefix`, last used first; `archived` None means both kinds."""
        return await self.store.threads(
            self.owner, limit=limit, cursor=cursor, archived=archived, prefix=prefix
        )

    async def search(self, text: str, *, limit: int, archived: bool | None = False) -> tuple[Hit, ...]:
        """Return the threads in which all words of `text` stand, best match first."""
        check_search(text)
        return await self.store.search(self.owner, text, limit=limit, archived=archived)

    async def last_prompt(self, thread_id: str) -> Content:
        """Return the human message of the last turn; a thread without turns raises `InvalidRequest`."""
        for turn in await self.turns(thread_id, tail=1):
            for message in turn.messages:
                if message.role is Role.HUMAN:
                    return message.content
        raise InvalidRequest(
            f"thread {thread_id} has no prompt to ask again", hint="give a prompt instead of --retry"
        )

    async def check_store(self) -> tuple[str, ...]:
        """Open the store for real and return known trouble, one sentence each."""
        return await self.store.check()

    # Changing ----------------------------------------------------------------------------------

    async def rename(self, thread_id: str, title: str) -> Thread:
        """Give the thread a title."""
        check_text(title, source="the title")
        return await self.store.rename(self.owner, thread_id, title)

    async def clear(self, thread_id: str) -> Thread:
        """Remove the turns and keep the thread. Raises `ThreadBusy`."""
        return await self.store.clear(self.owner, thread_id, audit=self._entry("clear", thread_id))

    async def delete(self, thread_id: str) -> None:
        """Remove the thread with all that belongs to it. Raises `ThreadBusy`."""
        await self.store.delete(self.owner, thread_id, audit=self._entry("delete", thread_id))

    async def archive(self, thread_id: str, *, archived: bool = True) -> Thread:
        """Set the archived mark, or take it off. Raises `ThreadBusy`."""
        entry = self._entry("archive" if archived else "restore", thread_id)
        return await self.store.archive(self.owner, thread_id, archived=archived, audit=entry)

    async def fork(
        self,
        thread_id: str,
        *,
        turns: int | None = None,
        title: str | None = None,
        fork_id: str | None = None,
    ) -> Thread:
        """Return a new thread with the first `turns` turns of this one, or with all of them.

        Raises:
            InvalidRequest: there are fewer turns.
            ThreadBusy: a running turn is among them.
        """
        thread = await self.thread(thread_id)
        if title is not None:
            check_text(title, source="the title")
        return await self.store.fork(
            self.owner,
            thread_id,
            fork_id=new_id() if fork_id is None else check_thread_id(fork_id),
            title=f"{thread.title} (fork)" if title is None else title,
            turns=thread.turn_count if turns is None else turns,
        )

    async def undo(self, thread_id: str, *, turns: int = 1, fork_id: str | None = None) -> Thread:
        """Take the last `turns` turns off the thread, and return a new one that still has them all.

        Raises:
            InvalidRequest: there are fewer turns.
            ThreadBusy, ThreadArchived
        """
        thread = await self.thread(thread_id)
        return await self.store.undo(
            self.owner,
            thread_id,
            fork_id=new_id() if fork_id is None else check_thread_id(fork_id),
            title=f"{thread.title} (before undo)",
            turns=turns,
        )

    async def cleanup(
        self, expiry: Expiry, *, now: "datetime", dry_run: bool = False, force_clock: bool = False
    ) -> AsyncIterator[Sweep]:
        """Remove the expired threads step by step, each step a transaction; in constant memory.

        It may be broken off anywhere and begun again. Raises `InvalidRequest` before anything is
        removed if `now` can't be right, unless `force_clock`.
        """
        from chatcli.service.cleanup import check_clock, sweep

        if not force_clock:
            check_clock(now, await self.store.newest_use(self.owner))
        async for step in sweep(
            self.store, self.owner, expiry, dry_run=dry_run, audit=lambda: self._entry("cleanup")
        ):
            yield step

    # The audit ---------------------------------------------------------------------------------

    async def audit(self, *, limit: int, before: int | None = None) -> tuple[AuditEntry, ...]:
        """Return who did what to the threads of every owner, newest first, of the numbers below `before`."""
        return await self.store.audit(None, limit=limit, before=before)

    async def record(self, action: str, *, count: int | None = None, outcome: str = "done") -> None:
        """Add to the audit what was done to the store as a whole."""
        await self.store.record(replace(self._entry(action), count=count, outcome=outcome))

    def take_refused_keys(self) -> int:
        """Return how often the keys given did not open what is stored, since this was last asked."""
        ring = getattr(self.store, "ring", None)
        return 0 if ring is None else int(ring.take_refusals())

    def _entry(self, action: str, thread_id: str | None = None) -> AuditEntry:
        from chatcli.service.auditing import this_user

        self.actor = self.actor or this_user()
        return self.actor.entry(self.owner, action, thread_id=thread_id)

    # Moving ------------------------------------------------------------------------------------

    def export(
        self, thread_ids: Sequence[str] | None = None
    ) -> AsyncIterator[tuple[Thread, tuple[Turn, ...]]]:
        """Yield threads with their turns, one at a time: those named, or all, least recently used first."""
        from chatcli.service.transfer import export_threads

        return export_threads(self.store, self.owner, thread_ids)

    async def import_thread(self, thread: Thread, turns: Sequence[Turn]) -> bool:
        """Write a whole thread as one of this owner; False if the very same one is there already.

        Raises:
            InvalidRequest: its id is no id, or belongs to a thread with other turns.
        """
        from chatcli.service.transfer import import_thread

        return await import_thread(self.store, self.owner, thread, turns)

    async def import_threads(
        self, threads: Iterable[tuple[Thread, tuple[Turn, ...]]], *, dry_run: bool = False
    ) -> AsyncIterator[tuple[Thread, bool | ChatcliError]]:
        """Import thread by thread, and yield what `import_thread` makes of each; a refusal is yielded, too.

        In a dry run nothing is written.
        """
        take = self.would_be_new if dry_run else self.import_thread
        for thread, turns in threads:
            try:
                yield thread, await take(thread, turns)
            except (InvalidRequest, InvalidText) as error:
                yield thread, error

    async def would_be_new(self, thread: Thread, turns: Sequence[Turn]) -> bool:
        """Return what `import_thread` would, and write nothing."""
        from chatcli.service.transfer import check_thread

        check_thread(thread, turns)
        try:
            there = await self.turns(thread.id)
        except ThreadNotFound:
            return True
        if [turn.id for turn in there] != [turn.id for turn in turns]:
            raise InvalidRequest(f"there is another thread {thread.id}, with other turns")
        return False


def candidates(threads: Sequence[Thread]) -> str:
    """Return the hint that lists the threads which an ambiguous reference could mean."""
    return "\n".join(["these begin like that:", *(f"  {thread.id}  {thread.title}" for thread in threads)])
