"""Markdown while it comes: each finished part is printed once, only a small tail is ever drawn again.

A part (see `chatcli.cli.markdown.Unit`) is finished as soon as the next one has begun on a whole
line: nothing that follows can change it any more. What is not finished is the tail; it is never
higher than `TAIL_ROWS` or the screen, so that nothing that may still change ever scrolls away. A
table is drawn when it is whole, the lines of code are finished one by one.
"""

import os
import re
from collections.abc import Callable

from chatcli.cli.markdown import Renderer, Unit, parse
from chatcli.cli.rows import LiveRows, Row, Span, is_sure, make_row, split_row
from chatcli.cli.terminal import Gate

TAIL_ROWS = 12
SPARE_ROWS = 2
"""Rows of the screen that the tail leaves alone."""

_MARKS_ONLY = re.compile(r"[\s>*+\-=_#~`|:.\d)]*")
"""The beginning of a line that may yet become anything."""

Size = Callable[[], os.terminal_size]


class MarkdownStream:
    """Takes an answer as it comes and says what a terminal must get to show it.

    `feed` takes text and shows nothing; `frame` returns what brings the screen up to date, `finish`
    the same for the end. The cursor must be at the start of a line before, and is there after
    `finish`; nobody else may write in between, but after `seal`.
    """

    def __init__(self, size: Size, *, color: bool) -> None:
        self._size = size
        self._gate = Gate()
        self._renderer = Renderer(color=color)
        self._rows = LiveRows()
        self._screen = size()
        self._width = self._screen.columns
        self._text: list[str] = []
        """The whole gated text so far."""
        self._rest = ""
        """Its end, from the beginning of the block that is not finished."""
        self._drawn = ""
        self._printed = 0
        """Units of the text that are printed for good."""
        self._parts = 0
        """Those among them that belong to the block of `_rest`."""
        self._lines = 0
        """Rows of the tail that are printed for good: code, or what was there before a seal."""
        self._jump = 0
        self._sealed: Row = ()

    def feed(self, piece: str) -> None:
        """Take in a piece of the answer."""
        shown = self._gate.feed(piece)
        if shown:
            self._text.append(shown)
            self._rest += shown

    def frame(self) -> str:
        """Return what shows everything that came so far."""
        if self._rest == self._drawn:
            return ""
        sealed = self._seal_if_resized()
        done = self._finished_rows()
        live = self._tail_rows(done)
        self._drawn = self._rest
        return sealed + self._rows.draw(done, live)
