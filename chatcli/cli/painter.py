"""An answer on a terminal as rendered Markdown, drawn while it comes."""

import asyncio
import importlib
from contextlib import suppress
from typing import TYPE_CHECKING

from chatcli.cli import output
from chatcli.cli.answer import AnswerWriter

if TYPE_CHECKING:
    from chatcli.cli.stream import MarkdownStream

FRAME_SECONDS = 1 / 30
REST = 3
"""How much longer than it takes to draw a frame the next one waits: drawing is never the main work."""


class Painter(AnswerWriter):
    """Draws what has come a few times a second, however many tokens that is.

    What it takes for that is imported on another thread, so that the request need not wait for it.
    """

    def __init__(self) -> None:
        super().__init__(terminal=True)
        self._held: list[str] = []
        self._stream: MarkdownStream | None = None
        self._wanted = asyncio.Event()
        self._drawing = asyncio.Lock()
        self._painting = asyncio.create_task(self._paint())

    async def write(self, text: str) -> None:
        """Take in a piece of the answer; it is drawn soon."""
        self._held.append(text)
        self._wanted.set()

    async def seal(self) -> None:
        """Go to an empty line and leave what is there: somebody else is about to write."""
        if self._stream is None and not self._held:
            return
        async with self._drawing:
            stream = self._fed()
            await self._put(stream.frame())
            await self._put(stream.seal())

    async def finish(self) -> None:
        """Draw the whole answer."""
        async with self._drawing:
            self._painting.cancel()
            with suppress(asyncio.CancelledError):
                await self._painting
            if self._stream is not None or self._held:
                await self._put(self._fed().finish())

    def _fed(self) -> "MarkdownStream":
        from chatcli.cli.stream import MarkdownStream

        if self._stream is None:
            self._stream = MarkdownStream(output.screen_size, color=not output.terminal().no_color)
        for piece in self._held:
            self._stream.feed(piece)
        self._held.clear()
        return self._stream

    async def _paint(self) -> None:
        await asyncio.to_thread(importlib.import_module, "chatcli.cli.stream")
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            begun = loop.time()
            async with self._drawing:
                self._wanted.clear()
                await self._put(self._fed().frame())
            await asyncio.sleep(max(FRAME_SECONDS, REST * (loop.time() - begun)))
