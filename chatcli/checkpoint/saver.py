"""`ThreadSaver`: what LangGraph asks of a checkpointer, answered by a `ThreadStore`."""

import itertools
import json
import secrets
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Self, cast

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    empty_checkpoint,
    get_checkpoint_id,
)

from chatcli.checkpoint.messages import to_langchain
from chatcli.checkpoint.rows import (
    LOG_KEY,
    MESSAGES,
    SERIALIZER,
    config_of,
    decode,
    decode_writes,
    dump,
    encode,
    encode_writes,
    matches,
    needed_rows,
    place,
)
from chatcli.checkpoint.sync import SyncMethods
from chatcli.checkpoint.turns import TURN_KEY, TurnHandle
from chatcli.errors import InvalidRequest, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER
from chatcli.stores.base import CheckpointKey, CheckpointRow, PendingWrite, ThreadStore

_WHOLE_LOG = 2**31 - 1


class ThreadSaver(SyncMethods):
    """LangGraph's checkpointer on any store, for one owner's threads.

    Any graph can be compiled with it. A chat graph runs with a `TurnHandle` under
    ``configurable["__turn"]``: its state begins with a window of the thread's log, and its answer
    is committed to the log; one small checkpoint a thread holds the rest. Without a handle a chat
    thread can be read, with all its messages, and not be written.

    Version numbers are half random, so two branches from one checkpoint never name different values alike.
    """

    def __init__(self, store: ThreadStore, *, owner: str = LOCAL_OWNER) -> None:
        super().__init__(serde=SERIALIZER)
        self._store = store
        self._owner = owner

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> Self:  # noqa: ARG002
        """Return the saver as it is: no graph widens the types that are rebuilt."""
        return self

    def get_next_version(self, current: str | float | None, channel: None) -> str:  # noqa: ARG002
        """Return a version over `current` that no other branch has."""
        return _next_version(current)

    # Reading -----------------------------------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that `config` names, or the newest one; in a chat turn, its context."""
        key = self._key(config)
        handle = _handle(config)
        if handle is not None and not key.namespace:
            return await self._begin_turn(key, handle)
        row = await self._store.get_checkpoint(key)
        if row is not None:
            return await self._read(row)
        if key.namespace or key.checkpoint_id:
            return None
        messages = await self._log(key.thread_id)
        return _synthesize(key, messages, marked=True) if messages else None

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first."""
        configurable = config["configurable"] if config else {}
        checkpoint_id = configurable.get("checkpoint_id")
        rows = await self._store.list_checkpoints(
            self._owner,
            str(configurable["thread_id"]) if config else None,
            configurable.get("checkpoint_ns"),
            before=get_checkpoint_id(before) if before else None,
            limit=None if filter or checkpoint_id else limit,
        )
        found = (row for row in rows if checkpoint_id in (None, "", row.key.checkpoint_id))
        for row in itertools.islice((row for row in found if matches(row, filter or {})), limit):
            yield await self._read(row)

    async def _read(self, row: CheckpointRow) -> CheckpointTuple:
        checkpoint, turn_id = decode(row)
        if turn_id is not None:
            checkpoint["channel_values"][MESSAGES] = await self._log(row.key.thread_id)
        parent = None if row.parent_id is None else config_of(replace(row.key, checkpoint_id=row.parent_id))
        return CheckpointTuple(
            config=config_of(row.key, marked=turn_id is not None),
            checkpoint=checkpoint,
            metadata=cast("CheckpointMetadata", json.loads(row.metadata)),
            parent_config=parent,
            pending_writes=decode_writes(row),
        )

    async def _begin_turn(self, key: CheckpointKey, handle: TurnHandle) -> CheckpointTuple | None:
        """Return the state that a turn begins with; only one that was interrupted needs the store for it."""
        messages = [to_langchain(message) for message in handle.context]
        row = await self._store.get_checkpoint(key) if handle.resumed else None
        if row is None:
            return _synthesize(key, messages) if messages else None
        checkpoint, turn_id = decode(row)
        if turn_id != handle.turn.id:  # what an interrupt() of another turn left is over
            return _synthesize(key, messages)
        values = checkpoint["channel_values"]
        values[MESSAGES] = [*messages, *values.get(MESSAGES, [])]
        return CheckpointTuple(
            config=config_of(row.key),
            checkpoint=checkpoint,
            metadata=cast("CheckpointMetadata", json.loads(row.metadata)),
            parent_config=None,
            pending_writes=decode_writes(row),
        )

    async def _log(self, thread_id: str) -> list[BaseMessage]:
        messages = await self._store.context(self._owner, thread_id, limit=_WHOLE_LOG)
        return [to_langchain(message) for message in messages]

    # Writing -----------------------------------------------------------------------------------

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write a checkpoint; in a chat turn, commit the answer, or nothing where there is none.

        Raises:
            ThreadNotFound: the thread of the turn was deleted or cleared meanwhile.
            InvalidRequest: a chat thread, and no `TurnHandle`.
        """
        key = replace(self._key(config), checkpoint_id=checkpoint["id"])
        handle = _handle(config)
        if handle is not None:
            turn_id = None if key.namespace else handle.turn.id
            row = encode(key, config, checkpoint, metadata, new_versions, turn_id=turn_id)
            await self._put_turn(row, checkpoint, handle)
            return config_of(key)
        if config["configurable"].get(LOG_KEY) and not key.namespace:
            raise InvalidRequest(
                f"the thread {key.thread_id} is a conversation; a graph can read it and not write to it",
                hint="send it a message, or copy it to another thread first",
            )
        await self._store.put_checkpoint(encode(key, config, checkpoint, metadata, new_versions))
        return config_of(key)

    async def _put_turn(self, row: CheckpointRow, checkpoint: Checkpoint, handle: TurnHandle) -> None:
        if handle.committed is not None:
            return
        if row.key.namespace:
            handle.unsaved[row.key.namespace] = row
            return
        messages = checkpoint["channel_values"].get(MESSAGES, [])
        outcome = handle.outcome(messages)
        if outcome is not None:
            handle.committed = await self._store.commit(handle.lease, outcome, row)
            return
        version = str(checkpoint["channel_versions"].get(MESSAGES, ""))
        context = {message.id for message in handle.context}
        unfinished = [message for message in messages if message.id not in context]
        handle.unsaved[""] = replace(
            row,
            versions={**row.versions, MESSAGES: version},
            channels={**row.channels, (MESSAGES, version): dump(unfinished)},
        )

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Add writes of a task to a checkpoint; in a chat turn, only if it stops at an ``interrupt()``."""
        key = self._key(config)
        pending: Sequence[PendingWrite] = encode_writes(writes, task_id, task_path)
        if (handle := _handle(config)) is not None:
            pending = handle.hold_writes(key.namespace, pending)
            if pending and (row := handle.unsaved.pop(key.namespace, None)) is not None:
                await self._store.put_checkpoint(row, keep="latest")
        for special in (False, True):
            chosen = [write for write in pending if (write.index < 0) is special]
            if chosen:
                await self._store.put_writes(key, chosen, replace=special)

    # Whole threads -----------------------------------------------------------------------------

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove all of a thread: its checkpoints, and the conversation if it is one."""
        try:
            await self._store.delete(self._owner, thread_id)
        except ThreadNotFound:
            await self._store.delete_checkpoints(self._owner, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints of runs, on all threads."""
        wanted = set(run_ids)
        found: dict[str, list[tuple[str, str]]] = {}
        for row in await self._store.list_checkpoints(self._owner, None, None) if wanted else ():
            if json.loads(row.metadata).get("run_id") in wanted:
                found.setdefault(row.key.thread_id, []).append(place(row.key))
        for thread_id, places in found.items():
            await self._store.delete_checkpoints(self._owner, thread_id, places)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread's checkpoints; the copy of a conversation is a checkpoint with its messages."""
        saved = await self.aget_tuple({"configurable": {"thread_id": source_thread_id}})
        if saved is None or LOG_KEY not in saved.config["configurable"]:
            await self._store.copy_checkpoints(self._owner, source_thread_id, target_thread_id)
            return
        target: RunnableConfig = {"configurable": {"thread_id": target_thread_id}}
        await self.aput(target, saved.checkpoint, saved.metadata, saved.checkpoint["channel_versions"])

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Remove all but the newest checkpoint of each namespace, or with ``delete`` all of them."""
        if strategy not in ("keep_latest", "delete"):
            raise InvalidRequest(f"there is no strategy {strategy!r}", hint="use keep_latest or delete")
        for thread_id in thread_ids:
            if strategy == "delete":
                await self._store.delete_checkpoints(self._owner, thread_id)
                continue
            rows = await self._store.list_checkpoints(self._owner, thread_id, None)
            kept = needed_rows(rows)
            old = [place(row.key) for row in rows if place(row.key) not in kept]
            if old:
                await self._store.delete_checkpoints(self._owner, thread_id, old)

    def _key(self, config: RunnableConfig) -> CheckpointKey:
        configurable = config["configurable"]
        return CheckpointKey(
            self._owner,
            str(configurable["thread_id"]),
            configurable.get("checkpoint_ns") or "",
            configurable.get("checkpoint_id") or "",
        )


def _next_version(current: str | float | None) -> str:
    number = 0 if current is None else int(str(current).partition(".")[0])
    return f"{number + 1:016}.{secrets.token_hex(8)}"


def _handle(config: RunnableConfig) -> TurnHandle | None:
    """Return the handle of `config` unless the config is that of a graph on another thread."""
    configurable = config["configurable"]
    handle = configurable.get(TURN_KEY)
    if isinstance(handle, TurnHandle) and handle.lease.thread_id == configurable["thread_id"]:
        return handle
    return None


def _synthesize(
    key: CheckpointKey, messages: Sequence[BaseMessage], *, marked: bool = False
) -> CheckpointTuple:
    """Return a checkpoint for a chat thread that has none: answers so far were all cut short."""
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"][MESSAGES] = list(messages)
    checkpoint["channel_versions"][MESSAGES] = _next_version(None)
    return CheckpointTuple(
        config=config_of(replace(key, checkpoint_id=checkpoint["id"]), marked=marked),
        checkpoint=checkpoint,
        metadata={"source": "update", "step": -1, "parents": {}},
        parent_config=None,
        pending_writes=[],
    )
