"""Which program a file of threads is of: known by its first bytes, not by its name."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

from chatcli.errors import InvalidText
from chatcli.service.transfer.reading import Reading, Whole

_CONVERSATIONS = "conversations.json"
_SPACE = b" \t\r\n\xef\xbb\xbf"


class Source(StrEnum):
    """A program whose threads can be imported."""

    CHATCLI = "chatcli"
    LLM = "llm"
    CHATGPT = "chatgpt"


def recognise(file: BinaryIO) -> Source:
    """Return the program that wrote `file`, which can be rewound; raise `InvalidText` for any other."""
    file.seek(0)
    head = file.read(4096)
    file.seek(0)
    start = head.lstrip(_SPACE)[:1]
    if head.startswith(b"SQLite format 3\0"):
        return Source.LLM
    if head.startswith(b"PK\3\4") or start == b"[":
        return Source.CHATGPT
    if start == b"{":
        return Source.CHATCLI
    raise InvalidText(
        "the file is nothing that can be imported",
        hint="an export of chatcli, llm's logs.db, or ChatGPT's conversations.json or its ZIP can",
    )


def read_threads(file: BinaryIO, path: Path | None, *, branches: bool = False) -> Reading:
    """Return the threads of a file, least recently used first; a database must be a file with a `path`.

    Of a conversation that is a tree comes the branch that was shown last, or with `branches` each.
    Raises `InvalidText` where the file makes no sense; for an export of chatcli before the first one.
    """
    source = recognise(file)
    if source is Source.CHATCLI:
        from chatcli.service.transfer.lines import read_export

        return read_export(file)
    if source is Source.LLM:
        from chatcli.service.transfer.llm import read_llm

        if path is None:
            raise InvalidText("a database can't come from standard input", hint="name its file")
        return Reading(read_llm(path))
    return Reading(_read_chatgpt(file, branches=branches))


def _read_chatgpt(file: BinaryIO, *, branches: bool) -> Iterator[Callable[[], Whole]]:
    from chatcli.service.transfer.chatgpt import read_chatgpt

    if not zipfile.is_zipfile(file):
        file.seek(0)
        yield from read_chatgpt(file, branches=branches)
        return
    try:
        with zipfile.ZipFile(file) as archive:
            if _CONVERSATIONS not in archive.namelist():
                raise InvalidText(f"the ZIP holds no {_CONVERSATIONS}", hint="is it ChatGPT's export?")
            with archive.open(_CONVERSATIONS) as member:
                # As good as a BinaryIO for who only reads it.
                yield from read_chatgpt(cast("BinaryIO", member), branches=branches)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidText("the ZIP can't be read", hint="it may be cut short; export it again") from error
