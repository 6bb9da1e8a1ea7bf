"""Changing sealed text where it stands: opened, changed, and sealed with the current key."""

from chatcli.frozen import replace
from chatcli.models import Message, Thread, Turn
from chatcli.stores.encrypted.keys import KeyRing
from chatcli.stores.encrypted.seals import Opening, Sealing, is_current, is_current_object
from chatcli.stores.records import Blob, CheckpointKey, PendingWrite
from chatcli.stores.rewriting import Rewriter


class Resealing(Rewriter):
    """Hands what is stored to another rewriter in plain, and seals what comes back.

    What that one leaves as it was and the current key has sealed stays byte for byte. Everything is
    opened, so damage is found on the way.
    """

    def __init__(self, owner: str, ring: KeyRing, rewriter: Rewriter) -> None:
        self._ring = ring
        self._rewriter = rewriter
        self._opening = Opening(owner, ring)
        self._sealing = Sealing(owner, ring)

    def thread(self, thread: Thread) -> Thread:
        """Return the thread with title and system prompt sealed anew."""
        was = self._opening.thread(thread)
        now = self._rewriter.thread(was)
        title, system = thread.title, thread.system
        if now.title != was.title or not self._ring.is_current(title):
            title = self._sealing.title(now.title, thread.id)
        if now.system != was.system or not (system is None or self._ring.is_current(system)):
            system = self._sealing.system(now.system)
        return replace(thread, title=title, system=system)

    def turn(self, turn: Turn) -> Turn:
        """Return the turn with its texts sealed anew."""
        was = self._opening.turn(turn)
        now = self._rewriter.turn(was)
        error = turn.error
        if now.error != was.error or not (error is None or self._ring.is_current(error.message)):
            error = self._sealing.error(now.error, turn.id)
        each = zip(turn.messages, was.messages, now.messages, strict=True)
        return replace(turn, messages=tuple(self._message(*three) for three in each), error=error)

    def fingerprint(self, fingerprint: str) -> str:
        """Return the digest of a plain fingerprint; of one that is a digest nothing more can be made."""
        return self._ring.digest_once(fingerprint)

    def head(self, key: CheckpointKey, head: Blob) -> Blob:
        """Return the head sealed anew."""
        was = self._opening.head(key, head)
        now = self._rewriter.head(key, was)
        return head if self._stays(head, was, now) else self._sealing.head(key, now)

    def metadata(self, key: CheckpointKey, metadata: str) -> str:
        """Return the metadata sealed anew."""
        was = self._opening.metadata(key, metadata)
        now = self._rewriter.metadata(key, was)
        if now == was and is_current_object(metadata, self._ring):
            return metadata
        return self._sealing.metadata(key, now)

    def channel(self, key: CheckpointKey, name: str, version: str, value: Blob) -> Blob:
        """Return the value sealed anew."""
        was = self._opening.channel(key, name, version, value)
        now = self._rewriter.channel(key, name, version, was)
        return value if self._stays(value, was, now) else self._sealing.channel(key, name, version, now)

    def write(self, key: CheckpointKey, write: PendingWrite) -> PendingWrite:
        """Return the pending write with its value sealed anew."""
        was = self._opening.write(key, write)
        now = self._rewriter.write(key, was)
        return write if self._stays(write.value, was.value, now.value) else self._sealing.write(key, now)

    def _message(self, message: Message, was: Message, now: Message) -> Message:
        if now.content == was.content and is_current(message.content, self._ring):
            return message
        return self._sealing.message(replace(message, content=now.content))

    def _stays(self, stored: Blob, was: Blob, now: Blob) -> bool:
        return now == was and self._ring.is_current(stored.type)
