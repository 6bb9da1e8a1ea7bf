"""What the tests of checkpoints need to know of a kind of store."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chatcli.stores.base import ThreadStore


@dataclass(frozen=True)
class StoreFactory:
    """Makes empty stores of one kind."""

    name: str
    make: Callable[[], ThreadStore]
    waits: bool
    """Whether the store's methods need an event loop."""
    folder: Path
    """Where the files of the store are, if it has any."""

    def files(self) -> bytes:
        """Return the bytes of all files of the stores."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())
