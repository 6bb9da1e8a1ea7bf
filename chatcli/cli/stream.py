"""Markdown while it comes: each finished part is printed once, only a small tail is ever drawn again.

A part (see `chatcli.cli.markdown.Unit`) is finished as soon as no whole line that follows can change
it. What is not finished is the tail. It is never higher than the screen, so that nothing that may
still change scrolls away: of code the first rows are finished before the last, of anything else only
the end is shown until it is whole. A table is drawn when it is whole.
"""

import os
import re
from collections.abc import Callable
from typing import TypeAlias

from chatcli.cli.markdown import Renderer, Unit, parse
from chatcli.cli.rows import LiveRows, Row, Span, behind, make_row, split_row, text_of_row
from chatcli.cli.terminal import Gate

TAIL_ROWS = 20
SPARE_ROWS = 1
"""The row of the screen that the tail leaves alone."""

_MARKS_ONLY = re.compile(r"[\s>*+\-=_#~`|:.\d)]*")
"""The beginning of a line that may yet become anything."""

_CLOSED_BY_BLANK = frozenset({"paragraph_open", "table_open", "blockquote_open"})
_DIM = "\x1b[2m"

Size: TypeAlias = Callable[[], os.terminal_size]
Mark: TypeAlias = tuple[str, int, tuple[str, ...]]


