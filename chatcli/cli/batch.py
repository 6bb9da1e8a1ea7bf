"""One command on one or many threads: which, a yes where it takes one, and a line about each."""

import shlex
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from chatcli.cli import output
from chatcli.cli.terminal import visible_line
from chatcli.errors import ChatcliError, InvalidRequest, ThreadArchived, ThreadBusy, ThreadNotFound
from chatcli.frozen import Frozen
from chatcli.models import TurnState

if TYPE_CHECKING:
    from chatcli.models import Thread
    from chatcli.service import ChatService

STDIN = "-"
_OF_ONE_THREAD = (ThreadNotFound, ThreadBusy, ThreadArchived, InvalidRequest)
"""Errors that say nothing about the other threads; any other ends the work."""

Act = Callable[["ChatService", "Thread"], Awaitable["Thread"]]


class Verb(Frozen):
    """What is done to the threads, and how that is called."""

    name: str
    done: str
    act: Act
    final: bool
    """Whether it can't be taken back, so that a person is asked first."""


class Manner(Frozen):
    """How much is said, and in which form."""

    json: bool
    quiet: bool
    dry_run: bool
    yes: bool = False
    flags: tuple[str, ...] = ()
    """Options to repeat where the command is shown that does the same with ``--yes``."""


async def apply(service: "ChatService", references: Sequence[str], verb: Verb, manner: Manner) -> int:
    """Do it to every thread that is named, and return the exit code: that of the first failure.

    All names are looked up before anything is done, so that nothing changes what they mean.
    A single thread's error is raised; one of many gets a line of its own.
    """
    work = _Work(service, verb, manner, alone=len(references) == 1 and references[0] != STDIN)
    for reference in read_references(references):
        await work.find(reference)
    if not work.threads:
        if not work.code and not manner.quiet:
            output.say(f"no threads were named; nothing was {verb.done}")
        return work.code
    if verb.final and not manner.dry_run and not manner.yes:
        if not output.can_ask():
            raise InvalidRequest(
                f"nothing was {verb.done}: without a terminal to ask at, --yes is needed",
                hint=f"to {verb.name}: {_command(references, work.threads, verb, manner)}",
            )
        if not _confirm(work.threads, verb):
            output.say(f"nothing was {verb.done}")
            return work.code
    for thread in work.threads:
        await work.do(thread)
    return work.code


def read_references(references: Sequence[str]) -> Iterator[str]:
    """Yield the names of threads, those on standard input for ``-``: one a line, up to the first tab."""
    for reference in references:
        if reference != STDIN:
            yield reference
            continue
        if output.is_terminal(sys.stdin) or sys.stdin is None:
            raise InvalidRequest(
                "'-' reads thread ids from standard input, and that is a terminal or closed",
                hint="pipe them in, one a line, as in: chatcli history --json | jq -r .id | …",
            )
        from chatcli.text import decode

        for line in decode(sys.stdin.buffer.read(), source="standard input").split("\n"):
            if name := line.partition("\t")[0].strip():
                yield name


class _Work:
    """The threads of one command, and what became of them."""

    def __init__(self, service: "ChatService", verb: Verb, manner: Manner, *, alone: bool) -> None:
        self._service = service
        self._verb = verb
        self._manner = manner
        self._alone = alone
        self._seen: set[str] = set()
        self.threads: list[Thread] = []
        self.code = 0

    async def find(self, reference: str) -> None:
        """Add the thread that `reference` names, once."""
        try:
            thread = await self._service.find(reference)
            if thread.id not in self._seen:
                self._seen.add(thread.id)
                self.threads.append(thread)
        except _OF_ONE_THREAD as error:
            self._fail(reference, error)

    async def do(self, thread: "Thread") -> None:
        """Do it to one thread, or in a dry run find out whether it could be done; and say so."""
        try:
            if self._manner.dry_run:
                await self._check_idle(thread)
                now = thread
            else:
                now = await self._verb.act(self._service, thread)
        except _OF_ONE_THREAD as error:
            self._fail(thread.id, error)
            return
        if self._manner.quiet:
            return
        if self._manner.json:
            output.write_json({**now.to_json(), "action": self._verb.name, "dry_run": self._manner.dry_run})
        else:
            done = f"would {self._verb.name}" if self._manner.dry_run else self._verb.done
            output.write(described(thread, before=f"{done} ") + "\n")

    async def _check_idle(self, thread: "Thread") -> None:
        for turn in await self._service.turns(thread.id, tail=1):
            if turn.state is TurnState.RUNNING:
                raise ThreadBusy(f"a turn is running on thread {thread.id}", hint="wait until it has ended")

    def _fail(self, reference: str, error: ChatcliError) -> None:
        if self._alone:
            raise error
        self.code = self.code or error.exit_code
        output.say_problem(error, as_json=self._manner.json, thread=reference)


def described(thread: "Thread", *, before: str = "") -> str:
    """Return a thread on one line, behind `before`: its id, its title, and how long it is.

    On a terminal it is the title that gives way if the line is too long.
    """
    head = f"{before}{thread.id}"
    tail = f"({thread.turn_count} turn{'' if thread.turn_count == 1 else 's'})"
    title = " ".join(thread.title.split())
    if output.is_terminal(sys.stdout):
        from chatcli.cli.render import shorten

        title = shorten(visible_line(title), output.screen_size().columns - len(head) - len(tail) - 3)
    return f"{head}  {title} {tail}" if title else f"{head} {tail}"


def _confirm(threads: "Sequence[Thread]", verb: Verb) -> bool:
    """Show what would go, as much of it as the screen holds, and ask."""
    shown = max(1, output.screen_size().lines - 4)
    if len(threads) <= shown + 1:
        shown = len(threads)
    lines = [described(thread) for thread in threads[:shown]]
    if rest := len(threads) - shown:
        lines.append(f"… and {rest} more; --dry-run lists them all")
    what = "this thread" if len(threads) == 1 else f"these {len(threads)} threads"
    scope = "all turns of " if verb.name == "clear" else ""
    return output.ask("\n".join([*lines, f"{verb.name} {scope}{what} for good?"]))


def _command(references: Sequence[str], threads: "Sequence[Thread]", verb: Verb, manner: Manner) -> str:
    """Return the command line that does what this one did not, with whole ids."""
    ids = [STDIN] if STDIN in references else [thread.id for thread in threads]
    return shlex.join(["chatcli", verb.name, "--yes", *manner.flags, *ids])
