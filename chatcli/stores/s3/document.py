"""A thread's object: read into a `Document`, and written back with everything that it had.

::

    {"state": {"messages": [{"_type", "content", "additional_kwargs", "type", "id", "timestamp"}, …],
               "language": "English"},
     "metadata": {"timestamp": "…", "language": "English"},
     "new_versions": {"messages": 2},
     "chatcli": {"format": 1, "title", "system", "model", "created_at", "updated_at", "archived_at",
                 "used": N, "lease": {"turn", "holder", "until"},
                 "turns": [{"id", "state", …, "messages": 2}, …], "checkpoints": {…},
                 "writes": ["…", …], "audit": [{…}, …]}}

The turns share out the messages of the state among themselves, in their order. Where there are any,
``writes`` are the ids of changes (`writes`), and ``audit`` what the audit may not tell yet (`outbox`).
Programs before this one wrote the same without ``chatcli``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from chatcli.errors import StoreNewerSchema, ThreadNotFound
from chatcli.models import Role, Thread, TurnState, format_time, parse_time
from chatcli.stores.base import LEASE_SECONDS
from chatcli.stores.records import AuditEntry
from chatcli.stores.s3.bucket import Stored
from chatcli.stores.s3.entry import Entry, foreign_entries
from chatcli.stores.s3.errors import corrupt
from chatcli.stores.s3.messages import from_json, moment_of
from chatcli.stores.s3.outbox import entry_of, fields_of
from chatcli.stores.s3.shelf import shelf_json, shelf_of
from chatcli.stores.s3.writes import KEPT
from chatcli.stores.shelf import Shelf
from chatcli.text import title_of

FORMAT = 1
DEFAULT_LANGUAGE = "English"
_LEEWAY = 5.0


@dataclass(slots=True)
class Document:
    """What is in one object, or (without `etag`) would be: a thread, or only checkpoints, or nothing.

    Copies share what is never changed in place.
    """

    owner: str
    id: str
    thread: Thread | None = None
    used: int = 0
    """Orders threads by their last use: microseconds of the server's clock, raised by each use."""
    entries: list[Entry] = field(default_factory=list)
    lease: dict[str, str] | None = None
    shelf: Shelf = field(default_factory=Shelf)
    rest: dict[str, Any] = field(default_factory=dict)
    """The object as another program wrote it, without messages and what is ours."""
    deleted_until: datetime | None = None
    """Set while the thread is being deleted: nobody else writes to the object before that."""
    writes: tuple[str, ...] = ()
    """The ids of the last changes that have one."""
    outbox: tuple[AuditEntry, ...] = ()
    """What the audit may not tell yet."""
    foreign: bool = False
    """Whether another program wrote it."""
    etag: str | None = None
    changed: bool = False
    """Whether the object is to be written."""

    def copy(self) -> "Document":
        """Return a document that can be changed without changing this one."""
        return replace(self, entries=list(self.entries), shelf=self.shelf.copy(), changed=False)

    @property
    def is_deleted(self) -> bool:
        """Whether the object is what deletion left of a thread."""
        return self.deleted_until is not None

    def found(self) -> Thread:
        """Return the thread, or raise `ThreadNotFound`."""
        if self.thread is None:
            raise ThreadNotFound(f"there is no thread {self.id}", hint="chatcli history lists the threads")
        return self.thread

    def is_live(self, now: datetime) -> bool:
        """Tell whether a turn runs and somebody holds its lease.

        A lease that ends later than any that could be taken now is of a clock that was set back.
        """
        if self.lease is None or not self.entries or self.entries[-1].state is not TurnState.RUNNING:
            return False
        latest = now + timedelta(seconds=LEASE_SECONDS + _LEEWAY)
        return self.lease["turn"] == self.entries[-1].id and now < parse_time(self.lease["until"]) <= latest

    def take_lease(self, turn_id: str, holder: str, now: datetime) -> None:
        """Hold the lease for a turn from now on."""
        until = format_time(now + timedelta(seconds=LEASE_SECONDS))
        self.lease = {"turn": turn_id, "holder": holder, "until": until}

    def sign(self, write_id: str) -> None:
        """Note a change that is made; all that what is deleted tells of is its deletion."""
        self.writes = (write_id,) if self.is_deleted else (*self.writes, write_id)[-KEPT:]

    @property
    def text_bytes(self) -> int:
        """How many bytes of text the thread holds."""
        return sum(entry.encode().text_bytes for entry in self.entries)

    def encode(self) -> bytes:
        """Return the bytes of the object. Turns that were encoded before are copied as they are."""
        if self.deleted_until is not None:
            until = format_time(self.deleted_until)
            return orjson.dumps({"chatcli": {"format": FORMAT, "deleted_until": until, **self._notes()}})
        if self.thread is None:
            return orjson.dumps({"chatcli": {"format": FORMAT, "checkpoints": shelf_json(self.shelf)}})
        turns = [entry.encode() for entry in self.entries]
        messages = b",".join(turn.messages for turn in turns if turn.messages)
        thread, count = self.thread, sum(len(entry.messages) for entry in self.entries)
        time, language = format_time(thread.updated_at), thread.language
        rest = self.rest
        ours = {
            "format": FORMAT,
            "title": thread.title,
            "system": thread.system,
            "model": thread.model,
            "created_at": format_time(thread.created_at),
            "updated_at": time,
            "archived_at": None if thread.archived_at is None else format_time(thread.archived_at),
            "used": self.used,
            "lease": self.lease,
            "turns": orjson.Fragment(b"[" + b",".join(turn.record for turn in turns) + b"]"),
            "checkpoints": shelf_json(self.shelf) if self.shelf else None,
            **self._notes(),
        }
        return orjson.dumps(
            {
                **rest,
                "state": {
                    **rest.get("state", {}),
                    "messages": orjson.Fragment(b"[" + messages + b"]"),
                    "language": language,
                },
                "metadata": {**rest.get("metadata", {}), "timestamp": time, "language": language},
                "new_versions": {**rest.get("new_versions", {}), "messages": count},
                "chatcli": ours,
            }
        )

    def _notes(self) -> dict[str, Any]:
        notes = {"writes": self.writes, "audit": [fields_of(entry) for entry in self.outbox]}
        return {name: noted for name, noted in notes.items() if noted}


