"""The text gate and the grammar of thread ids: what may enter a store, and under which name."""

import os
import re
import time

from chatcli.errors import InvalidRequest, InvalidText, TooLong

THREAD_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?")
TITLE_LENGTH = 60
_GENERATED_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def decode(data: bytes, *, source: str) -> str:
    """Return `data` as text; bytes that are not UTF-8 raise `InvalidText` with their position."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidText(
            f"{source} is not UTF-8 text: byte 0x{data[error.start]:02x} at position {error.start}",
            hint="convert it first, for example with iconv -t utf-8",
        ) from None
    return check_text(text, source=source)


def check_text(text: str, *, source: str, limit: int | None = None) -> str:
    """Return `text` unchanged if a store can keep it byte for byte.

    Raises:
        InvalidText: it holds a NUL or a lone surrogate; the message names the place.
        TooLong: it has more than `limit` characters.
    """
    if limit is not None and len(text) > limit:
        raise TooLong(
            f"{source} has {len(text)} characters, more than the {limit} allowed",
            hint="shorten it, or raise MAX_INPUT_LENGTH",
        )
    if found := _UNSTORABLE.search(text):
        place = len(text[: found.start()].encode("utf-8", "surrogatepass"))
        what = "a NUL" if found[0] == "\x00" else "a lone surrogate"
        raise InvalidText(f"{source} holds {what} at byte {place}", hint="only text can be sent")
    return text


def check_thread_id(thread_id: str) -> str:
    """Return `thread_id` if it follows the grammar, else raise `InvalidRequest`."""
    if THREAD_ID.fullmatch(thread_id) is None or ".." in thread_id:
        raise InvalidRequest(
            "that is not a thread id",
            hint="an id is 1 to 128 letters, digits, '.', '_' or '-', begins with a letter or digit, "
            "holds no '..' and does not end in '.'",
        )
    return thread_id


def new_id() -> str:
    """Return a fresh lower-case UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, 74 random bits."""
    value = (time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF) << 80
    value |= int.from_bytes(os.urandom(10)) & ~(0xF << 76) & ~(0x3 << 62)
    digits = f"{value | 0x7 << 76 | 0x2 << 62:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_generated_id(thread_id: str) -> bool:
    """Tell whether `thread_id` looks like one that `new_id` made."""
    return re.fullmatch(_GENERATED_ID, thread_id) is not None


def title_of(prompt: str) -> str:
    """Return the first line of `prompt` that is not blank, cut to 60 characters."""
    line = next((line.strip() for line in prompt.splitlines() if line.strip()), "")
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"


class SurrogateJoiner:
    """Makes the text of a stream storable, whatever way it was cut.

    Halves of a surrogate pair in neighbouring pieces are joined; what can't be stored becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Return what of the stream is certain after `piece`."""
        if not self._held and (piece.isascii() and "\x00" not in piece):
            return piece
        piece = self._held + piece
        self._held = ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._held = piece[:-1], piece[-1]
        return _storable(piece)

    def finish(self) -> str:
        """Return what was held back at the end of the stream."""
        held, self._held = self._held, ""
        return REPLACEMENT if held else ""


def _storable(text: str) -> str:
    if _UNSTORABLE.search(text) is None:
        return text
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return joined.replace("\x00", REPLACEMENT)
