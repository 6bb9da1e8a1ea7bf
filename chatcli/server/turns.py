"""Turns that run in tasks of their own, each with any number of readers, and the registry of them."""

import asyncio
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from chatcli.errors import ChatcliError, InvalidRequest, RateLimited, ServerStopping, ThreadBusy
from chatcli.events import Event, Failed, Finished, Reasoning, Started, Token
from chatcli.models import TurnState
from chatcli.server.metrics import Metrics
from chatcli.server.problems import NotKept, internal_error
from chatcli.service import ChatService, TurnRequest

if TYPE_CHECKING:
    from chatcli.service.turn import RunningTurn

logger = logging.getLogger(__name__)

KEPT_EVENTS = 4096
"""Events of a turn that are kept one by one; older ones are kept as one text."""
AHEAD_EVENTS = 256
"""How far a turn may be ahead of the fastest of its readers."""
RECENT_TURNS = 64
RECENT_SECONDS = 60.0
"""How many ended turns can be attached to, and for how long."""
WAITING_TURNS = 16
"""Turns that may wait for one thread."""
RUNNING_TURNS = 1024
KNOWN_KEYS = 4096

Numbered: TypeAlias = tuple[int, Event]
Place: TypeAlias = tuple[str, str, str]
"""Owner, thread and turn, or owner, thread and idempotency key."""


