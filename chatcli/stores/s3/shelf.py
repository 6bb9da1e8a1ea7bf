"""LangGraph's checkpoints of one thread, as they lie in its object: opaque values as base64."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, PendingWrite
from chatcli.stores.shelf import Shelf


def shelf_json(shelf: Shelf) -> dict[str, Any]:
    """Return the shelf as it stands in an object."""
    return {
        "rows": [
            {
                "namespace": namespace,
                "id": checkpoint_id,
                "parent_id": row.parent_id,
                "head": _pack(row.head),
                "metadata": row.metadata,
                "versions": row.versions,
            }
            for (namespace, checkpoint_id), row in shelf.rows.items()
        ],
        "channels": [[*place, *_pack(value)] for place, value in shelf.channels.items()],
        "writes": [
            [*place, write.task_id, write.task_path, write.index, write.channel, *_pack(write.value)]
            for place, writes in shelf.writes.items()
            for write in writes.values()
        ],
    }


def shelf_of(data: Mapping[str, Any], owner: str, thread_id: str) -> Shelf:
    """Return what `shelf_json` wrote; nonsense raises `ValueError`, `KeyError` or `TypeError`."""
    shelf = Shelf()
    for row in data.get("rows", ()):
        key = CheckpointKey(owner, thread_id, row["namespace"], row["id"])
        shelf.rows[key.namespace, key.checkpoint_id] = CheckpointRow(
            key, row["parent_id"], _unpack(*row["head"]), row["metadata"], dict(row["versions"])
        )
    for namespace, name, version, kind, text in data.get("channels", ()):
        shelf.channels[namespace, name, version] = _unpack(kind, text)
    for namespace, checkpoint_id, task_id, path, index, channel, kind, text in data.get("writes", ()):
        write = PendingWrite(task_id, path, index, channel, _unpack(kind, text))
        shelf.writes.setdefault((namespace, checkpoint_id), {})[task_id, index] = write
    return shelf


def _pack(blob: Blob) -> tuple[str, str]:
    return blob.type, b64encode(blob.data).decode("ascii")


def _unpack(kind: str, text: str) -> Blob:
    return Blob(kind, b64decode(text, validate=True))
