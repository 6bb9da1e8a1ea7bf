"""Cursors of lists: where a page ended, with a mark of what was asked for."""

import zlib

from chatcli.errors import InvalidRequest

_DIGITS = 18


def query_mark(*query: object) -> str:
    """Return a mark of what a list was asked for."""
    return f"{zlib.crc32(repr(query).encode()):08x}"


def place_of(cursor: str, query: str) -> tuple[int, str]:
    """Return the use and the id of the thread with which the page ended."""
    mark, _, place = cursor.partition("-")
    used, dash, thread_id = place.partition("-")
    if mark != query or not dash or not (used.isascii() and used.isdecimal() and len(used) <= _DIGITS):
        raise InvalidRequest("that is not a cursor of this list", hint="begin again without a cursor")
    return int(used), thread_id
