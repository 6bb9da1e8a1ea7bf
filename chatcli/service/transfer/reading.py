"""Reading threads one at a time, so that one that can't be read does not keep the others out."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from chatcli.errors import InvalidText
from chatcli.models import Thread, Turn

Whole: TypeAlias = tuple[Thread, tuple[Turn, ...]]

STRANGE = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)
"""What comes of reading something else than what was expected."""


class Unfit(InvalidText):
    """One thread of a file can't be read; the others may."""

    def __init__(self, thread: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.thread = thread
        """Its id, or its place where it has none."""


class Reading(Iterator[Whole]):
    """The threads of a file. After `Unfit` the next call goes on behind that thread; other errors end it."""

    def __init__(self, readers: Iterator[Callable[[], Whole]]) -> None:
        self._readers = readers

    def __next__(self) -> Whole:
        return next(self._readers)()
