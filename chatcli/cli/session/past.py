"""The prompts of earlier sessions, in a file that only its owner can read."""

import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

FILE = "prompts"
MOST_BYTES = 2_000_000


def write_private(path: Path, data: bytes, flags: int) -> None:
    """Write `data` to a file that, if it is made, only its owner can read. Raises `OSError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def open_past(directory: Path | None) -> History:
    """Return the history in `directory`; one in memory where there is none, or it can't be written."""
    if directory is None:
        return InMemoryHistory()
    path = directory / FILE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
        if path.stat().st_size > MOST_BYTES:
            _shorten(path)
    except OSError:
        return InMemoryHistory()
    return PromptHistory(path)


def _shorten(path: Path) -> None:
    """Keep the younger half, from the beginning of an entry on."""
    kept = path.read_bytes()[-MOST_BYTES // 2 :].partition(b"\n\n#")[2]
    shorter = path.with_name(f"{path.name}.{os.getpid()}")
    write_private(shorter, b"\n#" + kept, os.O_EXCL)
    shorter.replace(path)


class PromptHistory(FileHistory):
    """A file of prompts; one that can't be read or written costs nothing but the memory of them."""

    def load_history_strings(self) -> Iterable[str]:
        """Return the prompts, youngest first."""
        try:
            return super().load_history_strings()
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        """Add a prompt."""
        lines = "".join(f"+{line}\n" for line in string.split("\n"))
        entry = f"\n# {datetime.now().astimezone():%Y-%m-%dT%H:%M:%S%z}\n{lines}"
        with suppress(OSError):
            write_private(Path(os.fsdecode(self.filename)), entry.encode("utf-8", "replace"), os.O_APPEND)
