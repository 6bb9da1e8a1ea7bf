"""What of threads, turns and checkpoints is sealed, and under which place.

Messages are bound to their owner, their id and their role, but not to a thread: a fork shares them.
Everything that stores need for their work stays readable: ids, times, states, order, languages,
models, and the names and versions of channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from chatcli.errors import StoreCorrupt
from chatcli.frozen import replace
from chatcli.models import Content, Message, Part, Thread, Turn, TurnError
from chatcli.stores.encrypted.keys import KeyRing, Place
from chatcli.stores.records import Blob, CheckpointKey, CheckpointRow, PendingWrite
from chatcli.stores.sealed import ENCRYPTED


class Seals(ABC):
    """Walks through records of one owner and changes each text in them; equal records stay the same."""

    def __init__(self, owner: str, ring: KeyRing) -> None:
        self.owner = owner
        self.ring = ring

    @abstractmethod
    def text(self, text: str, place: Place) -> str:
        """Return what takes the place of `text`."""

    @abstractmethod
    def content(self, content: Content, place: Place) -> Content:
        """Return what takes the place of the content of a message."""

    @abstractmethod
    def blob(self, blob: Blob, place: Place) -> Blob:
        """Return what takes the place of a serialized value."""

    @abstractmethod
    def object(self, text: str, place: Place) -> str:
        """Return what takes the place of a JSON object; it is one itself."""

    def title(self, title: str, thread_id: str) -> str:
        """Return what takes the place of a title."""
        return self.text(title, ("title", self.owner, thread_id))

    def system(self, system: str | None) -> str | None:
        """Return what takes the place of a thread's system prompt."""
        return None if system is None else self.text(system, ("system", self.owner))

    def thread(self, thread: Thread) -> Thread:
        """Return the thread with another title and system prompt."""
        title, system = self.title(thread.title, thread.id), self.system(thread.system)
        if title == thread.title and system == thread.system:
            return thread
        return replace(thread, title=title, system=system)

    def message(self, message: Message) -> Message:
        """Return the message with another content."""
        place = ("message", self.owner, message.id, message.role.value)
        content = self.content(message.content, place)
        return message if content is message.content else replace(message, content=content)

    def messages(self, messages: Iterable[Message]) -> tuple[Message, ...]:
        """Return the messages with other contents."""
        return tuple(map(self.message, messages))

    def error(self, error: TurnError | None, turn_id: str) -> TurnError | None:
        """Return the error with another message."""
        if error is None:
            return None
        return TurnError(error.name, self.text(error.message, ("error", self.owner, turn_id)))

    def turn(self, turn: Turn) -> Turn:
        """Return the turn with other texts."""
        return replace(turn, messages=self.messages(turn.messages), error=self.error(turn.error, turn.id))

    def head(self, key: CheckpointKey, head: Blob) -> Blob:
        """Return what takes the place of a checkpoint's head."""
        return self.blob(head, ("head", *_place(key), key.checkpoint_id))

    def metadata(self, key: CheckpointKey, metadata: str) -> str:
        """Return what takes the place of a checkpoint's metadata."""
        return self.object(metadata, ("metadata", *_place(key), key.checkpoint_id))

    def channel(self, key: CheckpointKey, name: str, version: str, value: Blob) -> Blob:
        """Return what takes the place of a channel's value."""
        return self.blob(value, ("channel", *_place(key), name, version))

    def write(self, key: CheckpointKey, write: PendingWrite) -> PendingWrite:
        """Return the pending write with another value."""
        place = ("write", *_place(key), key.checkpoint_id, write.task_id, str(write.index), write.channel)
        return replace(write, value=self.blob(write.value, place))

    def checkpoint(self, row: CheckpointRow) -> CheckpointRow:
        """Return the checkpoint with all its values changed."""
        return replace(
            row,
            head=self.head(row.key, row.head),
            metadata=self.metadata(row.key, row.metadata),
            channels={
                (name, version): self.channel(row.key, name, version, value)
                for (name, version), value in row.channels.items()
            },
            writes=tuple(self.write(row.key, write) for write in row.writes),
        )


