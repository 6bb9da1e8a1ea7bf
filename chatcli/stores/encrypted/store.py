"""The store around another one: what goes in is sealed, what comes out is opened."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from chatcli.errors import ChatcliError, ConfigError, InvalidRequest, StoreCorrupt, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import Message, Page, Thread, Turn, TurnState
from chatcli.stores.base import (
    Begun,
    CheckpointRow,
    Expiry,
    Hit,
    Lease,
    NewTurn,
    Outcome,
    Sweep,
)
from chatcli.stores.encrypted.checkpoints import EncryptedCheckpoints
from chatcli.stores.encrypted.reader import Reader
from chatcli.stores.encrypted.resealing import Resealing
from chatcli.stores.encrypted.seals import Sealing
from chatcli.stores.records import AuditEntry, arrival
from chatcli.stores.rewriting import Rewriter
from chatcli.text import new_id

_LOOKED_AT = 100
"""Threads of an owner by which `check` judges the rest."""


class EncryptedStore(EncryptedCheckpoints):
    """Keeps the promises of `store`; its coroutines wait for nothing that those of `store` do not wait for.

    Messages, titles, system prompts, errors, fingerprints and checkpoints are sealed with the
    current key of `ring`. What was stored before there was a key is read as it is. A key that is
    missing is a `ConfigError`, and nothing is written to a thread that can't be read.
    """

    def __repr__(self) -> str:
        return f"EncryptedStore({self.store!r}, {self.ring!r})"

    # Turns -------------------------------------------------------------------------------------

    async def begin(self, new: NewTurn) -> Begun:
        await self._guard(new.owner)
        seal, reader = Sealing(new.owner, self.ring), Reader(self._opening(new.owner))
        new = replace(
            new,
            prompt=seal.messages(new.prompt),
            title=seal.title(new.title, new.thread_id),
            system=seal.system(new.system),
            admission=reader,
        )
        refusal: InvalidRequest | None = None
        for fingerprint in self._digests(new.fingerprint):
            try:
                begun = await self.store.begin(replace(new, fingerprint=fingerprint))
            except InvalidRequest as error:  # perhaps only because it was stored in another form
                refusal = refusal or error
            else:
                return await self._opened(begun, reader)
        assert refusal is not None  # noqa: S101 - there is at least one form
        raise refusal

    async def renew(self, lease: Lease) -> None:
        await self.store.renew(lease)

    async def commit(self, lease: Lease, outcome: Outcome, checkpoint: CheckpointRow | None = None) -> Turn:
        seal = Sealing(lease.owner, self.ring)
        outcome = replace(
            outcome,
            messages=seal.messages(outcome.messages),
            error=seal.error(outcome.error, lease.turn_id),
        )
        row = None if checkpoint is None else seal.checkpoint(checkpoint)
        return self._opening(lease.owner).turn(await self.store.commit(lease, outcome, row))

    async def context(
        self, owner: str, thread_id: str, *, limit: int, before: int | None = None
    ) -> tuple[Message, ...]:
        found = await self.store.context(owner, thread_id, limit=limit, before=before)
        return self._opening(owner).messages(found)

    # Threads -----------------------------------------------------------------------------------

    async def thread(self, owner: str, thread_id: str) -> Thread:
        return self._opening(owner).thread(await self.store.thread(owner, thread_id))

    async def turns(
        self, owner: str, thread_id: str, *, after: int = 0, limit: int | None = None
    ) -> tuple[Turn, ...]:
        found = await self.store.turns(owner, thread_id, after=after, limit=limit)
        return tuple(map(self._opening(owner).turn, found))

    async def threads(
        self,
        owner: str,
        *,
        limit: int,
        cursor: str | None = None,
        archived: bool | None = False,
        prefix: str = "",
    ) -> Page:
        page = await self.store.threads(owner, limit=limit, cursor=cursor, archived=archived, prefix=prefix)
        return replace(page, threads=tuple(map(self._opening(owner).thread, page.threads)))

    async def rename(self, owner: str, thread_id: str, title: str) -> Thread:
        await self._guard(owner)
        await self.thread(owner, thread_id)
        sealed = Sealing(owner, self.ring).title(title, thread_id)
        return self._opening(owner).thread(await self.store.rename(owner, thread_id, sealed))

    async def clear(self, owner: str, thread_id: str, *, audit: AuditEntry | None = None) -> Thread:
        await self.thread(owner, thread_id)
        return self._opening(owner).thread(await self.store.clear(owner, thread_id, audit=audit))

    async def delete(self, owner: str, thread_id: str, *, audit: AuditEntry | None = None) -> None:
        await self.store.delete(owner, thread_id, audit=audit)

    async def archive(
        self, owner: str, thread_id: str, *, archived: bool, audit: AuditEntry | None = None
    ) -> Thread:
        await self.thread(owner, thread_id)
        thread = await self.store.archive(owner, thread_id, archived=archived, audit=audit)
        return self._opening(owner).thread(thread)

    # Threads' life -----------------------------------------------------------------------------

    async def search(
        self, owner: str, text: str, *, limit: int, archived: bool | None = False
    ) -> tuple[Hit, ...]:
        """Find by scanning: no index knows what is sealed. Without a key the store's own search serves."""
        if not self.ring.keys:
            hits = await self.store.search(owner, text, limit=limit, archived=archived)
            if not hits:  # that would be a lie where nothing can be read
                await self.threads(owner, limit=1, archived=None)
            return tuple(replace(hit, thread=self._opening(owner).thread(hit.thread)) for hit in hits)
        from chatcli.stores.encrypted.search import scan

        return await scan(self, owner, text, limit=limit, archived=archived)

    async def sweep(
        self, owner: str, expiry: Expiry, *, limit: int, cursor: str | None = None, dry_run: bool = False
    ) -> Sweep:
        """Remove what is expired, whether it can be read or not; `freed` counts it as it is stored."""
        sweep = await self.store.sweep(owner, expiry, limit=limit, cursor=cursor, dry_run=dry_run)
        return replace(sweep, removed=tuple(map(self._opened_or_named, sweep.removed)))

    async def newest_use(self, owner: str) -> datetime | None:
        return await self.store.newest_use(owner)

    async def fork(self, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int) -> Thread:
        await self._guard(owner)
        await self.thread(owner, thread_id)
        sealed = Sealing(owner, self.ring).title(title, fork_id)
        thread = await self.store.fork(owner, thread_id, fork_id=fork_id, title=sealed, turns=turns)
        return self._opening(owner).thread(thread)

    async def undo(self, owner: str, thread_id: str, *, fork_id: str, title: str, turns: int) -> Thread:
        await self._guard(owner)
        await self.thread(owner, thread_id)
        sealed = Sealing(owner, self.ring).title(title, fork_id)
        thread = await self.store.undo(owner, thread_id, fork_id=fork_id, title=sealed, turns=turns)
        return self._opening(owner).thread(thread)

    async def import_thread(self, thread: Thread, turns: Sequence[Turn]) -> bool:
        await self._guard(thread.owner)
        thread, turns = arrival(thread, turns)
        if await self._has(thread, turns):
            return False
        seal = Sealing(thread.owner, self.ring)
        try:
            return await self.store.import_thread(seal.thread(thread), tuple(map(seal.turn, turns)))
        except InvalidRequest:
            if await self._has(thread, turns):  # somebody was faster
                return False
            raise

    async def owners(self) -> tuple[str, ...]:
        return await self.store.owners()

    async def rewrite(self, owner: str, thread_id: str, rewriter: Rewriter) -> bool:
        """Change what a thread says, and seal with the current key all of it that another one has sealed."""
        return await self.store.rewrite(owner, thread_id, Resealing(owner, self.ring, rewriter))

    async def record(self, entry: AuditEntry) -> None:
        await self.store.record(entry)

    async def audit(
        self, owner: str | None, *, limit: int, before: int | None = None
    ) -> tuple[AuditEntry, ...]:
        return await self.store.audit(owner, limit=limit, before=before)

    # Life --------------------------------------------------------------------------------------

    async def check(self) -> tuple[str, ...]:
        """Check the store, and whether the last used threads can be opened and have the current seal."""
        trouble = await self.store.check()
        looked_at = stale = 0
        for owner in await self.store.owners():
            page = await self.store.threads(owner, limit=_LOOKED_AT, archived=None)
            for thread in page.threads:
                self._opening(owner).thread(thread)
                looked_at += 1
                stale += not self.ring.is_current(thread.title)
        if stale:
            what = f"{stale} of the {looked_at} last used threads are not encrypted with the key in use"
            trouble += (f"{what}; chatcli rekey does that.",)
        return trouble

    async def aclose(self) -> None:
        await self.store.aclose()

    def _digests(self, fingerprint: str | None) -> tuple[str | None, ...]:
        return (None,) if fingerprint is None else self.ring.digests(fingerprint)

    async def _has(self, thread: Thread, turns: Sequence[Turn]) -> bool:
        """Tell whether a thread is there with these turns: sealed twice, the same text is not the same."""
        with suppress(ThreadNotFound):
            return await self.turns(thread.owner, thread.id) == turns
        return False

    async def _opened(self, begun: Begun, reader: Reader) -> Begun:
        """Return what began, opened; where that can't be done, it is taken back.

        It can't where the store could not ask `reader` within its transaction, and text is damaged.
        """
        opening = reader.opening
        try:
            return replace(
                begun,
                thread=opening.thread(begun.thread),
                turn=opening.turn(begun.turn),
                context=reader.open(begun.context),
            )
        except (ConfigError, StoreCorrupt):
            if begun.lease is not None:
                with suppress(ChatcliError):  # somebody was faster: the failed turn stays
                    await self._take_back(begun.lease)
            raise

    async def _take_back(self, lease: Lease) -> None:
        """Remove a turn that began on a thread with earlier ones, as the fork that takes it over."""
        await self.store.commit(lease, Outcome(TurnState.FAILED))
        fork_id = new_id()
        await self.store.undo(lease.owner, lease.thread_id, fork_id=fork_id, title="", turns=1)
        await self.store.delete(lease.owner, fork_id)

    def _opened_or_named(self, thread: Thread) -> Thread:
        """Return the opened thread, or one that says why it can't be: it may be gone already."""
        try:
            return self._opening(thread.owner).thread(thread)
        except (ConfigError, StoreCorrupt):
            return replace(thread, title="(encrypted)", system=None)
