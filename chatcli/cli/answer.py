"""Where an answer goes: standard output, token by token, exact in a pipe and gated on a terminal."""

import asyncio
import errno
import os
import select

from chatcli.cli.terminal import Gate
from chatcli.errors import OutputClosed

STDOUT = 1


def check_stdout() -> None:
    """Raise `OutputClosed` if there is no standard output to write an answer to."""
    try:
        os.fstat(STDOUT)
    except OSError:
        raise OutputClosed(
            "standard output is closed, so nothing was asked",
            hint="send the output to /dev/null if it is not wanted",
        ) from None


class AnswerWriter:
    """Writes straight to the descriptor, so that every token is there at once, and never blocks the loop.

    A reader that went away (`broken`) is no error: the rest is dropped. A device that takes no more
    is kept in `failure` for the end. `abandon` gives up a write that a stalled reader holds.
    """

    def __init__(self, *, terminal: bool) -> None:
        self._gate = Gate() if terminal else None
        self._last = "\n"
        self._abandoned = asyncio.Event()
        self.broken = False
        self.failure: OSError | None = None
        self.stuck = False

    async def write(self, text: str) -> None:
        """Write a piece of the answer."""
        await self._put(text if self._gate is None else self._gate.feed(text))

    async def write_whole(self, text: str, *, markdown: bool) -> None:
        """Write a whole answer, on a terminal rendered if it is `markdown`."""
        if self._gate is None or not markdown:
            await self.write(text)
            return
        from chatcli.cli.markdown import render
        from chatcli.cli.output import screen_size, terminal

        await self._put(render(text, width=screen_size().columns, color=not terminal().no_color))

    async def seal(self) -> None:
        """Be at the start of a line: somebody else is about to write."""
        if self._gate is not None and self._last != "\n":
            await self._put("\n")

    async def finish(self) -> None:
        """Write what the gate held back; on a terminal, end the last line."""
        if self._gate is None:
            return
        await self._put(self._gate.finish())
        if self._last != "\n":
            await self._put("\n")

    def abandon(self) -> None:
        """Stop waiting for a reader that takes nothing."""
        self._abandoned.set()

    async def _put(self, text: str) -> None:
        if not text or self.broken or self.failure is not None or self.stuck:
            return
        self._last = text[-1]
        data = memoryview(text.encode("utf-8"))
        try:
            while data:
                if select.select([], [STDOUT], [], 0)[1]:
                    data = data[os.write(STDOUT, data[: select.PIPE_BUF]) :]
                elif not await self._writable():
                    return
        except OSError as error:
            if error.errno == errno.EPIPE:
                self.broken = True
            else:
                self.failure = error

    async def _writable(self) -> bool:
        """Wait until a byte can be written; False if the wait was abandoned."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(STDOUT, ready.set)
        waits = [asyncio.create_task(event.wait()) for event in (ready, self._abandoned)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_writer(STDOUT)
            for wait in waits:
                wait.cancel()
        self.stuck = self._abandoned.is_set() and not ready.is_set()
        return not self.stuck
