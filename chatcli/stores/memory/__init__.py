"""The store in memory: everything that the others promise, for as long as the process lives."""

from chatcli.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
