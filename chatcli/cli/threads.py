"""The commands that change threads: `clear`, `delete`, `archive`, `title` and `fork`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import typer

from chatcli.cli import completion, options, output
from chatcli.cli.terminal import visible_line
from chatcli.errors import InvalidRequest

if TYPE_CHECKING:
    from chatcli.cli.batch import Manner, Verb
    from chatcli.models import Thread
    from chatcli.service import ChatService

References: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="THREAD...",
        help="Ids, beginnings of ids, or @last; '-' reads ids from standard input, one a line.",
        autocompletion=completion.threads,
    ),
]
Reference: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="THREAD", help="An id, the beginning of one, or @last.", autocompletion=completion.threads
    ),
]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Yes: TypeAlias = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]


class Place(NamedTuple):
    """What the command line says about where the threads are."""

    store: str | None
    server: str | None
    env_file: Path | None


def clear(
    *,
    threads: References,
    yes: Yes = False,
    dry_run: DryRun = False,
    store: options.Store = None,
    server: options.Server = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Remove the turns of threads, and keep the threads.

    A thread on which a turn is running is not touched.
    """
    from chatcli.cli.batch import Verb

    place = Place(store, server, env_file)
    manner = _manner(place, json=json, quiet=quiet, dry_run=dry_run, yes=yes)
    _apply(threads, Verb("clear", "cleared", _clear, final=True), manner, place)


def delete(
    *,
    threads: References,
    yes: Yes = False,
    dry_run: DryRun = False,
    store: options.Store = None,
    server: options.Server = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Remove threads with all their turns, for good.

    A thread on which a turn is running is not touched.
    """
    from chatcli.cli.batch import Verb

    place = Place(store, server, env_file)
    manner = _manner(place, json=json, quiet=quiet, dry_run=dry_run, yes=yes)
    _apply(threads, Verb("delete", "deleted", _delete, final=True), manner, place)


def archive(
    *,
    threads: References,
    restore: Annotated[bool, typer.Option("--restore", help="Take threads out of the archive.")] = False,
    dry_run: DryRun = False,
    store: options.Store = None,
    server: options.Server = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Hide threads from lists, and take no turns, until restored."""
    from chatcli.cli.batch import Verb

    verb = (
        Verb("restore", "restored", _restore, final=False)
        if restore
        else Verb("archive", "archived", _archive, final=False)
    )
    place = Place(store, server, env_file)
    manner = _manner(place, json=json, quiet=quiet, dry_run=dry_run, yes=True)
    _apply(threads, verb, manner, place)


def title(
    *,
    thread: Reference,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[TITLE]...", help="The new title; without it, show it.")
    ] = None,
    store: options.Store = None,
    server: options.Server = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Give a thread a title, or show the one it has."""
    from chatcli.cli import runtime

    new = None if not words else " ".join(words).strip()
    if new == "":
        raise InvalidRequest("the title is empty", hint="chatcli title THREAD SOME WORDS")
    output.require_stdout()
    settings = runtime.load(store=store, server=server, env_file=env_file)
    found = runtime.run(lambda service: _title(service, thread, new), settings)
    if json:
        output.write_json(found.to_json())
    elif new is None:
        shown = visible_line(found.title) if output.is_terminal(sys.stdout) else found.title
        output.write(f"{shown}\n")
    elif not quiet:
        from chatcli.cli.batch import described

        output.write(described(found, before="titled ") + "\n")


def fork(
    *,
    thread: Reference,
    at: Annotated[
        int | None, typer.Option("--at", min=0, metavar="N", help="Take only the first N turns.")
    ] = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Name the new thread.")] = None,
    store: options.Store = None,
    server: options.Server = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a new thread from the turns of another, print its id.

    The two have these turns in common; what comes later is their own.
    """
    from chatcli.cli import runtime

    output.require_stdout()
    settings = runtime.load(store=store, server=server, env_file=env_file)
    made = runtime.run(lambda service: _fork(service, thread, at, title), settings)
    if json:
        output.write_json(made.to_json())
        return
    output.write(f"{made.id}\n")
    if not quiet:
        turns = f"{made.turn_count} turn{'' if made.turn_count == 1 else 's'}"
        output.note(f"{turns} forked · continue with: chatcli chat -t {made.id}")


async def _title(service: "ChatService", reference: str, new: str | None) -> "Thread":
    thread_id = await service.resolve(reference)
    return await (service.thread(thread_id) if new is None else service.rename(thread_id, new))


async def _fork(service: "ChatService", reference: str, at: int | None, title: str | None) -> "Thread":
    return await service.fork(await service.resolve(reference), turns=at, title=title)


async def _clear(service: "ChatService", thread: "Thread") -> "Thread":
    return await service.clear(thread.id)


async def _delete(service: "ChatService", thread: "Thread") -> "Thread":
    await service.delete(thread.id)
    return thread


async def _archive(service: "ChatService", thread: "Thread") -> "Thread":
    return await service.archive(thread.id)


async def _restore(service: "ChatService", thread: "Thread") -> "Thread":
    return await service.archive(thread.id, archived=False)


def _manner(place: Place, *, json: bool, quiet: bool, dry_run: bool, yes: bool) -> "Manner":
    from chatcli.cli.batch import Manner
    from chatcli.config import mask_url

    flags = (
        *(("--store", mask_url(place.store)) if place.store is not None else ()),
        *(("--server", mask_url(place.server)) if place.server is not None else ()),
        *(("--env-file", str(place.env_file)) if place.env_file is not None else ()),
        *(("--json",) if json else ()),
        *(("--quiet",) if quiet else ()),
    )
    return Manner(json=json, quiet=quiet, dry_run=dry_run, yes=yes, flags=flags)


def _apply(threads: Sequence[str], verb: "Verb", manner: "Manner", place: Place) -> None:
    from chatcli.cli import runtime
    from chatcli.cli.batch import apply

    output.require_stdout()
    settings = runtime.load(store=place.store, server=place.server, env_file=place.env_file)
    code = runtime.run(lambda service: apply(service, threads, verb, manner), settings)
    if code:
        raise typer.Exit(code)
