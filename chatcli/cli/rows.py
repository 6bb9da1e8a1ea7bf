"""Rows of a terminal: styled text whose width is known, and how the screen is brought from some to others."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, TypeAlias

RESET = "\x1b[0m"

_SURE = (
    (0x20, 0x7E),
    (0xA0, 0xAC),
    (0xAE, 0x2FF),
    (0x370, 0x482),  # Latin, Greek, Cyrillic
    (0x2010, 0x2027),  # dashes, quotation marks, bullets
    (0x2500, 0x257F),  # boxes
    (0x3041, 0x3096),
    (0x30A1, 0x30FA),
    (0x4E00, 0x9FA5),
    (0xAC00, 0xD7A3),  # Kana, Han, Hangul: two columns everywhere
)
_SEEN_ON_BLANKS = re.compile(r"[\[;](?:4|7|9|21|53|4[0-8]|10[0-7])[;m]")
_ZERO_WIDTH_JOINER, _EMOJI_STYLE = "\u200d", "\ufe0f"


class Span(NamedTuple):
    """Text in one style; `style` is the sequence that turns it on, or empty."""

    text: str
    style: str


Row: TypeAlias = tuple[Span, ...]


def make_row(spans: Iterable[Span]) -> Row:
    """Return a row: neighbours of one style joined, and no blanks at its end, which would be copied, too."""
    joined: list[Span] = []
    for span in spans:
        if not span.text:
            continue
        if joined and (joined[-1].style == span.style or _takes_blanks(joined[-1], span)):
            joined[-1] = Span(joined[-1].text + span.text, joined[-1].style)
        else:
            joined.append(span)
    while joined:
        last = joined.pop()
        text = last.text.rstrip(" ")
        if text:
            joined.append(Span(text, last.style))
            break
    return tuple(joined)


def _takes_blanks(left: Span, blanks: Span) -> bool:
    """Say whether nobody sees in which of the two styles the blanks are."""
    return blanks.text.isspace() and not _SEEN_ON_BLANKS.search(left.style + blanks.style)


def text_of_row(row: Row) -> str:
    """Return the row without its styles."""
    return "".join(span.text for span in row)


def encode(row: Row) -> str:
    """Return what a terminal must get to show the row."""
    return "".join(f"{span.style}{span.text}{RESET}" if span.style else span.text for span in row)


@lru_cache(maxsize=4096)
def widest(character: str) -> int:
    """Return the most columns that a terminal may give to a character; they do not agree on all."""
    if character.isascii() or is_sure(character):
        return 2 if character >= "\u3041" else 1
    if character == _ZERO_WIDTH_JOINER:
        return 0
    category = unicodedata.category(character)
    if category in {"Mn", "Me"} and character != _EMOJI_STYLE:
        return 0
    if character == _EMOJI_STYLE or category in {"Cf", "Mc"}:
        return 1
    if unicodedata.east_asian_width(character) in {"W", "F"} or category in {"So", "Cn", "Co", "Sk"}:
        return 2
    from rich.cells import get_character_cell_size

    return max(1, get_character_cell_size(character))


def is_sure(text: str) -> bool:
    """Say whether all terminals agree on the width of `text`."""
    return text.isascii() or all(any(low <= ord(it) <= high for low, high in _SURE) for it in text)


def columns(row: Row) -> int:
    """Return the most columns that the row may take."""
    return sum(len(span.text) if span.text.isascii() else sum(map(widest, span.text)) for span in row)


def split_row(row: Row, width: int) -> list[Row]:
    """Return the row as rows that fit `width` on every terminal."""
    if columns(row) <= width:
        return [row]
    pieces: list[list[Span]] = [[]]
    room = width
    for span in row:
        start = 0
        for index, character in enumerate(span.text):
            size = widest(character)
            if size > room and (start < index or pieces[-1]):
                pieces[-1].append(Span(span.text[start:index], span.style))
                pieces.append([])
                start, room = index, width
            room -= size
        pieces[-1].append(Span(span.text[start:], span.style))
    return [make_row(piece) for piece in pieces]


class LiveRows:
    """The last rows on the screen, which may still change; what is above them is never touched.

    The cursor stands at the end of the last of them, or at the start of an empty line if there are
    none. No mode of the terminal is used: only moves within these rows, and erasing behind them.
    """

    def __init__(self) -> None:
        self.shown: tuple[Row, ...] = ()

    def draw(self, done: Sequence[Row], live: Sequence[Row]) -> str:
        """Return what turns the rows on the screen into `done`, never to be touched again, and `live`."""
        old, new = self.shown, (*done, *live)
        self.shown = tuple(live)
        same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
        if same is None:
            same = min(len(old), len(new))
        end = "\n" if new and not live else ""
        if not old:
            return "\n".join(map(encode, new)) + end
        if same == len(old):
            return "".join("\n" + encode(row) for row in new[same:]) + end
        if live:
            same = min(same, len(new) - 1)
        up = len(old) - 1 - same
        move = f"\x1b[{up}A" if up else ""
        if same == len(new):
            return f"{move}\r\x1b[J"
        first, *rest = new[same:]
        return (
            move + _rewrite(old[same], first, last=not up) + "".join("\n" + encode(row) for row in rest) + end
        )

    def seal(self) -> str:
        """Leave the rows as they are for good, and go to an empty line."""
        left, self.shown = bool(self.shown), ()
        return "\n" if left else ""


def _rewrite(old: Row, new: Row, *, last: bool) -> str:
    """Return what turns a row into another; with `last` the cursor is at its end and nothing below it."""
    start = _common(old, new)
    whole = sum(len(span.text) for span in old)
    before = text_of_row(new)[:start]
    suffix = encode(behind(new, start))
    if last and start == whole:
        return suffix
    if not is_sure(before):
        before, suffix = "", encode(new)
    column = columns((Span(before, ""),))
    return "\r" + (f"\x1b[{column}C" if column else "") + ("\x1b[K" if last else "\x1b[J") + suffix


def _common(old: Row, new: Row) -> int:
    """Return how many characters the rows have in common from the left, style and all."""
    count = 0
    for a, b in zip(old, new, strict=False):
        if a.style != b.style:
            return count
        if a.text == b.text:
            count += len(a.text)
            continue
        return count + next(
            (i for i, pair in enumerate(zip(a.text, b.text, strict=False)) if pair[0] != pair[1]),
            min(len(a.text), len(b.text)),
        )
    return count


def behind(row: Row, start: int) -> Row:
    """Return the row without its first `start` characters."""
    ends = [0]
    for span in row:
        ends.append(ends[-1] + len(span.text))
    return tuple(
        Span(span.text[max(0, start - low) :], span.style)
        for span, (low, high) in zip(row, pairwise(ends), strict=True)
        if high > start
    )
