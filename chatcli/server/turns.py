"""Turns that run in tasks of their own, each with any number of readers, and the registry of them."""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from chatcli.errors import ChatcliError, InvalidRequest, RateLimited, ServerStopping, ThreadBusy
from chatcli.server.live import LiveTurn
from chatcli.server.metrics import Metrics
from chatcli.server.problems import internal_error
from chatcli.service import ChatService, TurnRequest
from chatcli.service.requests import fingerprint

if TYPE_CHECKING:
    from chatcli.events import Failed, Finished

logger = logging.getLogger(__name__)

RECENT_TURNS = 64
RECENT_SECONDS = 60.0
"""How many ended turns can be attached to, and for how long."""
WAITING_TURNS = 16
"""Turns that may wait for one thread."""
RUNNING_TURNS = 1024

Place: TypeAlias = tuple[str, str, str]
"""Owner, thread and turn, or owner, thread and idempotency key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOrder:
    """A turn that a client asks for, and how the server is to treat it."""

    service: ChatService
    request: TurnRequest
    thread_id: str | None
    """The thread, if it is known before the turn has begun."""
    keep_running: bool = False
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
        self._keyed: dict[Place, tuple[LiveTurn, TurnRequest]] = {}
        self._recent: OrderedDict[Place, LiveTurn] = OrderedDict()
        self._waiting: Counter[tuple[str, str]] = Counter()
        self.draining = False
        self.trace: Trace = lambda _order, _live: nullcontext()

    def __len__(self) -> int:
        return len(self._live)

    async def begin(self, order: TurnOrder) -> LiveTurn:
        """Start a turn, or return the running one that has the same idempotency key.

        Raises:
            InvalidRequest: the running turn is another request's. Of those that ended the store knows.
            ServerStopping: no more turns are taken.
            ThreadBusy, RateLimited: too many wait already.
        """
        key = self._key(order)
        if key is not None:
            order.request.check()
            if (running := await self._join(key, order)) is not None:
                return running
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
            self._keyed[key] = live, order.request
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
        with self._waiting_for(order) as began, self.trace(order, live):
            try:
                async with order.service.turn(order.request) as turn:
                    began()
                    live.turn, live.told = turn, turn.is_replay
                    if not live.told:  # the numbers of a stream are those of the turn as it ran
                        place = (order.service.owner, turn.started.thread_id, turn.started.turn_id)
                        self._placed[place] = live
                    if live.stopping:
                        turn.stop()
                    live.take_in([turn.started])
                    turn.forward(live.publish)
                    last = await turn.end()
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

    @contextmanager
    def _waiting_for(self, order: TurnOrder) -> Iterator[Callable[[], None]]:
        """Count a turn as waiting for its thread until the yielded function is called, or it is given up."""
        at = None if order.thread_id is None else (order.service.owner, order.thread_id)
        waiting = [] if at is None else [at]
        self._waiting.update(waiting)

        def began() -> None:
            while waiting:
                place = waiting.pop()
                self._waiting[place] -= 1
                if not self._waiting[place]:
                    del self._waiting[place]

        try:
            yield began
        finally:
            began()

    def _forget(self, live: LiveTurn, key: Place | None, place: Place | None) -> None:
        self._live.discard(live)
        if key is not None and key in self._keyed and self._keyed[key][0] is live:
            del self._keyed[key]
        if place is not None:
            self._placed.pop(place, None)
            self._recent[place] = live
            if len(self._recent) > RECENT_TURNS:
                self._recent.popitem(last=False)
            asyncio.get_running_loop().call_later(RECENT_SECONDS, self._recent.pop, place, None)

    async def _join(self, key: Place, order: TurnOrder) -> LiveTurn | None:
        """Return the running turn of the same request, which goes on if any of its clients wants that.

        Where only the names of the model differ the store has to say, when it has ended, whether it is.
        """
        while (found := self._keyed.get(key)) is not None:
            live, request = found
            if live.stopping or live.ended:
                if live.task is not None:
                    await asyncio.wait({live.task})
                continue
            if fingerprint(request, "") != fingerprint(order.request, ""):
                raise InvalidRequest(
                    "the idempotency key was used for another request on this thread",
                    hint="use a new key for a new request",
                )
            if request.model != order.request.model:
                return None
            live.keep_running |= order.keep_running
            return live
        return None

    def _key(self, order: TurnOrder) -> Place | None:
        key = order.request.idempotency_key
        if key is None or order.thread_id is None:
            return None
        return (order.service.owner, order.thread_id, key)


def _gone() -> ChatcliError:
    return ServerStopping("the request was given up before the turn began")
