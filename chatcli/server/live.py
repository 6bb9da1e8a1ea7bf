"""One running turn and everyone who reads it: numbered events, kept within bounds."""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from chatcli.errors import ChatcliError
from chatcli.events import Event, Failed, Finished, Reasoning, Started, Token
from chatcli.models import TurnState
from chatcli.server.problems import NotKept

if TYPE_CHECKING:
    from chatcli.service.turn import RunningTurn

KEPT_EVENTS = 4096
"""Events of a turn that are kept one by one; older ones are kept as one text."""
AHEAD_EVENTS = 256
"""How far a turn may be ahead of the fastest of its readers."""

TOLD_END, TOLD_TEXT = -1, -2
"""Numbers of the end and of the text, in one piece, of a turn that is told from the store."""

Numbered: TypeAlias = tuple[int, Event]


class LiveTurn:
    """One turn and what it has emitted so far; events are numbered from 1 in the order of emission.

    The numbers are good where the turn ran. One that is told from the store has the same first event,
    and then numbers below zero, which are good everywhere and never mean an event of a running turn.
    """

    def __init__(self, *, keep_running: bool, told: bool = False) -> None:
        self.keep_running = keep_running
        self.told = told
        """Whether it comes from the store: a start, its text in one piece, an end."""
        self.last = 0
        self.ended = False
        self.stopping: ChatcliError | bool = False
        self.failure: ChatcliError | None = None
        """Why the turn never began."""
        self.outcome: Finished | Failed | None = None
        self.turn: RunningTurn | None = None
        self.task: asyncio.Task[None] | None = None
        self.began_at = asyncio.get_running_loop().time()
        self.first_token_at: float | None = None
        self.ended_at = 0.0
        self._started: Started | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._merged = 1
        """Number of the last event that is kept as text only."""
        self._events: deque[Event] = deque()
        self._readers: set[Reader] = set()
        self._room = asyncio.Event()

    @property
    def started(self) -> Started | None:
        """The first event, once the turn has begun."""
        return self._started

    @property
    def answer(self) -> str:
        """The text so far."""
        return "".join(event.content for _, event in self.read(1) if isinstance(event, Token))

    def attach(self, *, after: int = 0) -> "Reader":
        """Return a reader of the events behind number `after`; leave it with `Reader.close`.

        Raises `NotKept` if that is no number here, or events so old are not kept one by one any more.
        """
        reader = Reader(self, self._place_of(after))
        self._readers.add(reader)
        return reader

    def is_end(self, number: int) -> bool:
        """Whether nothing comes behind the event with this number."""
        return self.ended and number == (TOLD_END if self.told else self.last)

    def _place_of(self, number: int) -> int:
        """Return how many events are behind a reader who has had the one with this number."""
        if self.told and TOLD_TEXT <= number < 0:
            return self.last + 1 + number
        counts_here = 0 <= number <= self.last and not (self.told and number > 1)
        if not counts_here or self.is_lost(number):
            raise NotKept(
                "there is no such place in the stream, or not any more",
                hint="read the turn from its beginning, without a number",
            )
        return number

    def detach(self, reader: "Reader") -> None:
        """Take a reader away; with the last one the turn is stopped, unless it was told to go on."""
        self._readers.discard(reader)
        self._room.set()
        if not self._readers and not self.keep_running and not self.ended:
            self.stop()

    def stop(self, reason: ChatcliError | None = None) -> None:
        """End the turn; what has arrived is kept. `reason` is told to its readers."""
        if self.ended or self.stopping:
            return
        self.stopping = reason or True
        self._room.set()
        if self.turn is not None:
            self.turn.stop()
        elif self.task is not None:
            self.task.cancel()

    async def publish(self, events: Sequence[Event]) -> None:
        """Take events in; wait while all readers are far behind."""
        self.take_in(events)
        while self._readers and not self.stopping and self.last - self._fastest() >= AHEAD_EVENTS:
            self._room.clear()
            await self._room.wait()

    def end(self, last: Finished | Failed | None, failure: ChatcliError | None = None) -> None:
        """Say how the turn ended, or why it never began."""
        if last is not None:
            self.outcome = last = self._explained(last)
            self.take_in([last])
        self.failure = failure
        self.ended_at = asyncio.get_running_loop().time()
        self.ended = True
        self._wake()

    def read(self, after: int) -> list[Numbered]:
        """Return all events behind number `after`."""
        found: list[Numbered] = []
        if after < 1 and self._started is not None:
            found.append((1, self._started))
        if after < self._merged and self._started is not None:
            thread_id = self._started.thread_id
            if self._reasoning:  # whoever has only this is told to begin again, as `_merged` is the text's
                found.append((self._merged - 1, Reasoning(thread_id, "".join(self._reasoning))))
            if self._text:
                found.append((self._merged, Token(thread_id, "".join(self._text))))
        wanted = self.last - max(after, self._merged)
        newest = [*islice(reversed(self._events), wanted)]
        found.extend(enumerate(reversed(newest), self.last - len(newest) + 1))
        return found

    def is_lost(self, after: int) -> bool:
        """Whether what a reader at `after` needs is not kept one by one any more."""
        return 1 < after < self._merged

    def _explained(self, last: Finished | Failed) -> Finished | Failed:
        if isinstance(last, Finished) and isinstance(self.stopping, ChatcliError):
            if last.state is not TurnState.INTERRUPTED:
                return last
            self.stopping.saved = last.saved
            return Failed(last.thread_id, last.turn_id, last.state, last.saved, self.stopping)
        return last

    def take_in(self, events: Sequence[Event]) -> None:
        """Number events and keep them."""
        self.last += len(events)
        if isinstance(first := events[0], Started):
            self._started, events = first, events[1:]
        if self.first_token_at is None and any(isinstance(event, Token) for event in events):
            self.first_token_at = asyncio.get_running_loop().time()
        self._events.extend(events)
        while len(self._events) > KEPT_EVENTS:
            self._merge(self._events.popleft())
        self._wake()

    def _merge(self, event: Event) -> None:
        if isinstance(event, Token):
            self._text.append(event.content)
        elif isinstance(event, Reasoning):
            self._reasoning.append(event.content)
        self._merged += 1

    def _fastest(self) -> int:
        return max(reader.after for reader in self._readers)

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()

    def made_room(self) -> None:
        """Let the turn go on if it waits for its readers."""
        self._room.set()


class Reader:
    """One who reads a turn, at a pace of its own."""

    def __init__(self, live: LiveTurn, after: int) -> None:
        self.live = live
        self.after = after
        """Number of the last event that was taken."""
        self._news = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether the turn ended well enough to have a last event, and that was taken."""
        live = self.live
        return live.ended and live.failure is None and live.last <= self.after

    def wake(self) -> None:
        """Say that there is something new."""
        self._news.set()

    async def take(self) -> list[Numbered]:
        """Wait for events, and return all there are; none at the end of the stream.

        Raises the error that kept the turn from beginning.
        """
        live = self.live
        while live.last <= self.after:
            if live.failure is not None:
                raise live.failure
            if live.ended:
                return []
            self._news.clear()
            await self._news.wait()
        if live.is_lost(self.after):
            raise NotKept("the reader was too slow", hint="read the turn from its beginning")
        found = live.read(self.after)
        if live.told:
            found = [(_told_number(event), event) for _, event in found]
        self.after = live.last
        live.made_room()
        return found

    def close(self) -> None:
        """Stop reading."""
        self.live.detach(self)


def _told_number(event: Event) -> int:
    if isinstance(event, Started):
        return 1
    return TOLD_TEXT if isinstance(event, Token) else TOLD_END
