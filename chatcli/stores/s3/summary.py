"""What a list says of a thread, kept as user metadata of its object: a HEAD tells it.

It is written with the object, in the same request, and can't disagree with it. It costs the same
however long the thread is. An object without it, of another program or with more to say than
metadata may hold, is read whole instead.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from chatcli.models import Thread, format_time, parse_time
from chatcli.stores.records import AuditEntry
from chatcli.stores.s3.document import Document
from chatcli.stores.s3.outbox import entry_of, fields_of

_LONGEST = 1900
"""Characters; all metadata of an object may have 2,048."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A thread in a list. Without `thread` there is none: it is being deleted."""

    thread: Thread | None
    used: int = 0
    etag: str = ""
    lease_until: datetime | None = None
    deleted_until: datetime | None = None
    text_bytes: int = 0
    writes: tuple[str, ...] = ()
    """Where the thread is being deleted: the id of the change that did it."""
    outbox: tuple[AuditEntry, ...] = ()
    """What the audit may not tell yet."""
    damaged: bool = False
    """Whether the object can't be read."""

    def is_live(self, now: datetime) -> bool:
        """Tell whether a turn runs on the thread."""
        return self.lease_until is not None and now < self.lease_until


def summarize(document: Document, etag: str) -> Summary:
    """Return what a list says of a document."""
    until = document.lease["until"] if document.lease is not None else None
    return Summary(
        thread=document.thread,
        used=document.used,
        etag=etag,
        lease_until=None if until is None else parse_time(until),
        deleted_until=document.deleted_until,
        text_bytes=document.text_bytes,
        writes=document.writes,
        outbox=document.outbox,
    )


def metadata_of(document: Document) -> str | None:
    """Return the summary of a document as it goes with its object; None if it is too long."""
    thread, deleted = document.thread, document.deleted_until
    due = {"e": [fields_of(entry) for entry in document.outbox]} if document.outbox else {}
    if deleted is not None:
        return _pack({"d": format_time(deleted), "w": document.writes, **due})
    if thread is None:
        return None
    return _pack(
        {
            **due,
            "t": thread.title,
            "l": thread.language,
            "n": thread.turn_count,
            "c": format_time(thread.created_at),
            "u": format_time(thread.updated_at),
            "a": None if thread.archived_at is None else format_time(thread.archived_at),
            "s": thread.system,
            "m": thread.model,
            "o": document.used,
            "r": None if document.lease is None else document.lease["until"],
            "b": document.text_bytes,
        }
    )


def summary_of(text: str, etag: str, owner: str, thread_id: str) -> Summary | None:
    """Return what `metadata_of` wrote, or None if it makes no sense."""
    try:
        data = orjson.loads(urlsafe_b64decode(text))
        outbox = tuple(map(entry_of, data.get("e", ())))
        if "d" in data:
            until, writes = parse_time(data["d"]), tuple(data.get("w", ()))
            return Summary(None, etag=etag, deleted_until=until, writes=writes, outbox=outbox)
        thread = Thread(
            id=thread_id,
            owner=owner,
            title=data["t"],
            language=data["l"],
            turn_count=data["n"],
            created_at=parse_time(data["c"]),
            updated_at=parse_time(data["u"]),
            archived_at=_moment(data["a"]),
            system=data["s"],
            model=data["m"],
        )
        used, lease_until = data["o"], _moment(data["r"])
        return Summary(thread, used, etag, lease_until, text_bytes=data["b"], outbox=outbox)
    except (ValueError, KeyError, TypeError):
        return None


def _moment(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)


def _pack(data: dict[str, Any]) -> str | None:
    text = urlsafe_b64encode(orjson.dumps(data)).decode("ascii")
    return text if len(text) <= _LONGEST else None
