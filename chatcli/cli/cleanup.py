"""The command `cleanup`: old threads go, for cron and for people, with a receipt."""

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatcli.cli import options, output, runtime
from chatcli.errors import ChatcliError, InvalidRequest
from chatcli.models import format_time, utc_now

if TYPE_CHECKING:
    from datetime import datetime

    from chatcli.service import ChatService
    from chatcli.stores.base import Expiry, Sweep

_SHOWN = 10
"""Threads that are shown before a person is asked."""


def cleanup(
    *,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="AGE",
            help="Remove threads not used for 12h, 90d, 2w, 1y, or since a date [CHATCLI_RETENTION].",
        ),
    ] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Remove only archived threads.")] = False,
    keep: Annotated[
        int, typer.Option("--keep", min=0, metavar="N", help="Keep the N last used threads, however old.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be removed, and remove nothing.")
    ] = False,
    force_clock: Annotated[
        bool, typer.Option("--force-clock", help="Believe the clock even if threads were used later.")
    ] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    store: options.Store = None,
    server: options.Server = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Remove threads that were not used for long, and print a receipt.

    Threads that are in use are kept. It may be broken off at any time and run again. It only asks
    where standard input and output are terminals.
    """
    from chatcli.service.cleanup import moment_of
    from chatcli.stores.base import Expiry

    output.require_stdout()
    settings = runtime.load(store=store, server=server, env_file=env_file)
    age = older_than or settings.retention
    if age is None:
        raise InvalidRequest(
            "how old threads must be is not said", hint="use --older-than 90d, or set CHATCLI_RETENTION"
        )
    now = utc_now()
    expiry = Expiry(moment_of(age, now=now), archived_only=archived, keep=keep)
    plan = _Plan(expiry, now, force_clock=force_clock, dry_run=dry_run, quiet=quiet, json=json)
    task = plan.list_ if dry_run else plan.ask_and_remove if output.can_ask() and not yes else plan.remove
    runtime.run(task, settings)


@dataclass(slots=True)
class _Receipt:
    """What one pass did, or would do."""

    before: "datetime"
    dry_run: bool
    scanned: int = 0
    removed: int = 0
    busy: int = 0
    freed: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, step: "Sweep") -> None:
        """Count a step."""
        self.scanned += step.scanned
        self.removed += len(step.removed)
        self.busy += len(step.busy)
        self.freed += step.freed

    def to_json(self) -> dict[str, Any]:
        """Return the receipt for machines; `seconds` is what the pass took."""
        return {
            "dry_run": self.dry_run,
            "before": format_time(self.before),
            "scanned": self.scanned,
            "removed": self.removed,
            "busy": self.busy,
            "bytes_freed": self.freed,
            "seconds": round(time.monotonic() - self.started, 3),
        }

    def __str__(self) -> str:
        gone, freed = ("to remove", "to free") if self.dry_run else ("removed", "freed")
        return (
            f"{self.scanned} scanned, {self.removed} {gone}, {self.busy} kept because busy, "
            f"{self.freed} bytes {freed}, {time.monotonic() - self.started:.1f} s"
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What goes, and how it is told."""

    expiry: "Expiry"
    now: "datetime"
    force_clock: bool
    dry_run: bool
    quiet: bool
    json: bool

    def _steps(self, service: "ChatService", *, dry_run: bool) -> AsyncIterator["Sweep"]:
        return service.cleanup(self.expiry, now=self.now, dry_run=dry_run, force_clock=self.force_clock)

    async def list_(self, service: "ChatService") -> None:
        """Write what would go as `history` writes it, page by page; the receipt to standard error."""
        from chatcli.cli import render

        receipt = _Receipt(self.expiry.before, dry_run=True)
        async for step in self._steps(service, dry_run=True):
            receipt.add(step)
            if self.json:
                for thread in step.removed:
                    output.write_json(thread.to_json())
            elif output.is_terminal(sys.stdout) and step.removed:
                output.write_lines(
                    render.thread_table(
                        step.removed,
                        width=output.screen_size().columns,
                        heading=receipt.removed == len(step.removed),
                    )
                )
            else:
                output.write_lines(render.thread_rows(step.removed))
        if not self.quiet:
            output.flush()
            output.say(output.json_line(receipt.to_json()).rstrip("\n") if self.json else str(receipt))

    async def ask_and_remove(self, service: "ChatService") -> None:
        """Show what would go, ask, and remove it if the answer is yes."""
        from chatcli.cli.batch import described

        receipt = _Receipt(self.expiry.before, dry_run=True)
        lines: list[str] = []
        async for step in self._steps(service, dry_run=True):
            receipt.add(step)
            lines += [described(thread) for thread in step.removed[: _SHOWN - len(lines)]]
        if not receipt.removed:
            self._tell(receipt)
            return
        if rest := receipt.removed - len(lines):
            lines.append(f"… and {rest} more; --dry-run lists them all")
        count = "1 thread" if receipt.removed == 1 else f"{receipt.removed} threads"
        if output.ask("\n".join([*lines, f"remove {count} for good?"])):
            await self.remove(service, expected=receipt.scanned)
        else:
            output.say("nothing was removed")

    async def remove(self, service: "ChatService", *, expected: int | None = None) -> None:
        """Remove what has to go and write the receipt; `expected` is how many threads will be looked at."""
        receipt = _Receipt(self.expiry.before, dry_run=False)
        try:
            with _progress(expected, quiet=self.quiet) as show:
                async for step in self._steps(service, dry_run=False):
                    receipt.add(step)
                    show(receipt.scanned, receipt.removed)
        except BaseException as error:
            if isinstance(error, ChatcliError) and receipt.scanned:
                self._tell(receipt)
            elif runtime.is_interrupt(error):
                output.say(f"interrupted; {receipt.removed} threads were removed, the same command goes on")
            raise
        self._tell(receipt)

    def _tell(self, receipt: _Receipt) -> None:
        if self.json:
            output.write_json(receipt.to_json())
        elif not self.quiet:
            output.write(f"{receipt}\n")


@contextmanager
def _progress(expected: int | None, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error if somebody watches it, and yield what moves it on."""
    if quiet or not output.is_terminal(sys.stderr) or output.terminal().dumb:
        yield lambda _scanned, _removed: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("cleaning up"),
        BarColumn(),
        TextColumn("{task.completed} scanned, {task.fields[removed]} removed"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True, no_color=output.terminal().no_color, width=output.screen_size().columns)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=expected, removed=0)
        yield lambda scanned, removed: bar.update(task, completed=scanned, removed=removed)
