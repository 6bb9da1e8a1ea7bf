"""The half of the store in memory that keeps LangGraph's checkpoints."""

from collections.abc import Sequence

from chatcli.stores.base import CheckpointKey, CheckpointRow, Keep, PendingWrite, ThreadStore
from chatcli.stores.shelf import Shelf


class MemoryCheckpoints(ThreadStore):
    """The checkpoint methods of `MemoryStore`. Nothing here ever waits."""

    def __init__(self) -> None:
        self._shelves: dict[tuple[str, str], Shelf] = {}

    def _put(self, row: CheckpointRow, *, keep: Keep) -> None:
        self._shelves.setdefault((row.key.owner, row.key.thread_id), Shelf()).put(row, keep=keep)

    async def put_checkpoint(self, row: CheckpointRow, *, keep: Keep = "all") -> None:
        self._put(row, keep=keep)

    async def get_checkpoint(self, key: CheckpointKey) -> CheckpointRow | None:
        shelf = self._shelves.get((key.owner, key.thread_id))
        return None if shelf is None else shelf.read((key.namespace, key.checkpoint_id))

    async def list_checkpoints(
        self,
        owner: str,
        thread_id: str | None,
        namespace: str | None,
        *,
        before: str | None = None,
        limit: int | None = None,
    ) -> tuple[CheckpointRow, ...]:
        places = sorted(
            (
                (place[1], thread, place[0])
                for (holder, thread), shelf in self._shelves.items()
                if holder == owner and thread_id in (None, thread)
                for place in shelf.rows
                if namespace in (None, place[0]) and (before is None or place[1] < before)
            ),
            reverse=True,
        )
        rows = (self._shelves[owner, thread].read((ns, id_)) for id_, thread, ns in places[:limit])
        return tuple(row for row in rows if row is not None)

    async def put_writes(self, key: CheckpointKey, writes: Sequence[PendingWrite], *, replace: bool) -> None:
        shelf = self._shelves.setdefault((key.owner, key.thread_id), Shelf())
        shelf.put_writes((key.namespace, key.checkpoint_id), writes, replace=replace)

    async def copy_checkpoints(self, owner: str, source_id: str, target_id: str) -> None:
        source = self._shelves.get((owner, source_id))
        if source is None or source_id == target_id:
            return
        self._shelves.setdefault((owner, target_id), Shelf()).adopt(source, target_id)

    async def delete_checkpoints(
        self, owner: str, thread_id: str, checkpoint_ids: Sequence[tuple[str, str]] | None = None
    ) -> None:
        if checkpoint_ids is None:
            self._shelves.pop((owner, thread_id), None)
        elif shelf := self._shelves.get((owner, thread_id)):
            shelf.remove(checkpoint_ids)
