"""The graph of a service's turns: imported when it is needed, compiled once."""

import gc
import importlib
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, cast

from chatcli.stores.base import ThreadStore

if TYPE_CHECKING:
    from types import ModuleType

    from chatcli.agent import CompiledGraph
    from chatcli.config import Settings

GRAPH = "chatcli.agent"
"""The module that imports LangGraph."""

SWITCH_SECONDS = 0.0001
"""After how long the import lets another thread go on: five milliseconds, which is what Python thinks
enough, are waited for at each step on the way of the first token."""

_HTTPX_COMMAND = "httpx._main"
"""httpx imports its own command line, and Rich and Click with it, where it finds them installed."""


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
    """Import LangGraph with the collector off: what is imported stays, so looking for garbage is waste.

    A library on its way, httpx, is told that its command line is not installed, which it can do
    without: else that is one part in twenty of all that is imported.
    """
    if GRAPH in sys.modules:
        return
    collecting, interval = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(SWITCH_SECONDS)
    hidden = sys.modules.setdefault(_HTTPX_COMMAND, cast("ModuleType", None)) is None
    try:
        importlib.import_module(GRAPH)
    finally:
        if hidden:
            del sys.modules[_HTTPX_COMMAND]
        sys.setswitchinterval(interval)
        if collecting:
            gc.freeze()
            gc.enable()


def tracing(settings: "Settings") -> AbstractContextManager[None]:
    """Keep what runs or begins in the block from LangSmith, unless our setting is on: others do not count."""
    if settings.langsmith_tracing:
        return nullcontext()
    from langsmith import tracing_context

    return tracing_context(enabled=False)