class Sealing(Seals):
    """Makes of plain records what is stored."""

    def text(self, text: str, place: Place) -> str:
        """Return the sealed text."""
        return self.ring.seal(text, place)

    def content(self, content: Content, place: Place) -> Content:
        """Return sealed text for text, and one part for any number of parts."""
        if isinstance(content, str):
            return self.ring.seal(content, (*place, "text"))
        if self.ring.current is None and _sealed_parts(content) is None:
            return content
        import json

        parts = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        part: Part = {"type": ENCRYPTED, "data": self.ring.seal(parts, (*place, "parts"))}
        return (part,)

    def blob(self, blob: Blob, place: Place) -> Blob:
        """Return the sealed value; its type has the key's id before it."""
        return Blob(*self.ring.seal_bytes(blob.type, blob.data, place))

    def object(self, text: str, place: Place) -> str:
        """Return a JSON object with one member that holds the sealed one."""
        if self.ring.current is None:
            return text
        import json

        return json.dumps({ENCRYPTED: self.ring.seal(text, place)})


class Opening(Seals):
    """Makes of stored records what they were."""

    def text(self, text: str, place: Place) -> str:
        """Return the text that was sealed."""
        return self.ring.open(text, place)

    def content(self, content: Content, place: Place) -> Content:
        """Return the text or the parts that were sealed."""
        if isinstance(content, str):
            return self.ring.open(content, (*place, "text"))
        sealed = _sealed_parts(content)
        if sealed is None:
            return content
        parts = _load(self.ring.open(sealed, (*place, "parts")))
        if not isinstance(parts, list):
            raise StoreCorrupt(
                "the store holds a message that makes no sense", hint="restore it from a backup"
            )
        return tuple(parts)

    def blob(self, blob: Blob, place: Place) -> Blob:
        """Return the value that was sealed."""
        return Blob(*self.ring.open_bytes(blob.type, blob.data, place))

    def object(self, text: str, place: Place) -> str:
        """Return the JSON object that was sealed."""
        sealed = _sealed_object(text)
        return text if sealed is None else self.ring.open(sealed, place)


def is_current(content: Content, ring: KeyRing) -> bool:
    """Tell whether the content of a message is in the form in which it would be stored now."""
    if isinstance(content, str):
        return ring.is_current(content)
    sealed = _sealed_parts(content)
    return ring.current is None if sealed is None else ring.is_current(sealed)


def is_current_object(text: str, ring: KeyRing) -> bool:
    """Tell whether a JSON object is in the form in which it would be stored now."""
    sealed = _sealed_object(text)
    return ring.current is None if sealed is None else ring.is_current(sealed)


def _place(key: CheckpointKey) -> Place:
    """Return the place of a checkpoint but for its thread: checkpoints are copied between threads."""
    return key.owner, key.namespace


def _sealed_parts(content: tuple[Part, ...]) -> str | None:
    """Return the sealed text if `content` is the one part that stands for encrypted parts."""
    if len(content) == 1 and content[0].get("type") == ENCRYPTED:
        data = content[0].get("data")
        return data if isinstance(data, str) else None
    return None


def _sealed_object(text: str) -> str | None:
    """Return the sealed text if `text` is a JSON object with nothing else in it."""
    if ENCRYPTED not in text:
        return None
    found = _load(text)
    if isinstance(found, dict) and found.keys() == {ENCRYPTED} and isinstance(found[ENCRYPTED], str):
        sealed: str = found[ENCRYPTED]
        return sealed
    return None


def _load(text: str) -> object:
    import json

    try:
        return json.loads(text)
    except ValueError:
        raise StoreCorrupt(
            "the store holds text that makes no sense", hint="restore it from a backup"
        ) from None
