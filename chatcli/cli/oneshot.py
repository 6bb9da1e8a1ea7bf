"""One turn from the shell: tokens to standard output, talk to standard error, signals to the turn."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterable, Callable
from typing import TYPE_CHECKING

from chatcli.cli import output
from chatcli.cli.answer import AnswerWriter
from chatcli.errors import OutputClosed
from chatcli.events import Event, Failed, Finished, Reasoning, Token
from chatcli.frozen import Frozen, replace
from chatcli.models import TurnState
from chatcli.service import ChatService, TurnRequest

if TYPE_CHECKING:
    from chatcli.cli.reasoning import Thoughts
    from chatcli.cli.rewind import Rewind

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SIGNAL_BASE = 128
"""A shell's exit code for a signal is this plus its number."""


class Manner(Frozen):
    """How the answer is shown."""

    json: bool
    quiet: bool
    stream: bool
    markdown: bool
    reasoning: bool = True


class Signals:
    """Turns the first SIGINT, SIGTERM or SIGHUP into one call; a second SIGINT ends the process at once."""

    def __init__(self, on_first: Callable[[], object]) -> None:
        self.on_first = on_first
        self.received: int | None = None
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._receive, number)

    def _receive(self, number: int) -> None:
        if self.received is None:
            self.received = number
            self.on_first()
        elif number == signal.SIGINT:
            os._exit(_SIGNAL_BASE + number)


async def converse(
    service: ChatService,
    request: TurnRequest,
    manner: Manner,
    *,
    continue_last: bool,
    rewind: "Rewind | None" = None,
) -> int:
    """Run one turn and show it; return the exit code, or raise the error that the turn ended with.

    With `rewind` the thread goes back first.
    """
    writer = open_writer(manner)
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 # a coroutine that runs is in a task
    signals = Signals(task.cancel)
    try:
        if continue_last:
            request = replace(request, thread_id=(await service.last_used()).id, must_exist=True)
        if rewind is not None and request.thread_id is not None:
            rewound = await rewind.prepare(service, request, reference=request.thread_id)
            request = rewound.request
            if not manner.quiet:
                rewound.tell(as_json=manner.json)
        async with service.turn(request) as turn:

            def end_answer() -> None:
                turn.stop()
                writer.abandon()

            signals.on_first = end_answer
            show = _show_json if manner.json else show_text
            last = await show(turn, writer, manner)
    except asyncio.CancelledError:
        if signals.received is None:
            raise
        output.say("interrupted before the model was asked; nothing was stored")
        return _SIGNAL_BASE + signals.received
    return _conclude(last, writer, manner, signals)


def open_writer(manner: Manner) -> AnswerWriter:
    """Return what shows the answer; on a terminal that can do it, block by block as rendered Markdown."""
    terminal = not manner.json and os.isatty(1)
    if terminal and manner.markdown and manner.stream and not output.terminal().dumb:
        from chatcli.cli.painter import Painter

        return Painter()
    return AnswerWriter(terminal=terminal)


def _open_thoughts(writer: AnswerWriter) -> "Thoughts":
    from chatcli.cli.reasoning import Thoughts

    return Thoughts(writer)


async def show_text(turn: AsyncIterable[Event], writer: AnswerWriter, manner: Manner) -> Finished | Failed:
    """Show the answer as it comes, with what the model says to itself on standard error."""
    held: list[str] = []
    thoughts: Thoughts | None = None
    async for event in turn:
        if isinstance(event, Reasoning) and manner.reasoning and not manner.quiet:
            thoughts = thoughts or _open_thoughts(writer)
            await thoughts.write(event.content)
        elif thoughts is not None:
            thoughts.end()
        if isinstance(event, Token):
            if manner.stream:
                await writer.write(event.content)
            else:
                held.append(event.content)
        elif isinstance(event, Finished | Failed):
            if held:
                await writer.write_whole("".join(held), markdown=manner.markdown)
            await writer.finish()
            return event
    raise AssertionError("a turn ends with its last event")


async def _show_json(turn: AsyncIterable[Event], writer: AnswerWriter, manner: Manner) -> Finished | Failed:
    held: list[str] = []
    async for event in turn:
        if isinstance(event, Token) and not manner.stream:
            held.append(event.content)
            continue
        if isinstance(event, Finished | Failed) and held:
            await writer.write(output.json_line(Token(event.thread_id, "".join(held)).to_json()))
        await writer.write(output.json_line(event.to_json()))
        if isinstance(event, Finished | Failed):
            return event
    raise AssertionError("a turn ends with its last event")


def _conclude(last: Finished | Failed, writer: AnswerWriter, manner: Manner, signals: Signals) -> int:
    """Say on standard error what the answer itself does not show, and return the exit code."""
    talk = not manner.quiet and not manner.json
    if talk and last.saved and output.is_terminal(sys.stderr):
        output.note(f"thread {last.thread_id} · continue with: chatcli chat -t {last.thread_id}")
    if isinstance(last, Failed):
        raise last.error
    if signals.received is not None and last.state is TurnState.INTERRUPTED:
        if talk:
            kept = "what arrived is kept as interrupted" if last.saved else "nothing was stored"
            output.say(f"interrupted; {kept}")
        return _SIGNAL_BASE + signals.received
    if last.state is TurnState.TRUNCATED and talk:
        output.say(f"the answer is cut short: the provider stopped it ({last.finish_reason})")
    if writer.failure is not None:
        raise OutputClosed(
            f"the answer could not be written: {writer.failure.strerror}",
            hint=f"it is stored: chatcli history {last.thread_id} --tail 1" if last.saved else None,
            saved=last.saved,
        )
    return 0
