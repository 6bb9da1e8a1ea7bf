"""What the slash commands do that are about threads as a whole."""

import asyncio
from typing import TYPE_CHECKING

from chatcli.cli import output
from chatcli.cli.session import tally, view
from chatcli.cli.session.arguments import needed, nothing, number_of
from chatcli.cli.terminal import visible_line
from chatcli.models import Turn
from chatcli.text import check_text

if TYPE_CHECKING:
    from chatcli.cli.session.loop import Session

THREADS = 20


async def show_history(session: "Session", argument: str) -> None:
    """/history."""
    thread = session.talk.require_thread()
    turns = await session.service.turns(thread.id, tail=number_of(argument, "/history") if argument else None)
    if not turns:
        view.tell("no turns yet")
    view.show_turns(turns, markdown=session.talk.manner.markdown)


async def list_threads(session: "Session", argument: str) -> None:
    """/threads."""
    if argument:
        from chatcli.cli.hits import hit_table

        hits = await session.service.search(argument, limit=THREADS)
        for line in hit_table(hits, width=output.screen_size().columns) if hits else ("nothing was found",):
            output.write(line + "\n")
        return
    page = await session.service.threads(limit=THREADS)
    if not page.threads:
        view.tell("no threads yet")
        return
    view.show_threads(page.threads)
    if page.next_cursor is not None:
        view.tell("and older ones: chatcli history --limit 0")


async def switch(session: "Session", argument: str) -> None:
    """/switch."""
    await session.switch(needed(argument, "/switch"))


async def begin(session: "Session", argument: str) -> None:
    """/new."""
    session.talk.begin()
    session.talk.choices.title = argument or None
    view.tell("the next prompt begins a new thread")


async def rename(session: "Session", argument: str) -> None:
    """/title."""
    title = check_text(needed(argument, "/title"), source="the title")
    talk = session.talk
    if talk.thread is None:
        talk.choices.title = title
    else:
        talk.thread = await session.service.rename(talk.thread.id, title)
    view.tell(f"title: {visible_line(title)}")


async def clear(session: "Session", argument: str) -> None:
    """/clear."""
    nothing(argument, "/clear")
    thread = session.talk.require_thread()
    if await session.prompter.confirm(
        f"Remove {tally.count_of(thread.turn_count, 'turn')} of this thread for good?"
    ):
        await session.service.clear(thread.id)
        session.talk.begin()
        session.talk.thread = await session.service.thread(thread.id)
        view.tell("cleared")


async def archive(session: "Session", argument: str) -> None:
    """/archive."""
    nothing(argument, "/archive")
    thread = await session.service.archive(session.talk.require_thread().id)
    session.talk.begin()
    view.tell(f"archived {thread.id}; the next prompt begins a new thread")


async def delete(session: "Session", argument: str) -> None:
    """/delete."""
    nothing(argument, "/delete")
    thread = session.talk.require_thread()
    title = visible_line(thread.title)
    if await session.prompter.confirm(
        f"Delete “{title}” with {tally.count_of(thread.turn_count, 'turn')} for good?"
    ):
        await session.service.delete(thread.id)
        session.talk.begin()
        view.tell("deleted; the next prompt begins a new thread")


async def wait_for_turn(session: "Session", running: Turn) -> None:
    """Wait until a turn that another session runs has ended, and show it; Ctrl-C opens read only."""
    talk = session.talk
    thread = talk.require_thread()
    waiting = asyncio.ensure_future(session.service.turn_ended(thread.id, running))
    with session.signals.stopping(waiting.cancel):
        await asyncio.wait({waiting})
    if not waiting.cancelled():
        waiting.result()
        await talk.catch_up()
        return
    talk.read_only = True
    view.tell("read only: /switch to the thread again to look whether it is free")
