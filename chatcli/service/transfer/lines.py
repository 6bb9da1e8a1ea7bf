"""chatcli's own export: a line of JSON a thread, between a first line that says so and a checksum.

::

    {"chatcli_export": 1}
    {"id": …, "title": …, …, "system": …, "turns": […]}     the document of `history THREAD --json`
    …
    {"threads": 2, "sha256": "…"}      of all bytes before this line

Everything is ASCII, so that no terminal, mail program or editor changes it on the way. The same
threads always make the same bytes.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from chatcli.errors import InvalidText
from chatcli.models import (
    Message,
    Role,
    Thread,
    Turn,
    TurnError,
    TurnState,
    Usage,
    parse_time,
)

HEADER = "chatcli_export"
VERSION = 1
_DAMAGED = "get a new copy of the file; nothing of it was imported"


class Export:
    """Writes an export: its `header`, a `line` for each thread, and the `trailer`."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.threads = 0
        self.turns = 0

    def header(self) -> str:
        """Return the first line."""
        return self._count({HEADER: VERSION})

    def line(self, thread: Thread, turns: tuple[Turn, ...]) -> str:
        """Return the line of a thread."""
        self.threads += 1
        self.turns += len(turns)
        return self._count(write_document(thread, turns))

    def trailer(self) -> str:
        """Return the last line."""
        return _trailer(self.threads, self._digest.hexdigest())

    def _count(self, document: dict[str, Any]) -> str:
        line = _dump(document)
        self._digest.update(line.encode("ascii"))
        return line


def check_export(file: BinaryIO) -> None:
    """Read an export to its end and raise `InvalidText` if one byte of it is not as it was written."""
    digest = hashlib.sha256()
    threads = -1  # the first line is none
    last = b""
    file.seek(0)
    for line in file:
        if last:
            digest.update(last)
            threads += 1
        last = line
    if "sha256" not in _parse(last, "the last line"):
        raise InvalidText("the export is cut short: its last line is missing", hint=_DAMAGED)
    if last != _trailer(threads, digest.hexdigest()).encode("ascii"):
        raise InvalidText("the export is damaged: its checksum does not match", hint=_DAMAGED)


def read_export(file: BinaryIO) -> Iterator[tuple[Thread, tuple[Turn, ...]]]:
    """Yield the threads of an export, after `check_export` has found nothing."""
    check_export(file)
    file.seek(0)
    first = _parse(file.readline(), "the first line")
    if first.get(HEADER) != VERSION:
        raise InvalidText(
            f"the export is of version {first.get(HEADER)}, this program reads {VERSION}",
            hint="use the newer chatcli that wrote it",
        )
    for number, line in enumerate(file, 2):
        document = _parse(line, f"line {number}")
        if "sha256" in document:
            return
        try:
            yield read_document(document)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InvalidText(
                f"line {number} of the export is no thread", hint="see `chatcli export --help`"
            ) from None


def read_document(document: dict[str, Any]) -> tuple[Thread, tuple[Turn, ...]]:
    """Return the thread of a line, and its turns; what is none raises an error of Python's own."""
    return _thread_of(document), tuple(map(_turn_of, document["turns"]))


def write_document(thread: Thread, turns: tuple[Turn, ...]) -> dict[str, Any]:
    """Return what the line of a thread holds."""
    return {**thread.to_json(), "system": thread.system, "turns": [turn.to_json() for turn in turns]}


def _trailer(threads: int, digest: str) -> str:
    return _dump({"threads": threads, "sha256": digest})


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":")) + "\n"


def _parse(line: bytes, which: str) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise InvalidText(f"the export is damaged: {which} is no JSON object", hint=_DAMAGED)
    return document


def _thread_of(document: dict[str, Any]) -> Thread:
    archived_at, turns = document["archived_at"], document["turns"]
    return Thread(
        id=_text(document["id"]),
        owner=_text(document["owner"]),
        title=_text(document["title"]),
        language=_text(document["language"]),
        turn_count=len(turns),
        created_at=parse_time(document["created_at"]),
        updated_at=parse_time(document["updated_at"]),
        archived_at=None if archived_at is None else parse_time(archived_at),
        system=None if document["system"] is None else _text(document["system"]),
        model=_text(turns[-1]["model"]) if turns else None,
    )


def _turn_of(document: dict[str, Any]) -> Turn:
    usage, error, finished_at = document["usage"], document["error"], document["finished_at"]
    return Turn(
        id=_text(document["id"]),
        index=int(document["index"]),
        state=TurnState(document["state"]),
        started_at=parse_time(document["started_at"]),
        model=_text(document["model"]),
        messages=tuple(map(_message_of, document["messages"])),
        finished_at=None if finished_at is None else parse_time(finished_at),
        finish_reason=document["finish_reason"],
        usage=None if usage is None else Usage(int(usage["input_tokens"]), int(usage["output_tokens"])),
        error=None if error is None else TurnError(_text(error["name"]), _text(error["message"])),
    )


def _message_of(document: dict[str, Any]) -> Message:
    content = document["content"]
    if not isinstance(content, str):
        content = tuple(map(_part_of, content))
    return Message(
        id=_text(document["id"]),
        role=Role(document["role"]),
        content=content,
        timestamp=parse_time(document["timestamp"]),
    )


def _part_of(document: dict[str, Any]) -> dict[str, Any]:
    if document["type"] == "text":
        _text(document["text"])
    return {**document}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
