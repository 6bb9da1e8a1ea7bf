"""What a model says to itself, on standard error."""

import sys
from contextlib import suppress

from chatcli.cli import output
from chatcli.cli.answer import AnswerWriter
from chatcli.cli.terminal import Gate

_DIM, _RESET = "\x1b[2m", "\x1b[0m"


class Thoughts:
    """Writes it: dim and gated on a terminal, on lines of its own."""

    def __init__(self, writer: AnswerWriter) -> None:
        self._writer = writer
        self._terminal = output.is_terminal(sys.stderr)
        self._dim = self._terminal and not output.terminal().no_color
        self._gate = Gate()
        self._open = False

    async def write(self, text: str) -> None:
        """Write a piece of it."""
        if not self._open:
            await self._writer.seal()
            self._open = True
        self._put(self._gate.feed(text) if self._terminal else text)

    def end(self) -> None:
        """End it, before the answer goes on."""
        if self._open:
            self._open = False
            self._put(self._gate.finish() + "\n\n")

    def _put(self, text: str) -> None:
        if text and sys.stderr is not None:
            with suppress(OSError):
                sys.stderr.write(f"{_DIM}{text}{_RESET}" if self._dim else text)
                sys.stderr.flush()
