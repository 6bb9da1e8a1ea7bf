"""The command `copy`: threads from one store into another."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatcli.cli import options, output, runtime
from chatcli.cli.progress import progress
from chatcli.errors import InvalidRequest
from chatcli.frozen import replace

if TYPE_CHECKING:
    from chatcli.config import Settings
    from chatcli.service import ChatService
    from chatcli.service.transfer.copying import Copied


def copy(
    *,
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The store to read.")],
    target: Annotated[str, typer.Option("--to", metavar="URL", help="The store to write.")],
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="NAME", help="Copy only the threads of this owner.")
    ] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Copy only archived threads.")] = False,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--from-key-file",
            metavar="PATH",
            help="Keys of the store to read, where CHATCLI_ENCRYPTION_KEY is only for the other one.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be copied.")] = False,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Copy threads from one store to another, and compare each with what was written.

    Nothing is removed. It may be broken off at any time and run again: threads that are there already
    are left alone, and one that is there with other turns is an error that the others do not mind.
    """
    from chatcli.service.transfer.copying import check_source

    output.require_stdout()
    reading = runtime.load(store=source, env_file=env_file)
    writing = runtime.load(store=target, env_file=env_file)
    if reading.store == writing.store:
        raise InvalidRequest("both stores are the same", hint="name another one with --to")
    check_source(reading.store)
    if key_file is not None:
        reading = replace(reading, encryption_key=_read_keys(key_file))
    copying = _Copying(writing, owner, archived=archived, dry_run=dry_run, json=json, quiet=quiet)
    runtime.run(copying.run, reading, loop=not runtime.never_waits(writing))
    if copying.code:
        raise typer.Exit(copying.code)


def _read_keys(path: Path) -> Any:
    from chatcli.config import Secret
    from chatcli.config.sources import read_text

    return Secret(read_text(path, f"the file of keys {path}").strip())


class _Copying:
    """One run, and its receipt."""

    def __init__(
        self,
        writing: "Settings",
        owner: str | None,
        *,
        archived: bool,
        dry_run: bool,
        json: bool,
        quiet: bool,
    ) -> None:
        self._writing = writing
        self._owner = owner
        self._archived = True if archived else None
        self._dry_run = dry_run
        self._json = json
        self._quiet = quiet
        self._counts = {"copy": 0, "keep": 0, "fail": 0}
        self._turns = 0
        self._started = time.monotonic()
        self.code = 0

    async def run(self, source: "ChatService") -> None:
        """Copy into a store that is opened and closed here."""
        from chatcli.service import open_service
        from chatcli.service.transfer.copying import call_roll, copy_threads

        target = open_service(self._writing)
        try:
            await target.threads(limit=1)  # a wrong key there is no trouble of single threads
            roll = await call_roll(source.store, owner=self._owner, archived=self._archived)
            try:
                with progress("copying", total=len(roll), quiet=self._quiet) as show:
                    async for done in copy_threads(source.store, target.store, roll, dry_run=self._dry_run):
                        self._count(done)
                        show(sum(self._counts.values()), f"{sum(self._counts.values())} of {len(roll)}")
            finally:
                roll.close()
        except BaseException as error:
            if runtime.is_interrupt(error):
                copied = self._counts["copy"]
                output.say(f"interrupted; {copied} threads were copied, the same command goes on")
            raise
        finally:
            await target.aclose()
        self._tell()

    def _count(self, done: "Copied") -> None:
        self._counts[done.fate.value] += 1
        if done.error is not None:
            self.code = self.code or done.error.exit_code
            output.say_problem(done.error, as_json=self._json, thread=done.thread_id, owner=done.owner)
            return
        if done.fate.value == "copy":
            self._turns += done.turns
        if self._dry_run and done.fate.value == "copy" and done.thread is not None and not self._quiet:
            from chatcli.cli.batch import described

            if self._json:
                output.write_json({**done.thread.to_json(), "action": "copy", "dry_run": True})
            else:
                output.write(f"would copy {described(done.thread)}\n")

    def _tell(self) -> None:
        seconds = time.monotonic() - self._started
        copied, kept, failed = self._counts.values()
        if self._json:
            receipt = {"dry_run": self._dry_run, "copied": copied, "turns": self._turns}
            output.write_json({**receipt, "there": kept, "failed": failed, "seconds": round(seconds, 3)})
        elif not self._quiet:
            what = "would be copied" if self._dry_run else "copied and compared"
            rest = f"{kept} there already" + (f", {failed} failed" if failed else "")
            output.write(f"{copied} threads with {self._turns} turns {what}, {rest}, {seconds:.1f} s\n")
