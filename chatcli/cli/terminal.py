"""The terminal gate: text of unknown origin, made harmless and one-to-one visible before a terminal shows it.

Control characters, ESC, C1, bidi controls, tag characters and line separators become visible marks.
Letters of all scripts and emoji pass. Only terminals get this; pipes and files get exact text.
"""

import re

_RANGES = (
    (0x00, 0x08),
    (0x0B, 0x1F),  # C0 but \t and \n
    (0x7F, 0x9F),  # DEL and C1
    (0x061C, 0x061C),
    (0x200E, 0x200F),
    (0x2028, 0x202E),  # line and paragraph separator, bidi embeddings and overrides
    (0x2066, 0x2069),  # bidi isolates
    (0xD800, 0xDFFF),  # lone surrogates: a UTF-8 stream can't carry them
    (0xE0000, 0xE007F),  # tag characters: invisible text
)
_CLASS = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in _RANGES)
FORBIDDEN = f"[{_CLASS}]"
"""Pattern of every character that never reaches a terminal as it is; compiled when it is first used."""

_PICTURES = 0x2400
_DELETE = 0x7F


def mark(character: str) -> str:
    """Return the visible mark of one character: a control picture, or its code point in brackets."""
    point = ord(character)
    if point < ord(" "):
        return chr(_PICTURES + point)
    if point == _DELETE:
        return "\N{SYMBOL FOR DELETE}"
    return f"<U+{point:04X}>"


def visible(text: str) -> str:
    """Return `text` as a terminal may show it; CR LF is a line end, a lone CR a mark."""
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    return re.sub(FORBIDDEN, _mark_match, text)


def visible_line(text: str) -> str:
    """Return `text` as a terminal may show it on one line: line ends and tabs are marks, too."""
    return visible(text).replace("\n", mark("\n")).replace("\t", mark("\t"))


def _mark_match(match: re.Match[str]) -> str:
    return mark(match[0])


class Gate:
    """`visible` for a stream: the result does not depend on how the text was cut."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Return what may be shown after `piece`; a CR at its end waits for the next one."""
        piece = self._held + piece
        self._held = ""
        if piece.endswith("\r"):
            piece, self._held = piece[:-1], "\r"
        return visible(piece)

    def finish(self) -> str:
        """Return what was held back at the end of the stream."""
        held, self._held = self._held, ""
        return visible(held)
