"""An answer on its way: fetched once, followed by whoever needs it, kept however it ends."""

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

from chatcli.errors import ChatcliError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from chatcli.models import Usage
    from chatcli.providers.base import Delta

logger = logging.getLogger(__name__)

Emit: TypeAlias = "Callable[[Sequence[Delta]], Awaitable[None]]"
"""Takes what came together of an answer, and may hold the rest up."""


class Answer:
    """What has arrived of an answer so far.

    `fetch` takes it in; when that returned, `finished` is true or `error` says what happened, or
    neither, if it was cancelled. Nothing else changes it.
    """

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.error: ChatcliError | None = None
        self.finished = False
        self._over = False
        self._news = asyncio.Event()

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces)

    async def fetch(self, stream: "AsyncGenerator[Sequence[Delta]]", emit: Emit) -> None:
        """Take in a provider's stream and hand what came together to `emit`, which may hold it up.

        The error gate: whatever goes wrong is kept as an error of our own tree, with nothing
        foreign behind it, so that no graph, store or log ever sees a provider's words.
        """
        try:
            await self._take_in(stream, emit)
        except ChatcliError as error:
            self.error = error
        except Exception:  # the gate
            logger.debug("the model call failed", exc_info=True)
            self.error = ChatcliError("the model call failed unexpectedly", hint="see LOG_LEVEL=DEBUG")
        finally:
            self._over = True
            self._news.set()

    async def _take_in(self, stream: "AsyncGenerator[Sequence[Delta]]", emit: Emit) -> None:
        async with aclosing(stream):
            async for deltas in stream:
                for delta in deltas:
                    if delta.text:
                        self.pieces.append(delta.text)
                    self.finish_reason = delta.finish_reason or self.finish_reason
                    self.usage = delta.usage or self.usage
                self._news.set()
                await emit(deltas)
        self.finished = True

    async def follow(self) -> "AsyncIterator[str]":
        """Yield the text from its beginning on, as it comes, until `fetch` is over.

        What came together is yielded as one piece.
        """
        seen = 0
        while True:
            self._news.clear()
            if seen < len(self.pieces):
                news, seen = self.pieces[seen:], len(self.pieces)
                yield "".join(news)
            if self._over:
                return
            await self._news.wait()