class LiveTurn:
    """One turn and what it has emitted so far; events are numbered from 1 in the order of emission."""

    def __init__(self, *, keep_running: bool) -> None:
        self.keep_running = keep_running
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

    def attach(self, *, after: int = 0) -> "Reader":
        """Return a reader of the events behind number `after`; leave it with `Reader.close`.

        Raises `NotKept` if events so old are not kept one by one any more.
        """
        if after > self.last or 1 < after < self._merged:
            raise NotKept(
                "there is no such place in the stream, or not any more",
                hint="read the turn from its beginning, or the history of the thread",
            )
        reader = Reader(self, after)
        self._readers.add(reader)
        return reader

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

    async def publish(self, event: Event) -> None:
        """Take an event in; wait while all readers are far behind."""
        self._append(event)
        while self._readers and not self.stopping and self.last - self._fastest() >= AHEAD_EVENTS:
            self._room.clear()
            await self._room.wait()

    def end(self, last: Finished | Failed | None, failure: ChatcliError | None = None) -> None:
        """Say how the turn ended, or why it never began."""
        if last is not None:
            self.outcome = last = self._explained(last)
            self._append(last)
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
            for event, pieces in ((Reasoning, self._reasoning), (Token, self._text)):
                if pieces:
                    found.append((self._merged, event(self._started.thread_id, "".join(pieces))))
        skip = max(0, after - self._merged)
        number = self._merged + skip
        for event in _from(self._events, skip):
            number += 1
            found.append((number, event))
        return found

    def is_lost(self, after: int) -> bool:
        """Whether a reader at `after` was so slow that what it needs is not kept one by one any more."""
        return 1 < after < self._merged

    def _explained(self, last: Finished | Failed) -> Finished | Failed:
        if isinstance(last, Finished) and isinstance(self.stopping, ChatcliError):
            if last.state is not TurnState.INTERRUPTED:
                return last
            self.stopping.saved = last.saved
            return Failed(last.thread_id, last.turn_id, last.state, last.saved, self.stopping)
        return last

    def _append(self, event: Event) -> None:
        self.last += 1
        if isinstance(event, Started):
            self._started = event
        else:
            if self.first_token_at is None and isinstance(event, Token):
                self.first_token_at = asyncio.get_running_loop().time()
            self._events.append(event)
            if len(self._events) > KEPT_EVENTS:
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
        self.after = live.last
        live.made_room()
        return found

    def close(self) -> None:
        """Stop reading."""
        self.live.detach(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOrder:
    """A turn that a client asks for, and how the server is to treat it."""

    service: ChatService
    request: TurnRequest
    thread_id: str | None
    keep_running: bool = False
    digest: bytes = b""
    """Of the request's body, where there is an idempotency key."""
    tags: dict[str, object] = field(default_factory=dict)
    """What traces are told about the turn."""


Trace: TypeAlias = Callable[[TurnOrder, LiveTurn], AbstractContextManager[object]]
"""Makes what a turn runs in."""


class Turns:
    """All turns of this process that run, and those that have just ended."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._live: set[LiveTurn] = set()
        self._placed: dict[Place, LiveTurn] = {}
        self._keyed: dict[Place, LiveTurn] = {}
        self._recent: OrderedDict[Place, LiveTurn] = OrderedDict()
        self._digests: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._waiting: Counter[tuple[str, str]] = Counter()
        self.draining = False
        self.trace: Trace = lambda _order, _live: nullcontext()

    def __len__(self) -> int:
        return len(self._live)

    async def begin(self, order: TurnOrder) -> LiveTurn:
        """Start a turn, or return the running one that has the same idempotency key.

        Raises:
            InvalidRequest: the key came with another body.
            ServerStopping: no more turns are taken.
            ThreadBusy, RateLimited: too many wait already.
        """
        key = self._key(order)
        if key is not None:
            self._check_digest(key, order)
            while (live := self._keyed.get(key)) is not None:
                if not live.stopping and not live.ended:
                    return live
                await asyncio.wait({live.task} if live.task else ())
        if self.draining:
            raise ServerStopping("the server is about to stop", hint="try again", retry_after=1.0)
        if len(self._live) >= RUNNING_TURNS:
            raise RateLimited("the server is busy", hint="try again later", retry_after=1.0)
        waits_at = None if order.thread_id is None else (order.service.owner, order.thread_id)
        if waits_at is not None and self._waiting[waits_at] >= WAITING_TURNS:
            raise ThreadBusy("too many turns wait for this thread", hint="try again later", retry_after=1.0)
        live = LiveTurn(keep_running=order.keep_running)
        self._live.add(live)
        if key is not None:
            self._keyed[key] = live
        live.task = asyncio.create_task(self._run(live, order, key))
        return live

    def find(self, owner: str, thread_id: str, turn_id: str) -> LiveTurn | None:
        """Return a turn of this process that runs, or has just ended."""
        place = (owner, thread_id, turn_id)
        return self._placed.get(place) or self._recent.get(place)

    def forget(self, owner: str, thread_id: str) -> None:
        """Drop what is kept of the ended turns of a thread: its text is to be gone."""
        for place in [place for place in self._recent if place[:2] == (owner, thread_id)]:
            del self._recent[place]

    async def stop(self) -> None:
        """End all turns, and return when their ends are stored."""
        self.draining = True
        reason = "the server stopped before the answer was complete"
        tasks = {live.task for live in self._live if live.task is not None}
        for live in list(self._live):
            live.stop(ServerStopping(reason, hint="what has arrived is kept; ask again"))
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, live: LiveTurn, order: TurnOrder, key: Place | None) -> None:
        last: Finished | Failed | None = None
        failure: ChatcliError | None = None
        place: Place | None = None
        with self._waits(order) as began, self.trace(order, live):
            try:
                async with order.service.turn(order.request) as turn:
                    began()
                    place = (order.service.owner, turn.started.thread_id, turn.started.turn_id)
                    self._placed[place] = live
                    live.turn = turn
                    if live.stopping:
                        turn.stop()
                    async for event in turn:
                        if isinstance(event, Finished | Failed):
                            last = event
                        else:
                            await live.publish(event)
                # Only now is the thread free: who has read the last event may go on at once.
            except ChatcliError as error:
                failure = error
            except asyncio.CancelledError:
                failure = live.stopping if isinstance(live.stopping, ChatcliError) else _gone()
            except Exception:
                logger.exception("a turn broke")
                failure = internal_error()
        self._forget(live, key, place)
        live.end(last, failure)
        self._metrics.count_turn(live)

    def _waits(self, order: TurnOrder) -> "_Waits":
        at = None if order.thread_id is None else (order.service.owner, order.thread_id)
        return _Waits(self._waiting, at)

    def _forget(self, live: LiveTurn, key: Place | None, place: Place | None) -> None:
        self._live.discard(live)
        if key is not None and self._keyed.get(key) is live:
            del self._keyed[key]
        if place is not None:
            self._placed.pop(place, None)
            self._recent[place] = live
            if len(self._recent) > RECENT_TURNS:
                self._recent.popitem(last=False)
            asyncio.get_running_loop().call_later(RECENT_SECONDS, self._recent.pop, place, None)

    def _key(self, order: TurnOrder) -> Place | None:
        key = order.request.idempotency_key
        if key is None or order.request.thread_id is None:
            return None
        return (order.service.owner, order.request.thread_id, key)

    def _check_digest(self, key: Place, order: TurnOrder) -> None:
        """Refuse a key that came lately with another body, on whatever thread; the store knows older ones."""
        owner, _, name = key
        known = self._digests.setdefault((owner, name), order.digest)
        self._digests.move_to_end((owner, name))
        if len(self._digests) > KNOWN_KEYS:
            self._digests.popitem(last=False)
        if known != order.digest:
            raise InvalidRequest(
                "the idempotency key was used for another request", hint="use a new key for a new request"
            )


class _Waits:
    """Counts a turn as waiting for its thread until it has begun."""

    def __init__(self, waiting: "Counter[tuple[str, str]]", at: tuple[str, str] | None) -> None:
        self._waiting = waiting
        self._at = at

    def __enter__(self) -> "_Waits":
        if self._at is not None:
            self._waiting[self._at] += 1
        return self

    def __call__(self) -> None:
        if self._at is not None:
            self._waiting[self._at] -= 1
            if not self._waiting[self._at]:
                del self._waiting[self._at]
            self._at = None

    def __exit__(self, *_: object) -> None:
        self()


def _gone() -> ChatcliError:
    return ServerStopping("the request was given up before the turn began")


def _from(events: "deque[Event]", skip: int) -> Iterator[Event]:
    return (events[i] for i in range(skip, len(events)))
