"""What each slash command does."""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chatcli.cli import output, prompt
from chatcli.cli.session import clipboard, tally, view
from chatcli.cli.session.past import write_private
from chatcli.cli.session.table import BY_NAME, help_lines, nearest
from chatcli.cli.terminal import visible_line
from chatcli.errors import InvalidRequest
from chatcli.models import Turn, TurnState, text_of
from chatcli.text import check_text

if TYPE_CHECKING:
    from chatcli.cli.session.loop import Session

THREADS = 20
WATCH_SECONDS = 0.25
_CODE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n(.*?)(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)


async def show_help(session: "Session", argument: str) -> None:
    """/help."""
    del session
    if not argument:
        view.show(help_lines())
        return
    name = argument if argument.startswith("/") else f"/{argument}"
    if name not in BY_NAME:
        near = nearest(name)
        raise InvalidRequest(
            f"there is no command {visible_line(name)}", hint=f"did you mean {near}?" if near else None
        )
    view.show(help_lines(name))


async def show_history(session: "Session", argument: str) -> None:
    """/history."""
    thread = session.talk.require_thread()
    turns = await session.service.turns(thread.id, tail=_number(argument, "/history") if argument else None)
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
    await session.switch(_needed(argument, "/switch"))


async def begin(session: "Session", argument: str) -> None:
    """/new."""
    session.talk.begin()
    session.talk.choices.title = argument or None
    view.tell("the next prompt begins a new thread")


async def rename(session: "Session", argument: str) -> None:
    """/title."""
    title = check_text(_needed(argument, "/title"), source="the title")
    talk = session.talk
    if talk.thread is None:
        talk.choices.title = title
    else:
        talk.thread = await session.service.rename(talk.thread.id, title)
    view.tell(f"title: {visible_line(title)}")


async def choose_model(session: "Session", argument: str) -> None:
    """/model."""
    talk = session.talk
    if argument:
        session.service.check_model(argument, talk.thread)
        talk.choices.model = argument
    view.tell(f"model: {visible_line(talk.model)}")


async def choose_system(session: "Session", argument: str) -> None:
    """/system."""
    talk = session.talk
    if argument:
        text = prompt.read_system(argument)
        talk.choices.system = check_text(text, source="the system prompt")
        view.tell("the system prompt is used from the next prompt on")
        return
    current = talk.choices.system or (talk.thread.system if talk.thread else None)
    view.show([current or "no system prompt of your own"])


async def choose_language(session: "Session", argument: str) -> None:
    """/language."""
    talk = session.talk
    if argument:
        talk.choices.language = check_text(argument, source="the language")
    current = talk.choices.language or (talk.thread.language if talk.thread else "English")
    view.tell(f"language: {visible_line(current)}")


async def retry(session: "Session", argument: str) -> None:
    """/retry."""
    _nothing(argument, "/retry")
    await session.ask_again()


async def undo(session: "Session", argument: str) -> None:
    """/undo."""
    session.talk.require_thread()
    await session.take_back(_number(argument, "/undo") if argument else 1)


async def edit(session: "Session", argument: str) -> None:
    """/edit."""
    _nothing(argument, "/edit")
    content = await session.service.last_prompt(session.talk.require_thread().id)
    session.draft, session.editing = text_of(content), True
    if not isinstance(content, str):
        view.tell("the images of that prompt are not in it any more: /file adds them")
    view.tell("change the prompt and send it; an empty one changes nothing")


async def add_file(session: "Session", argument: str) -> None:
    """/file."""
    files = session.talk.choices.files
    if not argument:
        view.tell(f"forgot {view.count_of(len(files), 'file')}" if files else "no files are waiting")
        files.clear()
        return
    path = _path(argument)
    prompt.compose([], None, [path], limit=session.talk.opening.max_length)
    files.append(path)
    view.tell(f"goes with the next prompt: {visible_line(str(path))}")


async def save(session: "Session", argument: str) -> None:
    """/save."""
    from chatcli.cli.render import turn_markdown

    thread = session.talk.require_thread()
    path = _path(_needed(argument, "/save"))
    turns = await session.service.turns(thread.id)
    if path.suffix == ".json":
        document = {**thread.to_json(), "turns": [turn.to_json() for turn in turns]}
        text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    else:
        text = "".join(turn_markdown(thread, turns))
    name = visible_line(str(path))
    try:
        try:
            write_private(path, text.encode(), os.O_EXCL)
        except FileExistsError:
            if not await session.prompter.confirm(f"{name} exists. Overwrite it?"):
                view.tell("nothing was written")
                return
            write_private(path, text.encode(), os.O_TRUNC)
    except OSError as error:
        raise InvalidRequest(f"{name} can't be written: {error.strerror}") from None
    view.tell(f"wrote {view.count_of(len(turns), 'turn')} to {name}")


