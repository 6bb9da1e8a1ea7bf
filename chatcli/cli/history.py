"""The command `history`: the threads, or the turns of one."""

import sys
from collections.abc import AsyncIterator
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from chatcli.cli import completion, options, output
from chatcli.cli.terminal import visible_line
from chatcli.errors import InvalidRequest

if TYPE_CHECKING:
    from chatcli.models import Thread, Turn
    from chatcli.service import ChatService

DEFAULT_LIMIT = 20
PAGE = 200
"""Threads that are held in memory at a time."""


class Format(StrEnum):
    """How the turns of a thread are written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    JSONL = "jsonl"
    HTML = "html"


def history(
    *,
    thread: Annotated[
        str | None,
        typer.Argument(
            metavar="[THREAD]",
            help="Show the turns of this thread: its id, the beginning of it, or @last.",
            autocompletion=completion.threads,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "-n", "--limit", min=0, metavar="N", help=f"Threads to list, 0 for all [{DEFAULT_LIMIT}]."
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="List archived threads, too.")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="List only archived threads.")] = False,
    search: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="List threads in which all these words stand, best match first."),
    ] = None,
    tail: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Show only the last N turns of the thread.")
    ] = None,
    form: Annotated[Format | None, typer.Option("--format", help="How to write the turns.")] = None,
    store: options.Store = None,
    server: options.Server = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List the threads, last used first, or show one.

    On a terminal answers are rendered and long output is paged; in a pipe text is exact.
    """
    from chatcli.cli import runtime

    of_list = limit is not None or all_ or archived or search is not None
    _check(thread, tail, form, json=json, of_list=of_list)
    output.require_stdout()
    form = Format.JSON if json else form
    settings = runtime.load(store=store, server=server, env_file=env_file)
    if thread is not None:
        found, turns = runtime.run(lambda service: _read(service, thread, tail), settings)
        _show(found, turns, form)
        return
    wanted = True if archived else None if all_ else False
    count = DEFAULT_LIMIT if limit is None else limit
    as_json = form in {Format.JSON, Format.JSONL}
    if search is not None:
        shown = runtime.run(
            lambda service: _search(service, search, limit=count, archived=wanted, as_json=as_json), settings
        )
        nothing = "nothing was found" if wanted is not False else "nothing was found; --all looks everywhere"
    else:
        shown = runtime.run(
            lambda service: _list(service, limit=count, archived=wanted, as_json=as_json), settings
        )
        nothing = "no archived threads" if archived else 'no threads yet; begin one: chatcli chat "hello"'
    if not shown and not quiet:
        output.say(nothing)


def _check(thread: str | None, tail: int | None, form: Format | None, *, json: bool, of_list: bool) -> None:
    """Refuse options that do not go together."""
    if json and form not in {None, Format.JSON}:
        raise InvalidRequest(
            f"--json and --format {form} exclude each other", hint="--json is short for --format json"
        )
    if thread is None and tail is not None:
        raise InvalidRequest("--tail needs a thread", hint="chatcli history THREAD --tail 3")
    if thread is None and form in {Format.MARKDOWN, Format.HTML}:
        raise InvalidRequest(
            f"--format {form} is for one thread", hint=f"chatcli history THREAD --format {form}"
        )
    if thread is not None and of_list:
        raise InvalidRequest(
            "--limit, --all, --archived and --search are for the list", hint="--tail N is for turns"
        )


async def _search(
    service: "ChatService", text: str, *, limit: int, archived: bool | None, as_json: bool
) -> int:
    """Write what was found, and return how many threads that is."""
    from chatcli.cli import hits

    found = await service.search(text, limit=limit or sys.maxsize, archived=archived)
    if as_json:
        for hit in found:
            output.write_json(hits.hit_document(hit))
    elif not output.is_terminal(sys.stdout):
        output.write_lines(hits.hit_rows(found))
    elif found:
        table = hits.hit_table(found, width=output.screen_size().columns)
        output.page("".join(f"{line}\n" for line in table))
    return len(found)


async def _list(service: "ChatService", *, limit: int, archived: bool | None, as_json: bool) -> int:
    """Write the list, to a program page by page, and return how many threads were in it."""
    from chatcli.cli import render

    shown = 0
    screen: list[Thread] = []
    async for threads in _pages(service, limit=limit, archived=archived):
        shown += len(threads)
        if as_json:
            for thread in threads:
                output.write_json(thread.to_json())
        elif output.is_terminal(sys.stdout):
            screen.extend(threads)
        else:
            output.write_lines(render.thread_rows(threads))
    if screen:
        table = render.thread_table(screen, width=output.screen_size().columns)
        output.page("".join(f"{line}\n" for line in table))
    return shown


async def _pages(
    service: "ChatService", *, limit: int, archived: bool | None
) -> AsyncIterator["tuple[Thread, ...]"]:
    left, cursor = limit or sys.maxsize, None
    while left:
        page = await service.threads(limit=min(left, PAGE), cursor=cursor, archived=archived)
        left -= len(page.threads)
        cursor = page.next_cursor
        if page.threads:
            yield page.threads
        if cursor is None:
            return


async def _read(
    service: "ChatService", reference: str, tail: int | None
) -> "tuple[Thread, tuple[Turn, ...]]":
    thread_id = await service.resolve(reference)
    return await service.thread(thread_id), await service.turns(thread_id, tail=tail)


def _show(thread: "Thread", turns: "tuple[Turn, ...]", form: Format | None) -> None:
    from chatcli.cli import render

    if form is Format.JSON:
        output.write_json({**thread.to_json(), "turns": [turn.to_json() for turn in turns]})
    elif form is Format.JSONL:
        for turn in turns:
            output.write_json(turn.to_json())
    elif form is Format.HTML:
        from chatcli.cli.webpage import page_of

        for piece in page_of(thread, turns):
            output.write(piece)
    elif output.is_terminal(sys.stdout):
        heading = output.styled(f"{visible_line(thread.title)}\n{thread.id}\n\n", "bold")
        screen = render.turn_screen(
            turns, width=output.screen_size().columns, markdown=form is not Format.TEXT
        )
        output.page("".join(chain((heading,), screen)))
    elif form is Format.MARKDOWN:
        for piece in render.turn_markdown(thread, turns):
            output.write(piece)
    else:
        for piece in render.turn_text(turns):
            output.write(piece)
