"""The half of the store in memory that keeps LangGraph's checkpoints."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, Keep, PendingWrite, ThreadStore


@dataclass(slots=True)
class Shelf:
    """The checkpoints of one thread, by (namespace, id), and what belongs to them."""

    rows: dict[tuple[str, str], CheckpointRow] = field(default_factory=dict)
    channels: dict[tuple[str, str, str], Blob] = field(default_factory=dict)
    """Values by (namespace, channel, version)."""
    writes: defaultdict[tuple[str, str], dict[tuple[str, int], PendingWrite]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """Pending writes of a checkpoint by (task id, index). They may come before their checkpoint."""

    def put(self, row: CheckpointRow, *, keep: Keep) -> None:
        """Write a row; with `keep` ``latest`` it is the only one of its namespace."""
        namespace = row.key.namespace
        for (name, version), value in row.channels.items():
            self.channels[namespace, name, version] = value
        self.rows[namespace, row.key.checkpoint_id] = replace(
            row, versions=dict(row.versions), channels={}, writes=()
        )
        if keep == "latest":
            others = {*self.rows, *self.writes} - {(namespace, row.key.checkpoint_id)}
            self.remove(place for place in others if place[0] == namespace)

    def remove(self, places: Iterable[tuple[str, str]]) -> None:
        """Remove checkpoints, and the values that none of the others names."""
        for place in list(places):
            self.rows.pop(place, None)
            self.writes.pop(place, None)
        named = {
            (namespace, name, version)
            for (namespace, _), row in self.rows.items()
            for name, version in row.versions.items()
        }
        self.channels = {place: value for place, value in self.channels.items() if place in named}

    def read(self, place: tuple[str, str]) -> CheckpointRow | None:
        """Return the row at (namespace, id) with its values and writes; an empty id means the newest."""
        namespace, checkpoint_id = place
        if not checkpoint_id:
            checkpoint_id = max((id_ for found, id_ in self.rows if found == namespace), default="")
        row = self.rows.get((namespace, checkpoint_id))
        if row is None:
            return None
        wanted = ((name, version) for name, version in row.versions.items())
        values = {key: self.channels[namespace, *key] for key in wanted if (namespace, *key) in self.channels}
        writes = self.writes.get((namespace, checkpoint_id), {}).values()
        ordered = sorted(writes, key=lambda write: (write.task_path, write.task_id, write.index))
        return replace(row, channels=values, writes=tuple(ordered))


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
        held = shelf.writes[key.namespace, key.checkpoint_id]
        for write in writes:
            if replace:
                held[write.task_id, write.index] = write
            else:
                held.setdefault((write.task_id, write.index), write)

    async def copy_checkpoints(self, owner: str, source_id: str, target_id: str) -> None:
        source = self._shelves.get((owner, source_id))
        if source is None or source_id == target_id:
            return
        target = self._shelves.setdefault((owner, target_id), Shelf())
        target.channels.update(source.channels)
        for place, row in source.rows.items():
            target.rows[place] = replace(row, key=replace(row.key, thread_id=target_id))
        for place, writes in source.writes.items():
            target.writes[place].update(writes)

    async def delete_checkpoints(
        self, owner: str, thread_id: str, checkpoint_ids: Sequence[tuple[str, str]] | None = None
    ) -> None:
        if checkpoint_ids is None:
            self._shelves.pop((owner, thread_id), None)
        elif shelf := self._shelves.get((owner, thread_id)):
            shelf.remove(checkpoint_ids)