def document_of(stored: Stored, key: str, owner: str, thread_id: str) -> Document:
    """Return what is in an object.

    Raises:
        StoreCorrupt: it is damaged, or something else.
        StoreNewerSchema: a newer program wrote it.
    """
    try:
        return _decode(stored, owner, thread_id)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise corrupt(key)


def _decode(stored: Stored, owner: str, thread_id: str) -> Document:
    data = orjson.loads(stored.body)
    ours = data.pop("chatcli", None)
    if ours is not None and ours["format"] > FORMAT:
        raise StoreNewerSchema(
            f"thread {thread_id} was written by a newer version of chatcli; it was not touched",
            hint="update chatcli",
        )
    document = Document(owner, thread_id, etag=stored.etag)
    if ours is None:
        _decode_foreign(document, data, stored.modified)
        return document
    document.writes = tuple(ours.get("writes", ()))
    document.outbox = tuple(map(entry_of, ours.get("audit", ())))
    if "deleted_until" in ours:
        document.deleted_until = parse_time(ours["deleted_until"])
    else:
        document.shelf = shelf_of(ours.get("checkpoints") or {}, owner, thread_id)
        if "turns" in ours:
            _decode_thread(document, data, ours)
    return document


def _decode_thread(document: Document, data: dict[str, Any], ours: Mapping[str, Any]) -> None:
    messages = _set_apart(document, data)
    start = 0
    for record in ours["turns"]:
        count = record["messages"]
        document.entries.append(Entry(record, messages[start : start + count]))
        start += count
    if start > len(messages):
        raise ValueError("messages are missing")
    updated = parse_time(ours["updated_at"])
    document.entries += foreign_entries(  # another program may have gone on with the thread
        messages[start:], document.id, start=len(document.entries) + 1, fallback=updated
    )
    archived = ours["archived_at"]
    document.used, document.lease = int(ours["used"]), ours["lease"]
    document.thread = Thread(
        id=document.id,
        owner=document.owner,
        title=ours["title"],
        language=next(language for language in _languages(document) if language is not None),
        turn_count=len(document.entries),
        created_at=parse_time(ours["created_at"]),
        updated_at=updated,
        archived_at=None if archived is None else parse_time(archived),
        system=ours["system"],
        model=ours["model"],
    )


def _decode_foreign(document: Document, data: dict[str, Any], modified: datetime) -> None:
    if data.keys().isdisjoint({"metadata", "new_versions"}):
        raise ValueError("not a conversation")
    document.foreign = True
    messages = _set_apart(document, data)
    told = moment_of(document.rest["metadata"].get("timestamp"))
    document.entries = foreign_entries(messages, document.id, start=1, fallback=told or modified)
    texts = [from_json(message, "", 0, modified) for message in messages]
    title = next((title_of(message.text) for message in texts if message.role is Role.HUMAN), "")
    started = [parse_time(entry.record["started_at"]) for entry in document.entries]
    document.used = int(modified.timestamp() * 1_000_000)
    document.thread = Thread(
        id=document.id,
        owner=document.owner,
        title=title or document.id,
        language=next(filter(None, _languages(document))),
        turn_count=len(document.entries),
        created_at=min([*started, modified]),
        updated_at=modified,
    )


def _set_apart(document: Document, data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of an object; the rest of it goes into the document."""
    state = data["state"]
    messages = state.pop("messages")
    if not isinstance(messages, list):
        raise TypeError("messages that are no list")
    data.setdefault("metadata", {})
    document.rest = data
    return messages


def _languages(document: Document) -> list[str | None]:
    """Return what an object may say of its language: the first that is told counts."""
    state, metadata = document.rest["state"], document.rest["metadata"]
    told = (state.get("language"), metadata.get("language"))
    return [None if language is None else str(language) for language in told] + [DEFAULT_LANGUAGE]
