"""The part of the store that keeps LangGraph's checkpoints, on what all of it needs."""

from collections.abc import Sequence

from chatcli.stores.base import CheckpointKey, CheckpointRow, Keep, PendingWrite, ThreadStore
from chatcli.stores.encrypted.keys import KeyRing
from chatcli.stores.encrypted.seals import Opening, Sealing


class EncryptedCheckpoints(ThreadStore):
    """Checkpoints, sealed on their way in and opened on their way out."""

    def __init__(self, store: ThreadStore, ring: KeyRing) -> None:
        self.store = store
        self.ring = ring
        self._guarded: set[str] = set()
        """Owners whose last used thread could be read."""

    def _opening(self, owner: str) -> Opening:
        return Opening(owner, self.ring)

    async def _guard(self, owner: str) -> None:
        """Refuse to write where the last used thread can't be read: two keys that nobody has together."""
        if owner not in self._guarded:
            if (thread := await self.store.sample(owner)) is not None:
                self._opening(owner).thread(thread)
            self._guarded.add(owner)

    async def put_checkpoint(self, row: CheckpointRow, *, keep: Keep = "all") -> None:
        await self._guard(row.key.owner)
        await self.store.put_checkpoint(Sealing(row.key.owner, self.ring).checkpoint(row), keep=keep)

    async def get_checkpoint(self, key: CheckpointKey) -> CheckpointRow | None:
        row = await self.store.get_checkpoint(key)
        return None if row is None else self._opening(key.owner).checkpoint(row)

    async def list_checkpoints(
        self,
        owner: str,
        thread_id: str | None,
        namespace: str | None,
        *,
        before: str | None = None,
        limit: int | None = None,
    ) -> tuple[CheckpointRow, ...]:
        rows = await self.store.list_checkpoints(owner, thread_id, namespace, before=before, limit=limit)
        return tuple(map(self._opening(owner).checkpoint, rows))

    async def put_writes(self, key: CheckpointKey, writes: Sequence[PendingWrite], *, replace: bool) -> None:
        await self._guard(key.owner)
        seal = Sealing(key.owner, self.ring)
        await self.store.put_writes(key, [seal.write(key, write) for write in writes], replace=replace)

    async def copy_checkpoints(self, owner: str, source_id: str, target_id: str) -> None:
        await self.store.copy_checkpoints(owner, source_id, target_id)

    async def delete_checkpoints(
        self, owner: str, thread_id: str, checkpoint_ids: Sequence[tuple[str, str]] | None = None
    ) -> None:
        await self.store.delete_checkpoints(owner, thread_id, checkpoint_ids)