async def copy(session: "Session", argument: str) -> None:
    """/copy."""
    text = session.talk.last_answer
    if argument:
        blocks = [match[2] for match in _CODE.finditer(text)]
        number = _number(argument, "/copy")
        if number > len(blocks):
            raise InvalidRequest(f"the last answer has {view.count_of(len(blocks), 'block')} of code")
        text = blocks[number - 1]
    if not text:
        raise InvalidRequest("there is no answer to copy")
    program = await asyncio.to_thread(clipboard.copy_by_program, text)
    sequence = clipboard.terminal_sequence(text)
    if sequence is not None:
        output.write(sequence)
    elif program is None:
        raise InvalidRequest(
            "that is more than terminals copy, and no program for the clipboard was found",
            hint="install wl-copy, xclip or xsel, or use /save",
        )
    view.tell(f"copied {view.count_of(len(text), 'character')}" + (f" with {program}" if program else ""))


async def show_usage(session: "Session", argument: str) -> None:
    """/usage."""
    _nothing(argument, "/usage")
    session.talk.require_thread()
    view.show(tally.describe_usage(session.talk.tally, session.service.settings.prices))


async def clear(session: "Session", argument: str) -> None:
    """/clear."""
    _nothing(argument, "/clear")
    thread = session.talk.require_thread()
    if await session.prompter.confirm(
        f"Remove {view.count_of(thread.turn_count, 'turn')} of this thread for good?"
    ):
        await session.service.clear(thread.id)
        session.talk.begin()
        session.talk.thread = await session.service.thread(thread.id)
        view.tell("cleared")


async def archive(session: "Session", argument: str) -> None:
    """/archive."""
    _nothing(argument, "/archive")
    thread = await session.service.archive(session.talk.require_thread().id)
    session.talk.begin()
    view.tell(f"archived {thread.id}; the next prompt begins a new thread")


async def delete(session: "Session", argument: str) -> None:
    """/delete."""
    _nothing(argument, "/delete")
    thread = session.talk.require_thread()
    title = visible_line(thread.title)
    if await session.prompter.confirm(
        f"Delete “{title}” with {view.count_of(thread.turn_count, 'turn')} for good?"
    ):
        await session.service.delete(thread.id)
        session.talk.begin()
        view.tell("deleted; the next prompt begins a new thread")


async def leave(session: "Session", argument: str) -> None:
    """/exit."""
    _nothing(argument, "/exit")
    session.over = True


async def wait_for_turn(session: "Session", running: Turn) -> None:
    """Wait until a turn that another session runs has ended, and show it; Ctrl-C opens read only."""
    talk = session.talk
    thread = talk.require_thread()
    stopped = asyncio.Event()
    with session.signals.stopping(stopped.set):
        while not stopped.is_set():
            turns = await session.service.store.turns(
                session.service.owner, thread.id, after=running.index - 1, limit=1
            )
            if not turns or turns[0].state is not TurnState.RUNNING:
                await talk.catch_up()
                return
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await stopped.wait()
            except TimeoutError:
                continue
    talk.read_only = True
    view.tell("read only: /switch to the thread again to look whether it is free")


def _path(argument: str) -> Path:
    try:
        return Path(argument).expanduser()
    except RuntimeError:
        raise InvalidRequest("there is no such user") from None


def _needed(argument: str, name: str) -> str:
    if not argument:
        raise InvalidRequest(f"{name} needs more", hint=BY_NAME[name].usage)
    return argument


def _nothing(argument: str, name: str) -> None:
    if argument:
        raise InvalidRequest(f"{name} takes nothing", hint=BY_NAME[name].help)


def _number(argument: str, name: str) -> int:
    if re.fullmatch("0*[1-9][0-9]{0,5}", argument) is None:
        raise InvalidRequest(f"{name} takes a number from 1", hint=BY_NAME[name].usage)
    return int(argument)


ACTIONS: Mapping[str, Callable[["Session", str], Awaitable[None]]] = {
    "/help": show_help,
    "/history": show_history,
    "/threads": list_threads,
    "/switch": switch,
    "/new": begin,
    "/title": rename,
    "/model": choose_model,
    "/system": choose_system,
    "/language": choose_language,
    "/retry": retry,
    "/undo": undo,
    "/edit": edit,
    "/file": add_file,
    "/save": save,
    "/copy": copy,
    "/usage": show_usage,
    "/clear": clear,
    "/archive": archive,
    "/delete": delete,
    "/exit": leave,
}
