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
from functools import partial
from typing import Any, BinaryIO

from chatcli.errors import InvalidText
from chatcli.models import Thread, Turn
from chatcli.service.transfer.document import Misfit, read_document, write_document
from chatcli.service.transfer.reading import Reading, Unfit, Whole

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


def check_export(file: BinaryIO) -> int:
    """Read an export to its end and return how many threads are in it.

    Raises `InvalidText` if one byte of it is not as it was written.
    """
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
    return threads


def read_export(file: BinaryIO) -> Reading:
    """Return the threads of an export, in which `check_export` finds nothing wrong."""
    return Reading(_lines_of(file))


def _lines_of(file: BinaryIO) -> Iterator[partial[Whole]]:
    threads = check_export(file)
    file.seek(0)
    first = _parse(file.readline(), "the first line")
    if first.get(HEADER) != VERSION:
        raise InvalidText(
            f"the export is of version {first.get(HEADER)}, this program reads {VERSION}",
            hint="use the newer chatcli that wrote it",
        )
    for number in range(2, threads + 2):
        yield partial(_read_line, number, file.readline())


def _read_line(number: int, line: bytes) -> Whole:
    document: dict[str, Any] = {}
    try:
        document = _parse(line, f"line {number}")
        return read_document(document)
    except Misfit as error:
        said = f"line {number} of the export is no thread: {error}"
    except InvalidText as error:
        said = error.message
    thread_id = document.get("id")
    name = thread_id if isinstance(thread_id, str) else f"line {number}"
    raise Unfit(name, said, hint="see `chatcli export --help`")


def _trailer(threads: int, digest: str) -> str:
    return _dump({"threads": threads, "sha256": digest})


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":")) + "\n"


def _parse(line: bytes, which: str) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InvalidText(f"the export is damaged: {which} is no JSON object", hint=_DAMAGED)
    return document
