"""A terminal in memory: what a person would see, scrolled back to the beginning, and what was asked of it."""

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import pyte

from tests.program import TIMEOUT, Chatcli

SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[^\[\]])")
DRAWING = re.compile(r"\x1b\[(?:[0-9;]*m|[0-9]*[ACJK])")
"""Colours, moves and erasing: all that an answer may ask of a terminal."""


class Screen(pyte.HistoryScreen):
    """A screen with all of its past; titles, changed modes and replies are noted in `asked`."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        super().__init__(columns, lines, history=100_000)
        self.asked: list[str] = []
        self.reply: Callable[[str], None] = lambda data: self.asked.append(f"reply {data!r}")

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
        """Reply as a terminal does; where nobody is told, note it."""
        self.reply(data)

    def looks(self) -> list[list[object]]:
        """Return every cell as it looks: of a blank only what can be seen of it."""
        return [
            [
                (cell.bg, cell.underscore, cell.reverse) if cell.data == " " else cell
                for cell in (self.buffer[row][column] for column in range(self.columns))
            ]
            for row in range(self.lines)
        ]

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
        self.feed(text.replace("\n", "\r\n"))

    def feed(self, text: str) -> None:
        """Take what comes out of a line discipline."""
        self._stream.feed(text)

    @property
    def lines(self) -> list[str]:
        """All lines that can be seen by scrolling back."""
        return self.screen.all_lines()


class Person:
    """Somebody at a terminal on which the program runs: types, waits for what is shown, resizes, leaves."""

    def __init__(
        self, program: Chatcli, *words: str, columns: int = 80, lines: int = 24, **environment: str
    ) -> None:
        self.terminal = Terminal(columns, lines)
        self.terminal.screen.reply = self._reply
        self._ours, theirs = pty.openpty()
        self.resize(columns, lines)
        command = [*program.command, *words]
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**program.environment, **environment},
            cwd=program.home,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads in tests
        )
        os.close(theirs)
        self.bytes = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()

    @property
    def lines(self) -> list[str]:
        """All lines that can be seen by scrolling back."""
        return self.terminal.lines

    @property
    def text(self) -> str:
        """The lines in one."""
        return "\n".join(self.lines)

    def type(self, text: str) -> None:
        """Press keys."""
        data = text.encode()
        while data:
            data = data[os.write(self._ours, data[:512]) :]
            self._read(0)

    def paste(self, text: str) -> None:
        """Paste as terminals do to programs that asked to be told."""
        self.type(f"\x1b[200~{text}\x1b[201~")

    def look(self) -> None:
        """Take in what is there to be read."""
        while self._read(0):
            pass

    def send(self, text: str) -> None:
        """Type a line when the prompt is there, and press Enter."""
        self.wait_for_prompt()
        self.type(text)
        self.wait_for_prompt(text)
        self.type("\r")

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the terminal."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.terminal.screen.resize(lines, columns)

    def wait_for(self, condition: Callable[[], bool] | str) -> None:
        """Read until the condition holds, or the text is shown."""
        holds = condition if callable(condition) else partial(self._shows, condition)
        deadline = time.monotonic() + TIMEOUT
        while not holds():
            assert time.monotonic() < deadline, f"never shown: {condition!r} in\n{self.text}"
            if not self._read(0.2) and self.process.poll() is not None:
                assert holds(), f"it ended before {condition!r} in\n{self.text}"
                return

    def wait_for_prompt(self, typed: str = "") -> None:
        """Read until the program waits at its prompt, with only this typed, and its status line below."""
        self.wait_for(lambda: self.status is not None and self.written[-2] == f"> {typed}".rstrip())

    @property
    def written(self) -> list[str]:
        """The lines that are not empty."""
        return [line for line in self.lines if line]

    @property
    def status(self) -> str | None:
        """The line below the prompt."""
        written = self.written
        return written[-1] if len(written) > 1 and "context" in written[-1] else None

    def finish(self) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + TIMEOUT
        while self._read(0.2) or self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
        return self.process.returncode

    def hang_up(self) -> None:
        """Close the terminal's window."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def _shows(self, text: str) -> bool:
        return text in self.text

    def _reply(self, data: str) -> None:
        os.write(self._ours, data.encode())

    def _read(self, seconds: float) -> bool:
        if not select.select([self._ours], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # what Linux says when the last writer has closed its end
            return False
        self.bytes += piece
        self.terminal.feed(self._decoder.decode(piece))
        return bool(piece)
