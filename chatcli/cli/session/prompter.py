"""The line that is typed into: editing, history, search, paste, `$EDITOR`, completion, a status line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application, get_app
from prompt_toolkit.filters import Condition, has_completions, is_searching
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.styles import Style

from chatcli.cli.session.completer import SessionCompleter
from chatcli.cli.session.past import open_past
from chatcli.cli.session.signals import SessionSignals
from chatcli.cli.terminal import FORBIDDEN

if TYPE_CHECKING:
    from chatcli.service import ChatService

MARK = "> "
_TO_THE_END = 1_000_000
_STAND_IN = "\N{REPLACEMENT CHARACTER}"
_STYLE = Style.from_dict(
    {
        "mark": "bold ansicyan",
        "bottom-toolbar": "noreverse",
        "status": "dim",
        "completion-menu": "noinherit",
        "completion-menu.completion": "noinherit",
        "completion-menu.completion.current": "noinherit reverse",
        "completion-menu.meta.completion": "noinherit dim",
        "completion-menu.meta.completion.current": "noinherit dim reverse",
    }
)
HINT = "Ctrl-D ends the session"

Status = Callable[[int], str]


class _Gate(Processor):
    """Shows what a terminal must not get, as in a pasted text, as a mark of the same width."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """Return the line as it may be shown."""
        fragments: StyleAndTextTuples = [
            (fragment[0], re.sub(FORBIDDEN, _STAND_IN, fragment[1]))
            for fragment in transformation_input.fragments
        ]
        return Transformation(fragments)


class Ended(Exception):
    """A signal ended the session while the prompt was waiting."""


class Prompter:
    """Asks for prompts, and for a yes or no."""

    def __init__(
        self,
        service: "ChatService",
        signals: SessionSignals,
        *,
        status: Status,
        past: Path | None,
    ) -> None:
        self._signals = signals
        self._status = status
        self._hint = ""
        self._session: PromptSession[str] = PromptSession(
            [("class:mark", MARK)],
            multiline=True,
            prompt_continuation=" " * len(MARK),
            history=open_past(past),
            completer=SessionCompleter(service),
            complete_while_typing=False,
            enable_open_in_editor=True,
            tempfile_suffix=".md",
            search_ignore_case=True,
            key_bindings=self._bindings(),
            bottom_toolbar=self._toolbar,
            input_processors=[_Gate()],
            style=_STYLE,
        )

    async def ask(self, draft: str) -> str:
        """Return the next prompt; `draft` stands there to begin with.

        Raises:
            EOFError: the user, or the terminal, has gone.
            Ended: a signal ended the session.
        """
        self._hint = ""
        with self._signals.stopping(self._stop):
            if self._signals.ended_by is not None:
                raise Ended
            return await self._session.prompt_async(default=draft, handle_sigint=False)

    async def confirm(self, question: str, *, default: bool = False) -> bool:
        """Return the answer to a question; Ctrl-C and Ctrl-D mean no."""
        bindings = KeyBindings()

        @bindings.add("c-c")
        @bindings.add("c-d")
        def _refuse(event: KeyPressEvent) -> None:
            event.app.exit(result="n")

        asking: PromptSession[str] = PromptSession(key_bindings=bindings, style=_STYLE)

        def stop() -> None:
            if asking.app.is_running:
                asking.app.exit(result="n")

        with self._signals.stopping(stop):
            if self._signals.ended_by is not None:
                return False
            text = await asking.prompt_async(
                f"{question} [{'Y/n' if default else 'y/N'}] ", handle_sigint=False
            )
        return default if not text.strip() else text.strip().casefold() in {"y", "yes"}

    def _stop(self) -> None:
        """A signal came: one that ends the session ends the prompt, another clears it."""
        app = self._session.app
        if not app.is_running:
            return
        if self._signals.ended_by is None:
            self._clear(app)
        else:
            app.exit(exception=Ended())

    def _clear(self, app: "Application[str]") -> None:
        buffer = self._session.default_buffer
        self._hint = "" if buffer.text else HINT
        # Not `reset`: the prompts of before would have to be read again.
        buffer.cancel_completion()
        buffer.exit_selection()
        buffer.history_forward(_TO_THE_END)
        buffer.text = ""
        app.invalidate()

    def _toolbar(self) -> StyleAndTextTuples:
        width = get_app().output.get_size().columns
        return [("class:status", self._hint or self._status(width))]

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()
        chosen = Condition(lambda: self._session.default_buffer.complete_state is not None)

        @bindings.add("enter", filter=~is_searching & ~(has_completions & chosen))
        def _send(event: KeyPressEvent) -> None:
            event.current_buffer.validate_and_handle()

        @bindings.add("enter", filter=~is_searching & has_completions & chosen)
        def _take(event: KeyPressEvent) -> None:
            event.current_buffer.complete_state = None

        @bindings.add("escape", "enter", filter=~is_searching)
        @bindings.add("c-j", filter=~is_searching)
        def _new_line(event: KeyPressEvent) -> None:
            event.current_buffer.newline(copy_margin=False)

        @bindings.add("c-c", filter=~is_searching)
        def _clear(event: KeyPressEvent) -> None:
            self._clear(event.app)

        return bindings
