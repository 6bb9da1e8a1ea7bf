"""How threads and turns look: tables that never cut an id on a terminal, plain exact text in a pipe."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from chatcli.cli import output
from chatcli.cli.terminal import visible, visible_line
from chatcli.models import Message, Role, Thread, Turn, TurnState

_GAP = "  "
_NARROWEST_TITLE = 16
_ELLIPSIS = "…"


def thread_rows(threads: Sequence[Thread]) -> Iterator[str]:
    """Yield a line of five tab-separated fields a thread, for programs: times in UTC, empty for none."""
    for thread in threads:
        archived = "" if thread.archived_at is None else utc_time(thread.archived_at)
        title = " ".join(thread.title.split())
        yield "\t".join((thread.id, title, str(thread.turn_count), utc_time(thread.updated_at), archived))


def thread_table(
    threads: Sequence[Thread], *, width: int, heading: bool = True, details: Sequence[str] = ()
) -> Iterator[str]:
    """Yield the lines of a table for people, at most `width` wide unless an id alone is longer.

    Titles give way: they are shortened, and on a narrow terminal stand on a line of their own.
    `details` are lines to go under each thread.
    """
    ids = max(len("ID"), *(len(thread.id) for thread in threads))
    counts = max(len("TURNS"), *(len(str(thread.turn_count)) for thread in threads))
    times = [local_time(thread.updated_at)[: len("2026-01-01 00:00")] for thread in threads]
    marks = ["" if thread.archived_at is None else "archived" for thread in threads]
    fixed = ids + counts + max(map(len, times)) + max(map(len, marks)) + (4 if any(marks) else 3) * len(_GAP)
    room = width - fixed
    titles = [visible_line(thread.title) or "-" for thread in threads]
    stacked = room < _NARROWEST_TITLE
    room = width - len(_GAP) if stacked else min(room, max(len("TITLE"), *map(cells, titles)))
    titles = [shorten(title, room) for title in titles]

    def line(thread_id: str, title: str, count: str, time: str, mark: str) -> str:
        fields = [thread_id.ljust(ids), count.rjust(counts), time, mark]
        if not stacked:
            fields.insert(1, title + " " * (room - cells(title)))
        return _GAP.join(fields).rstrip()

    if heading:
        yield output.styled(line("ID", "TITLE", "TURNS", "LAST USED".ljust(len(times[0])), ""), "dim")
    for place, (thread, title, time, mark) in enumerate(zip(threads, titles, times, marks, strict=True)):
        yield line(thread.id, title, str(thread.turn_count), time, mark)
        if stacked:
            yield _GAP + title
        yield from details[place : place + 1]


def turn_text(turns: Sequence[Turn]) -> Iterator[str]:
    """Yield the turns as text, exact but for the lines between messages."""
    for turn in turns:
        for message in turn.messages:
            yield f"{headline(turn, message)}\n{content_text(message)}\n\n"
        if not turn.answer:
            yield f"{headline(turn, None)}\n\n"


def turn_markdown(thread: Thread, turns: Sequence[Turn]) -> Iterator[str]:
    """Yield the thread as one Markdown document."""
    yield f"# {' '.join(thread.title.split()) or thread.id}\n\n"
    for turn in turns:
        for message in turn.messages:
            yield f"## {headline(turn, message)}\n\n{content_text(message)}\n\n"
        if not turn.answer:
            yield f"## {headline(turn, None)}\n\n"


def turn_screen(turns: Sequence[Turn], *, width: int, markdown: bool) -> Iterator[str]:
    """Yield the turns for a terminal: gated, headlines dim, answers as rendered Markdown if asked for."""
    for turn in turns:
        for message in turn.messages:
            yield output.styled(visible_line(headline(turn, message, local=True)), "dim") + "\n"
            yield _screen_text(message, width=width, markdown=markdown) + "\n"
        if not turn.answer:
            yield output.styled(visible_line(headline(turn, None, local=True)), "dim") + "\n\n"


def _screen_text(message: Message, *, width: int, markdown: bool) -> str:
    text = content_text(message)
    if markdown and message.role is Role.AI:
        from chatcli.cli.markdown import render

        return render(text, width=width, color=not output.terminal().no_color)
    return visible(text).rstrip("\n") + "\n"


def headline(turn: Turn, message: Message | None, *, local: bool = False) -> str:
    """Return what stands over a message: number, role, time, and for the model's its name and state.

    Without a message it stands for the answer that is missing, and says why.
    """
    show = local_time if local else utc_time
    ended = turn.finished_at or turn.started_at
    words = [
        f"[{turn.index}]",
        "ai" if message is None else message.role.value,
        show(ended if message is None else message.timestamp),
    ]
    if message is None or message.role is Role.AI:
        words.append(turn.model)
        if turn.state is not TurnState.COMPLETE:
            words.append(f"({turn.state.value})")
        if turn.error is not None:
            words.append(turn.error.message)
    return " ".join(words)


def content_text(message: Message) -> str:
    """Return the text of a message, with a word in the place of each image."""
    if isinstance(message.content, str):
        return message.content
    return "\n\n".join(
        str(part["text"]) if part.get("type") == "text" else "[image]" for part in message.content
    )


def utc_time(moment: datetime) -> str:
    """Return RFC 3339 in UTC to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def local_time(moment: datetime) -> str:
    """Return date and time as the clock on the wall shows them."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def cells(text: str) -> int:
    """Return the columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shorten(text: str, width: int) -> str:
    """Return `text` in at most `width` columns, ending in an ellipsis if something is missing."""
    if cells(text) <= width:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, max(0, width - 1)).rstrip() + _ELLIPSIS
