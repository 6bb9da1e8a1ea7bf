"""LangGraph's checkpoints of one thread, for stores that hold a thread as a whole."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chatcli.frozen import replace
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, Keep, PendingWrite
from chatcli.stores.rewriting import Rewriter


@dataclass(slots=True)
class Shelf:
    """The checkpoints of one thread, by (namespace, id), and what belongs to them."""

    rows: dict[tuple[str, str], CheckpointRow] = field(default_factory=dict)
    channels: dict[tuple[str, str, str], Blob] = field(default_factory=dict)
    """Values by (namespace, channel, version)."""
    writes: dict[tuple[str, str], dict[tuple[str, int], PendingWrite]] = field(default_factory=dict)
    """Pending writes of a checkpoint by (task id, index). They may come before their checkpoint."""

    def __bool__(self) -> bool:
        return bool(self.rows or self.writes)

    def copy(self) -> "Shelf":
        """Return a shelf of its own with the same things on it."""
        writes = {place: dict(held) for place, held in self.writes.items()}
        return Shelf(dict(self.rows), dict(self.channels), writes)

    def put(self, row: CheckpointRow, *, keep: Keep) -> None:
        """Write a row; with `keep` ``latest`` it is the only one of its namespace."""
        namespace, checkpoint_id = row.key.namespace, row.key.checkpoint_id
        for (name, version), value in row.channels.items():
            self.channels[namespace, name, version] = value
        self.rows[namespace, checkpoint_id] = replace(
            row, versions=dict(row.versions), channels={}, writes=()
        )
        if keep == "latest":
            others = {*self.rows, *self.writes} - {(namespace, checkpoint_id)}
            self.remove(place for place in others if place[0] == namespace)

    def put_writes(self, place: tuple[str, str], writes: Sequence[PendingWrite], *, replace: bool) -> None:
        """Add pending writes; one with the same task and index stays unless `replace`."""
        held = self.writes.setdefault(place, {})
        for write in writes:
            if replace:
                held[write.task_id, write.index] = write
            else:
                held.setdefault((write.task_id, write.index), write)

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

    def adopt(self, source: "Shelf", thread_id: str) -> None:
        """Take a copy of everything on another thread's shelf."""
        self.channels.update(source.channels)
        for place, row in source.rows.items():
            self.rows[place] = replace(row, key=replace(row.key, thread_id=thread_id))
        for place, writes in source.writes.items():
            self.writes.setdefault(place, {}).update(writes)

    def rewritten(self, key: CheckpointKey, rewriter: Rewriter) -> "Shelf":
        """Return a shelf with what `rewriter` makes of all values; `key` is of the thread."""
        new = Shelf()
        for place, row in self.rows.items():
            head, metadata = rewriter.head(row.key, row.head), rewriter.metadata(row.key, row.metadata)
            new.rows[place] = replace(row, head=head, metadata=metadata)
        for (namespace, name, version), value in self.channels.items():
            at = replace(key, namespace=namespace)
            new.channels[namespace, name, version] = rewriter.channel(at, name, version, value)
        for (namespace, checkpoint_id), writes in self.writes.items():
            at = replace(key, namespace=namespace, checkpoint_id=checkpoint_id)
            new.writes[namespace, checkpoint_id] = {
                index: rewriter.write(at, write) for index, write in writes.items()
            }
        return new
