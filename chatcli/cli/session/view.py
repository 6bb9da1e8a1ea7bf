"""What a session prints besides answers: turns of before, lists, notes. All of it gated."""

from collections.abc import Iterable, Sequence

from chatcli.cli import output
from chatcli.cli.render import content_text, local_time, thread_table
from chatcli.cli.session.prompter import MARK
from chatcli.cli.session.tally import count_of
from chatcli.cli.terminal import visible, visible_line
from chatcli.errors import ChatcliError
from chatcli.models import Message, Role, Thread, Turn, TurnState

RECENT = 3
PROMPT_LINES = 12
"""Lines of an earlier prompt that are shown."""


def show(lines: Iterable[str], *, style: str | None = None) -> None:
    """Print lines of unknown origin."""
    for line in lines:
        text = visible(line)
        output.write((output.styled(text, style) if style else text) + "\n")
    output.flush()


def tell(text: str) -> None:
    """Print a remark, dim."""
    show(text.splitlines(), style="dim")


def tell_error(error: ChatcliError) -> None:
    """Print an error and its hint."""
    output.flush()
    output.say_error(error.message, error.hint)


def show_turns(turns: Sequence[Turn], *, markdown: bool) -> None:
    """Print turns as they would have looked when they came."""
    for turn in turns:
        moment = local_time(turn.finished_at or turn.started_at)
        ended = "" if turn.state is TurnState.COMPLETE else f" · {turn.state.value}"
        why = "" if turn.error is None else f": {turn.error.message}"
        tell(visible_line(f"[{turn.index}] {moment} · {turn.model}{ended}{why}"))
        for message in turn.messages:
            if message.role is Role.HUMAN:
                _show_prompt(message)
            elif message.role is Role.AI:
                output.write(_rendered(message.text, markdown=markdown) + "\n")
    output.flush()


def _show_prompt(message: Message) -> None:
    lines = visible(content_text(message)).rstrip("\n").split("\n")
    mark = output.styled(MARK.rstrip(), "bold")
    for index, line in enumerate(lines[:PROMPT_LINES]):
        output.write(f"{' ' if index else mark} {line}\n")
    if len(lines) > PROMPT_LINES:
        tell(f"  … {count_of(len(lines) - PROMPT_LINES, 'more line')}")
    output.write("\n")


def _rendered(text: str, *, markdown: bool) -> str:
    if not markdown:
        return visible(text).rstrip("\n") + "\n"
    from chatcli.cli.markdown import render

    return render(text, width=output.screen_size().columns, color=not output.terminal().no_color)


def show_opening(thread: Thread, turns: Sequence[Turn], *, markdown: bool) -> None:
    """Print where a thread was left: its last turns, and how many there are before."""
    show([visible_line(thread.title) or thread.id], style="bold")
    shown = turns[-RECENT:]
    hidden = (shown[0].index - 1) if shown else thread.turn_count
    about = f"thread {thread.id} · last used {local_time(thread.updated_at)}"
    tell(about if not hidden else f"{about} · {count_of(hidden, 'earlier turn')}: /history")
    output.write("\n")
    show_turns(shown, markdown=markdown)


def show_threads(threads: Sequence[Thread]) -> None:
    """Print a list of threads."""
    for line in thread_table(threads, width=output.screen_size().columns):
        output.write(line + "\n")
    output.flush()


def describe_running(turn: Turn) -> str:
    """Say who holds a thread: since when, with which model, and with what prompt."""
    prompt = next((content_text(it) for it in turn.messages if it.role is Role.HUMAN), "")
    first = next((line.strip() for line in prompt.splitlines() if line.strip()), "")
    if len(first) > RECENT * 20:
        first = first[: RECENT * 20 - 1] + "…"
    return visible_line(
        f"turn {turn.index} is being answered by another session since {local_time(turn.started_at)}"
        f" ({turn.model}): {first}"
    )
