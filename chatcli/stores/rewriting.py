"""Changing the text of what is stored where it stands: what `ThreadStore.rewrite` is given."""

from chatcli.models import Thread, Turn
from chatcli.stores.records import Blob, CheckpointKey, PendingWrite


class Rewriter:
    """Is handed everything of a thread that may hold text, and returns what takes its place.

    This one changes nothing. A store asks about each record that it keeps, one at a time and in any
    order, within a transaction. It takes over title and system prompt of a thread, contents of
    messages and the error's message of a turn, and the value of a pending write; no method may
    change anything else.
    """

    def thread(self, thread: Thread) -> Thread:
        """Return the thread with the title and the system prompt that it is to have."""
        return thread

    def turn(self, turn: Turn) -> Turn:
        """Return the turn with the texts that it is to have."""
        return turn

    def fingerprint(self, fingerprint: str) -> str:
        """Return what takes the place of the fingerprint of a turn's request."""
        return fingerprint

    def head(self, key: CheckpointKey, head: Blob) -> Blob:
        """Return what takes the place of a checkpoint's head."""
        del key
        return head

    def metadata(self, key: CheckpointKey, metadata: str) -> str:
        """Return what takes the place of a checkpoint's metadata, a JSON object like it."""
        del key
        return metadata

    def channel(self, key: CheckpointKey, name: str, version: str, value: Blob) -> Blob:
        """Return what takes the place of a channel's value; the id in `key` is empty."""
        del key, name, version
        return value

    def write(self, key: CheckpointKey, write: PendingWrite) -> PendingWrite:
        """Return the pending write with the value that it is to have."""
        del key
        return write