class MarkdownStream:
    """Takes an answer as it comes and says what a terminal must get to show it.

    `feed` takes text and shows nothing; `frame` returns what brings the screen up to date, `finish`
    the same for the end. The cursor must be at the start of a line before the first frame, and is
    there after `finish`; nobody else may write in between, but after `seal`.
    """

    def __init__(self, size: Size, *, color: bool) -> None:
        self._size = size
        self._screen = size()
        self._color = color
        self._gate = Gate()
        self._renderer = Renderer(color=color)
        self._rows = LiveRows()
        self._text: list[str] = []
        """All of the text."""
        self._rest = ""
        """Its end, from the beginning of the block that is not finished."""
        self._drawn = ""
        """`_rest` as the last frame saw it."""
        self._shown = ""
        """What of it can be seen: not yet the marks at its end that may become anything."""
        self._printed: list[Mark] = []
        self._parts = 0
        """How many units of the block at the beginning of `_rest` are among the printed ones."""
        self._kept = 0
        """Rows of the tail that are printed for good: those of code."""
        self._sealed = 0
        """Characters of the tail that a seal left on the screen, blanks not counted."""
        self._skipped = 0
        """Rows of a tail that is too high to be shown whole."""

    def feed(self, piece: str) -> None:
        """Take in a piece of the answer."""
        self._take(self._gate.feed(piece))

    def frame(self) -> str:
        """Return what shows everything that came so far."""
        if self._rest == self._drawn:
            return ""
        sealed = self.seal() if self._size() != self._screen else ""
        done = self._finished()
        whole, end, begun = self._rest.rpartition("\n")
        self._shown = whole + end if _MARKS_ONLY.fullmatch(begun) else self._rest
        self._drawn = self._rest
        kept, live = self._tail(parse(self._shown)[self._parts :], self._shown)
        return sealed + self._rows.draw([*done, *kept], live)

    def finish(self) -> str:
        """Return what shows the whole answer; the text is read again from its beginning for that.

        Nothing depends any more on how it came: what is not on the screen is printed now.
        """
        self._take(self._gate.finish())
        sealed = self.seal() if self._size() != self._screen else ""
        units = parse("".join(self._text))
        marks = [_mark(unit) for unit in units]
        same = next(
            (i for i, mark in enumerate(self._printed) if marks[i : i + 1] != [mark]), len(self._printed)
        )
        if same < len(self._printed):
            self._kept = self._sealed = 0
        rows = self._cut(self._renderer.rows(units[same:], width=self._screen.columns, first=not same))
        self._printed, self._rest, self._drawn = marks, "", ""
        return sealed + self._rows.draw(rows, ())

    def seal(self) -> str:
        """Leave what is on the screen for good, as the screen has changed or somebody else writes.

        What comes of the tail afterwards goes on behind it.
        """
        before, self._screen = self._screen, self._size()
        if not self._rows.shown:
            return ""
        units = parse(self._shown)[self._parts :]
        if self._skipped or self._is_open_table(units, self._shown):
            # It is printed whole when it is finished, and its beginning is nowhere on the screen yet.
            self._skipped, self._drawn = 0, ""
            return self._rows.draw((), ()) if before == self._screen else self._rows.seal()
        rows = self._renderer.rows(units, width=self._screen.columns, first=not self._printed)
        self._kept, self._sealed = 0, sum(map(_letters, rows))
        return self._rows.seal()

    def _take(self, text: str) -> None:
        if text:
            self._text.append(text)
            self._rest += text

    def _finished(self) -> list[Row]:
        """Return the rows of the units that are finished by now, and leave their text behind."""
        whole = self._rest[: self._rest.rfind("\n") + 1]
        units = parse(whole)
        if not units:
            return []
        last = units[-1]
        closed = _is_closed(last, whole)
        done = units[self._parts :] if closed else units[self._parts : -1]
        if not done:
            return []
        rows = self._cut(self._renderer.rows(done, width=self._screen.columns, first=not self._printed))
        self._printed.extend(map(_mark, done))
        if closed:
            self._rest, self._parts = self._rest[len(whole) :], 0
        else:
            self._rest, self._parts = "\n".join(self._rest.split("\n")[last.line :]), last.part
        self._kept = self._sealed = self._skipped = 0
        return rows

    def _tail(self, units: list[Unit], text: str) -> tuple[list[Row], list[Row]]:
        """Return the rows of the tail that are printed for good, and those that are shown for now."""
        limit = max(1, min(TAIL_ROWS, self._screen.lines - SPARE_ROWS))
        width, first = self._screen.columns, not self._printed
        if self._is_open_table(units, text):
            rows = self._renderer.rows(units[:-1], width=width, first=first)
            last = make_row([Span(text.rstrip("\n").rpartition("\n")[2], _DIM if self._color else "")])
            return [], [*rows, *(() if first and not rows else ((),)), split_row(last, width)[0]][-limit:]
        whole = self._renderer.rows(units, width=width, first=first)
        rows = self._cut(whole)
        if len(rows) <= limit:
            self._skipped = 0
            return [], rows
        if len(units) == 1 and units[0].kind == "fence":
            self._kept, self._sealed = len(whole) - limit, 0
            return rows[:-limit], rows[-limit:]
        if not self._skipped or not 0 < len(rows) - self._skipped < limit:
            self._skipped = len(rows) - max(1, limit // 3)
        return [], [(Span("…", ""),), *rows[self._skipped :]][-limit:]

    def _is_open_table(self, units: list[Unit], text: str) -> bool:
        return bool(units) and units[-1].kind == "table_open" and not _ends_blank(text)

    def _cut(self, rows: list[Row]) -> list[Row]:
        """Return the rows without what of them is printed already."""
        left, sealed = rows[self._kept :], self._sealed
        while sealed and left:
            letters = _letters(left[0])
            if letters > sealed:
                left[0] = _behind_letters(left[0], sealed)
                break
            sealed -= letters
            left = left[1:]
        return left


def _letters(row: Row) -> int:
    return sum(not character.isspace() for character in text_of_row(row))


def _behind_letters(row: Row, count: int) -> Row:
    """Return the row without its first `count` characters that are no blanks."""
    text = text_of_row(row)
    end = [index for index, character in enumerate(text) if not character.isspace()][count - 1] + 1
    return behind(row, end)


def _mark(unit: Unit) -> Mark:
    """Return what tells whether two units are the same, wherever they stand."""
    return unit.kind, unit.part, tuple(token.content for token in unit.tokens)


def _is_closed(unit: Unit, text: str) -> bool:
    """Say whether nothing behind `text`, which are whole lines ending in `unit`, can belong to it."""
    if unit.kind in _CLOSED_BY_BLANK:
        return _ends_blank(text)
    if unit.kind == "fence":
        token = unit.tokens[0]
        start, end = token.map or (0, 0)
        return end - start == token.content.count("\n") + 2
    return unit.kind in {"heading_open", "hr"}


def _ends_blank(text: str) -> bool:
    """Say whether the last line is whole and blank."""
    return text.endswith("\n") and not text[:-1].rpartition("\n")[2].strip()
