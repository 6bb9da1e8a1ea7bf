"""Completion at the session's prompt: commands, and what they take. Only Tab asks for it."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from chatcli.cli.session.table import COMMANDS, Takes
from chatcli.cli.session.tally import count_of
from chatcli.cli.terminal import FORBIDDEN, visible_line
from chatcli.errors import ChatcliError

if TYPE_CHECKING:
    from chatcli.service import ChatService

MOST_THREADS = 200
MODELS_SECONDS = 3.0


class SessionCompleter(Completer):
    """Completes slash commands, ids of threads by id or title, models, and paths."""

    def __init__(self, service: "ChatService") -> None:
        self._service = service
        self._paths = PathCompleter(expanduser=True, file_filter=lambda name: not re.search(FORBIDDEN, name))
        self._models: dict[str, tuple[str, ...]] = {}

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Return nothing: see `get_completions_async`."""
        del document, complete_event
        return ()

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """Yield what may stand at the cursor."""
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, word = text.partition(" ")
        if not space:
            for command in COMMANDS:
                if command.name.startswith(name):
                    yield Completion(
                        f"{command.name} " if command.takes else command.name,
                        start_position=-len(name),
                        display=command.usage,
                        display_meta=command.help,
                    )
            return
        takes = next((command.completes for command in COMMANDS if command.name == name), None)
        if takes is Takes.THREAD:
            found = self._threads(word)
        elif takes is Takes.MODEL:
            found = self._model_names(word)
        elif takes is Takes.PATH:
            found = self._files(word, complete_event)
        else:
            return
        async for completion in found:
            yield completion

    async def _threads(self, word: str) -> AsyncGenerator[Completion, None]:
        try:
            page = await self._service.threads(limit=MOST_THREADS, archived=None)
        except ChatcliError:
            return
        for thread in page.threads:
            if thread.id.startswith(word) or word.casefold() in thread.title.casefold():
                yield Completion(
                    thread.id,
                    start_position=-len(word),
                    display=visible_line(thread.title) or thread.id,
                    display_meta=count_of(thread.turn_count, "turn"),
                )

    async def _model_names(self, word: str) -> AsyncGenerator[Completion, None]:
        try:
            names = [*await self._service.model_names()]
        except ChatcliError:
            return
        provider, colon, _ = word.partition(":")
        if colon:
            names.extend(f"{provider}:{model}" for model in await self._models_of(provider))
        for name in dict.fromkeys(names):
            if name.startswith(word):
                yield Completion(name, start_position=-len(word))

    async def _models_of(self, provider: str) -> tuple[str, ...]:
        """Return what the provider says it has; it is asked once, and not waited for long."""
        if provider not in self._models:
            try:
                async with asyncio.timeout(MODELS_SECONDS):
                    found = await self._service.models(f"{provider}:any")
            except (ChatcliError, TimeoutError):
                return ()
            self._models[provider] = tuple(model for model in found if not re.search(FORBIDDEN, model))
        return self._models[provider]

    async def _files(self, word: str, event: CompleteEvent) -> AsyncGenerator[Completion, None]:
        for completion in self._paths.get_completions(Document(word, len(word)), event):
            yield completion
