"""Checkpoints as rows of a store, and back. Nothing stored is ever unpickled or made to run."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from chatcli.errors import StoreCorrupt
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, PendingWrite

MESSAGES = "messages"
"""The channel whose value is in the log of a chat thread."""

LOG_KEY = "__log"
"""Set in the config of a checkpoint whose messages were read from the log."""

SERIALIZER = JsonPlusSerializer(allowed_msgpack_modules=None)
"""Rebuilds LangGraph's and LangChain's own types; a foreign type comes back as plain data."""

_WRITTEN_TYPES = frozenset({"null", "bytes", "bytearray", "msgpack"})
_LOG_MARK = "log"


def dump(value: Any) -> Blob:
    """Return `value` as a store keeps it."""
    return Blob(*SERIALIZER.dumps_typed(value))


def load(blob: Blob) -> Any:
    """Return the value of `blob`, or raise `StoreCorrupt`.

    Type tags that `dump` never writes are refused: LangGraph's serializer would build LangChain's
    objects from one of them.
    """
    if blob.type in _WRITTEN_TYPES:
        try:
            return SERIALIZER.loads_typed((blob.type, blob.data))
        except ValueError:
            pass
    raise StoreCorrupt("a stored checkpoint can't be read", hint="delete the thread, or restore a backup")


def encode(
    key: CheckpointKey,
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    new_versions: ChannelVersions,
    *,
    turn_id: str | None = None,
) -> CheckpointRow:
    """Return a checkpoint as a row with the values that are new in it.

    With `turn_id` the row is that of a chat thread: it holds no messages, has no parent, and is
    marked with the turn that wrote it.
    """
    values = dict(checkpoint["channel_values"])
    head: dict[str, Any] = {name: value for name, value in checkpoint.items() if name != "channel_values"}
    if turn_id is not None:
        values.pop(MESSAGES, None)
        head[_LOG_MARK] = turn_id
    versions = {name: str(version) for name, version in checkpoint["channel_versions"].items()}
    return CheckpointRow(
        key=key,
        parent_id=None if turn_id is not None else config["configurable"].get("checkpoint_id"),
        head=dump(head),
        metadata=json.dumps(get_checkpoint_metadata(config, metadata), default=str),
        versions={name: version for name, version in versions.items() if name in values},
        channels={
            (name, str(version)): dump(values[name])
            for name, version in new_versions.items()
            if name in values
        },
    )


def decode(row: CheckpointRow) -> tuple[Checkpoint, str | None]:
    """Return the checkpoint with its values, and the turn that wrote it where the messages are in the log."""
    head = load(row.head)
    if not isinstance(head, dict):
        raise StoreCorrupt("a stored checkpoint can't be read", hint="delete the thread, or restore a backup")
    turn_id = head.pop(_LOG_MARK, None)
    head["channel_values"] = {
        name: load(row.channels[name, version])
        for name, version in row.versions.items()
        if (name, version) in row.channels
    }
    return cast("Checkpoint", head), turn_id


def encode_writes(writes: Sequence[tuple[str, Any]], task_id: str, task_path: str) -> list[PendingWrite]:
    """Return the writes of a task; those to LangGraph's own channels have fixed negative indexes."""
    return [
        PendingWrite(task_id, task_path, WRITES_IDX_MAP.get(channel, index), channel, dump(value))
        for index, (channel, value) in enumerate(writes)
    ]


def decode_writes(row: CheckpointRow) -> list[tuple[str, str, Any]]:
    """Return the pending writes of a row in the order of the store."""
    return [(write.task_id, write.channel, load(write.value)) for write in row.writes]


def config_of(key: CheckpointKey, *, marked: bool = False) -> RunnableConfig:
    """Return the config that names a checkpoint."""
    place: dict[str, Any] = {
        "thread_id": key.thread_id,
        "checkpoint_ns": key.namespace,
        "checkpoint_id": key.checkpoint_id,
    }
    return {"configurable": {**place, LOG_KEY: True} if marked else place}


def matches(row: CheckpointRow, wanted: Mapping[str, Any]) -> bool:
    """Tell whether the metadata of a row has all the wanted values."""
    if not wanted:
        return True
    metadata = json.loads(row.metadata)
    return all(metadata.get(name) == value for name, value in wanted.items())


def place(key: CheckpointKey) -> tuple[str, str]:
    """Return the (namespace, id) pair by which a store removes a checkpoint."""
    return key.namespace, key.checkpoint_id


def needed_rows(rows: Sequence[CheckpointRow]) -> set[tuple[str, str]]:
    """Return the newest checkpoint of each namespace, and what a delta channel in it is rebuilt from."""
    found = {place(row.key): row for row in rows}
    newest: dict[str, CheckpointRow] = {}
    for row in rows:
        newest.setdefault(row.key.namespace, row)
    needed: set[tuple[str, str]] = set()
    for row in newest.values():
        missing = set(json.loads(row.metadata).get("counters_since_delta_snapshot", ())) - row.versions.keys()
        current: CheckpointRow | None = row
        needed.add(place(row.key))
        while missing and current is not None and current.parent_id is not None:
            current = found.get((row.key.namespace, current.parent_id))
            if current is not None:
                needed.add(place(current.key))
                missing -= current.versions.keys()
    return needed
