"""What the slash commands do."""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from chatcli.cli import output, prompt
from chatcli.cli.session import clipboard, tally, thread_actions, view
from chatcli.cli.session.arguments import needed, nothing, number_of, path_of
from chatcli.cli.session.past import write_private
from chatcli.cli.session.table import BY_NAME, help_lines, nearest
from chatcli.cli.terminal import visible_line
from chatcli.errors import InvalidRequest
from chatcli.models import text_of
from chatcli.service.requests import check_language
from chatcli.text import check_text

if TYPE_CHECKING:
    from chatcli.cli.session.loop import Session

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


async def choose_model(session: "Session", argument: str) -> None:
    """/model."""
    talk = session.talk
    if argument:
        await session.service.find_model(argument, talk.thread)
        talk.choices.model = argument
    view.tell(f"model: {visible_line(await talk.find_model())}")


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
        talk.choices.language = check_language(argument)
    current = talk.choices.language or (talk.thread.language if talk.thread else "English")
    view.tell(f"language: {visible_line(current)}")


async def retry(session: "Session", argument: str) -> None:
    """/retry."""
    nothing(argument, "/retry")
    await session.ask_again()


async def undo(session: "Session", argument: str) -> None:
    """/undo."""
    session.talk.require_thread()
    await session.take_back(number_of(argument, "/undo") if argument else 1)


async def edit(session: "Session", argument: str) -> None:
    """/edit."""
    nothing(argument, "/edit")
    content = await session.service.last_prompt(session.talk.require_thread().id)
    session.draft, session.editing = text_of(content), True
    if not isinstance(content, str):
        view.tell("the images of that prompt are not in it any more: /file adds them")
    view.tell("change the prompt and send it; an empty one changes nothing")


async def add_file(session: "Session", argument: str) -> None:
    """/file."""
    files = session.talk.choices.files
    if not argument:
        view.tell(f"forgot {tally.count_of(len(files), 'file')}" if files else "no files are waiting")
        files.clear()
        return
    path = path_of(argument)
    prompt.compose([], None, [path], limit=session.talk.opening.max_length)
    files.append(path)
    view.tell(f"goes with the next prompt: {visible_line(str(path))}")


async def save(session: "Session", argument: str) -> None:
    """/save."""
    from chatcli.cli.render import turn_markdown

    thread = session.talk.require_thread()
    path = path_of(needed(argument, "/save"))
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
    view.tell(f"wrote {tally.count_of(len(turns), 'turn')} to {name}")


async def copy(session: "Session", argument: str) -> None:
    """/copy."""
    text = session.talk.last_answer
    if argument:
        blocks = [match[2] for match in _CODE.finditer(text)]
        number = number_of(argument, "/copy")
        if number > len(blocks):
            raise InvalidRequest(f"the last answer has {tally.count_of(len(blocks), 'block')} of code")
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
    view.tell(f"copied {tally.count_of(len(text), 'character')}" + (f" with {program}" if program else ""))


async def show_usage(session: "Session", argument: str) -> None:
    """/usage."""
    nothing(argument, "/usage")
    session.talk.require_thread()
    view.show(tally.describe_usage(session.talk.tally, session.service.settings.prices))


async def leave(session: "Session", argument: str) -> None:
    """/exit."""
    nothing(argument, "/exit")
    session.over = True


ACTIONS: Mapping[str, Callable[["Session", str], Awaitable[None]]] = {
    "/help": show_help,
    "/history": thread_actions.show_history,
    "/threads": thread_actions.list_threads,
    "/switch": thread_actions.switch,
    "/new": thread_actions.begin,
    "/title": thread_actions.rename,
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
    "/clear": thread_actions.clear,
    "/archive": thread_actions.archive,
    "/delete": thread_actions.delete,
    "/exit": leave,
}
