"""The commands `export` and `import`: threads out of a store and into one, and from other programs."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from chatcli.cli import completion, options, output
from chatcli.errors import ChatcliError, InvalidRequest, OutputClosed

if TYPE_CHECKING:
    from chatcli.models import Thread
    from chatcli.service import ChatService
    from chatcli.service.transfer.reading import Reading, Whole

_CHUNK = 1024 * 1024


def export(
    *,
    threads: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[THREAD]...",
            help="Threads to export, all without any; '-' reads ids from standard input.",
            autocompletion=completion.threads,
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PATH", help="Write to this file, whole or not.")
    ] = None,
    store: options.Store = None,
    server: options.Server = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write threads as lines of JSON, with a checksum.

    A line is a thread as `chatcli history THREAD --json` shows it, and its system prompt. What
    comes out is what `chatcli import` reads.
    """
    from chatcli.cli import runtime

    if file is None:
        output.require_stdout()
    settings = runtime.load(store=store, server=server, env_file=env_file)
    count = runtime.run(lambda service: _export(service, threads, file), settings)
    output.flush()
    if not quiet and not json:
        output.note(f"exported {_many(count[0], 'thread')} with {_many(count[1], 'turn')}")


def import_(
    *,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="An export of chatcli, llm's logs.db, or ChatGPT's conversations.json or its ZIP; "
            "'-' or nothing reads standard input.",
        ),
    ] = None,
    branches: Annotated[
        bool,
        typer.Option(
            "--branches", help="Of ChatGPT's conversations take the branches that were left, too, as threads."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be imported.")] = False,
    store: options.Store = None,
    server: options.Server = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Read threads of an export, of llm, or of ChatGPT.

    Threads that are there already stay as they are. A damaged export of chatcli is refused before
    anything is written.
    """
    from chatcli.cli import runtime
    from chatcli.service.transfer.formats import read_threads

    output.require_stdout()
    settings = runtime.load(store=store, server=server, env_file=env_file)
    path = None if file is None or str(file) == "-" else file
    with _opened(path) as source:
        importer = _Importer(dry_run=dry_run, json=json, quiet=quiet)
        runtime.run(
            lambda service: importer.run(service, read_threads(source, path, branches=branches)), settings
        )
    if importer.code:
        raise typer.Exit(importer.code)


async def _export(
    service: "ChatService", references: Sequence[str] | None, target: Path | None
) -> tuple[int, int]:
    """Write the export and return how many threads and turns are in it."""
    from chatcli.cli.batch import read_references
    from chatcli.service.transfer.lines import Export

    ids = None
    if references:
        found = [await service.resolve(reference) for reference in read_references(references)]
        ids = list(dict.fromkeys(found))
    sheet = Export()
    with _writing(target) as write:
        # Nothing is written before the store has answered: it may be unreadable.
        head = sheet.header()
        async for thread, turns in service.export(ids):
            write.text(head + sheet.line(thread, turns))
            head = ""
        write.text(head + sheet.trailer())
    return sheet.threads, sheet.turns


class _Sheet:
    """Where an export goes."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file

    def text(self, text: str) -> None:
        """Write ASCII."""
        if self._file is None:
            output.write(text)
        else:
            self._file.write(text.encode("ascii"))


@contextmanager
def _writing(target: Path | None) -> Iterator[_Sheet]:
    """Yield what writes to standard output, or to a file that is there when it is whole."""
    if target is None:
        yield _Sheet(None)
        return
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                yield _Sheet(file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
        except OSError as error:
            raise OutputClosed(f"{target} can't be written: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)


class _Importer:
    """One import: what was read, and what became of it."""

    def __init__(self, *, dry_run: bool, json: bool, quiet: bool) -> None:
        self._dry_run = dry_run
        self._json = json
        self._quiet = quiet
        self._new = self._known = self._failed = 0
        self.code = 0

    async def run(self, service: "ChatService", reading: "Reading") -> None:
        """Import thread by thread; one that can't be taken does not keep the others out."""
        async for thread, outcome in service.import_threads(self._read(reading), dry_run=self._dry_run):
            if isinstance(outcome, ChatcliError):
                self._fail(thread.id, outcome)
            else:
                self._tell(thread, is_new=outcome)
        if not self._quiet and not self._json:
            output.flush()
            failed = f", {self._failed} refused" if self._failed else ""
            done = "would be imported" if self._dry_run else "imported"
            output.note(f"{_many(self._new, 'thread')} {done}, {self._known} there already{failed}")

    def _read(self, reading: "Reading") -> "Iterator[Whole]":
        """Yield what can be read, and tell of the rest."""
        from chatcli.service.transfer.reading import Unfit

        while True:
            try:
                whole = next(reading)
            except StopIteration:
                return
            except Unfit as error:
                self._fail(error.thread, error)
            else:
                yield whole

    def _tell(self, thread: "Thread", *, is_new: bool) -> None:
        self._new += is_new
        self._known += not is_new
        if self._quiet:
            return
        if self._json:
            action = "import" if is_new else "keep"
            output.write_json({**thread.to_json(), "action": action, "dry_run": self._dry_run})
        elif is_new:
            from chatcli.cli.batch import described

            done = "would import" if self._dry_run else "imported"
            output.write(described(thread, before=f"{done} ") + "\n")

    def _fail(self, thread_id: str, error: ChatcliError) -> None:
        self._failed += 1
        self.code = self.code or error.exit_code
        output.say_problem(error, as_json=self._json, thread=thread_id)


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    """Yield the file, or a copy of standard input that can be read twice."""
    if path is not None:
        try:
            with path.open("rb") as file:
                yield file
        except OSError as error:
            raise InvalidRequest(f"{path} can't be read: {error.strerror}") from None
        return
    if sys.stdin is None or output.is_terminal(sys.stdin):
        raise InvalidRequest("there is no file to import", hint="chatcli import FILE, or pipe one in")
    with tempfile.TemporaryFile() as file:
        while chunk := sys.stdin.buffer.read(_CHUNK):
            file.write(chunk)
        yield file


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
