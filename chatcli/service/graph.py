"""The graph of a service's turns: imported when it is needed, compiled once."""

import gc
import importlib
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from chatcli.stores.base import ThreadStore

if TYPE_CHECKING:
    from chatcli.agent import CompiledGraph
    from chatcli.config import Settings

GRAPH = "chatcli.agent"
"""The module that imports LangGraph."""


class TurnGraph:
    """The graph of an owner's turns; the first one compiles it, for that takes milliseconds."""

    def __init__(self, store: ThreadStore, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._compiled: CompiledGraph | None = None

    def compiled(self) -> "CompiledGraph":
        """Return it, with a saver that commits to the store."""
        if self._compiled is None:
            from chatcli.agent import build_graph
            from chatcli.checkpoint import ThreadSaver

            self._compiled = build_graph(ThreadSaver(self._store, owner=self._owner))
        return self._compiled


def import_graph() -> None:
    """Import LangGraph with the collector off: what is imported stays, so looking for garbage is waste."""
    if GRAPH in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module(GRAPH)
    finally:
        if collecting:
            gc.freeze()
            gc.enable()


def tracing(settings: "Settings") -> AbstractContextManager[None]:
    """Keep a run of the graph from LangSmith unless our setting is on, whatever LangChain's variables say."""
    if settings.langsmith_tracing:
        return nullcontext()
    from langsmith import tracing_context

    return tracing_context(enabled=False)
