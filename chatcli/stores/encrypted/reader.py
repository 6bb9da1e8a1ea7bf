"""Who may add to a thread: who can read it."""

from chatcli.models import Message, Thread
from chatcli.stores.encrypted.seals import Opening
from chatcli.stores.records import Admission


class Reader(Admission):
    """Opens the thread and the context of a turn before it begins; the context is opened once."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.keys = tuple(opening.ring.keys)
        self._stored: tuple[Message, ...] = ()
        self._opened: tuple[Message, ...] = ()

    def admit(self, thread: Thread, context: tuple[Message, ...]) -> None:
        """Raise `ConfigError` or `StoreCorrupt` where something can't be opened."""
        self.opening.thread(thread)
        self._opened = self.opening.messages(context)
        self._stored = context

    def open(self, context: tuple[Message, ...]) -> tuple[Message, ...]:
        """Return the context with which the turn began, as it was said."""
        return self._opened if context == self._stored else self.opening.messages(context)
