"""A terminal in memory: what a person would see, scrolled back to the beginning, and what was asked of it."""

import re
import unicodedata
from typing import Any

import pyte

SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[^\[\]])")
DRAWING = re.compile(r"\x1b\[(?:[0-9;]*m|[0-9]*[ACJK])")
"""Colours, moves and erasing: all that an answer may ask of a terminal."""


class Screen(pyte.HistoryScreen):
    """A screen with all of its past; titles, changed modes and replies are noted in `asked`."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        super().__init__(columns, lines, history=100_000)
        self.asked: list[str] = []
        self.quiet = True

    def draw(self, data: str) -> None:
        """Draw, and leave out what has no width: pyte stops at such characters."""
        super().draw("".join(c for c in data if unicodedata.category(c) not in {"Cf", "Me", "Mn", "Cn"}))

    def set_title(self, param: str) -> None:
        """Note it."""
        self.asked.append(f"title {param}")

    set_icon_name = set_title

    def set_mode(self, *modes: int, **kwargs: Any) -> None:
        """Note it, and do it."""
        self.asked.append(f"mode {modes}")
        super().set_mode(*modes, **kwargs)

    def reset_mode(self, *modes: int, **kwargs: Any) -> None:
        """Note it, and do it."""
        self.asked.append(f"mode {modes}")
        super().reset_mode(*modes, **kwargs)

    def write_process_input(self, data: str) -> None:
        """Note that the terminal would have typed something."""
        self.asked.append(f"reply {data!r}")

    def all_lines(self) -> list[str]:
        """Return every line from the first, without blanks at the ends, up to the last that is not empty."""
        past = [
            "".join(line[column].data for column in range(self.columns)).rstrip() for line in self.history.top
        ]
        lines = [*past, *(line.rstrip() for line in self.display)]
        while lines and not lines[-1]:
            lines.pop()
        return lines


class Terminal:
    """A screen and the reader of what is sent to it."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.screen = Screen(columns, lines)
        self.screen.asked.clear()
        self._stream = pyte.Stream(self.screen)
        self.written = 0

    def show(self, text: str) -> None:
        """Take what a program wrote, behind a line discipline that returns the carriage."""
        self.written += len(text.encode())
        self._stream.feed(text.replace("\n", "\r\n"))

    @property
    def lines(self) -> list[str]:
        """All lines that can be seen by scrolling back."""
        return self.screen.all_lines()
