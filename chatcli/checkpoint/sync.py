"""The methods of a checkpointer for callers with no event loop, such as ``graph.invoke``."""

import threading
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from chatcli.errors import InvalidRequest

_T = TypeVar("_T")

# LangGraph calls from threads of its own; the stores that can be called so expect one at a time.
_ONE_AT_A_TIME = threading.Lock()


class SyncMethods(BaseCheckpointSaver[str]):
    """Each method runs its asynchronous namesake to the end, which must not wait for anything.

    Raises `InvalidRequest` where the store needs an event loop.
    """

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Run `aget_tuple`."""
        return finish(self.aget_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 (the name is LangGraph's)
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Run `alist`."""

        async def collect() -> tuple[CheckpointTuple, ...]:
            found = self.alist(config, filter=filter, before=before, limit=limit)
            return tuple([saved async for saved in found])

        return iter(finish(collect()))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Run `aput`."""
        return finish(self.aput(config, checkpoint, metadata, new_versions))

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Run `aput_writes`."""
        finish(self.aput_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Run `adelete_thread`."""
        finish(self.adelete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Run `adelete_for_runs`."""
        finish(self.adelete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Run `acopy_thread`."""
        finish(self.acopy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Run `aprune`."""
        finish(self.aprune(thread_ids, strategy=strategy))


def finish(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of a coroutine that never waits; raise `InvalidRequest` if it does."""
    try:
        with _ONE_AT_A_TIME:
            coroutine.send(None)
    except StopIteration as done:
        result: _T = done.value
        return result
    except RuntimeError as error:
        if "no running event loop" not in str(error):
            raise
        raise _needs_loop() from error
    coroutine.close()
    raise _needs_loop()


def _needs_loop() -> InvalidRequest:
    return InvalidRequest(
        "this store needs an event loop", hint="use ainvoke, astream and the other asynchronous methods"
    )
