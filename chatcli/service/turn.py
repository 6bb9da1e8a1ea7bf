"""One running turn: the graph in a task of its own, a bounded queue to its reader, one commit at the end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from chatcli.errors import ChatcliError, NotSaved, ThreadBusy, ThreadNotFound
from chatcli.events import Event, Failed, Finished, Reasoning, Started, Token
from chatcli.models import Message, Role, Turn, TurnError, TurnState, state_of, utc_now
from chatcli.providers.base import Delta, ModelOptions, Provider
from chatcli.stores.base import LEASE_SECONDS, Begun, Lease, Outcome, ThreadStore, message_id

if TYPE_CHECKING:
    from langgraph.graph import MessagesState

    from chatcli.agent import Answer
    from chatcli.config import Settings
    from chatcli.providers.limiter import Limiter

logger = logging.getLogger(__name__)

QUEUE_EVENTS = 256
"""Events a reader may be behind before the reading from the provider stops."""


FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.25
"""Seconds between two looks at a thread that another process is using."""

T = TypeVar("T")


class Waiting:
    """A bounded wait for a thread to be free: first in this process, then in the store."""

    def __init__(self, seconds: float, on_wait: Callable[[], None] | None) -> None:
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._on_wait = on_wait

    @asynccontextmanager
    async def for_lock(self, lock: asyncio.Lock) -> AsyncIterator[None]:
        """Hold `lock` for the block, or raise `ThreadBusy` at the deadline."""
        if lock.locked():
            self._say()
        try:
            async with asyncio.timeout_at(self._deadline):
                await lock.acquire()
        except TimeoutError:
            raise ThreadBusy("another turn is running on this thread", hint="try again later") from None
        try:
            yield
        finally:
            lock.release()

    async def for_thread(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` does as soon as it finds the thread free; the last `ThreadBusy` is raised."""
        pause = FIRST_PAUSE
        while True:
            try:
                return await attempt()
            except ThreadBusy:
                remaining = self._deadline - asyncio.get_running_loop().time()
                if remaining <= 0:
                    raise
            self._say()
            await asyncio.sleep(min(pause, remaining))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _say(self) -> None:
        if self._on_wait is not None:
            self._on_wait()
            self._on_wait = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPlan:
    """A turn that is ready to run: everything but the running."""

    store: ThreadStore
    settings: "Settings"
    owner: str
    provider: Provider
    limiter: "Limiter | None"
    options: ModelOptions
    begun: Begun
    history: Sequence[Message] = ()
    """Context of a turn that is not stored; one that is gets it from its saver."""


class RunningTurn:
    """A turn that runs from `start` until its last event, whether or not somebody reads.

    Read it with ``async for event in turn``; leave it with `aclose`, which stops it if it still
    runs and returns when its end is stored. `stop` keeps what has arrived, as ``interrupted``.
    """

    def __init__(self, plan: TurnPlan) -> None:
        self._plan = plan
        self._events: asyncio.Queue[Event] = asyncio.Queue(QUEUE_EVENTS)
        self._asking: asyncio.Task[Turn | None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopped = False
        self._read_on = True
        self._ended = False

    @property
    def started(self) -> Started:
        """The first event of the turn."""
        begun = self._plan.begun
        return Started(begun.thread.id, begun.turn.id, begun.turn.model, begun.created, begun.thread.title)

    def start(self) -> None:
        """Begin to ask the model."""
        self._keeper = asyncio.create_task(self._keep())

    def stop(self) -> None:
        """End the answer here; the reader still gets the last event."""
        self._stopped = True
        if self._asking is not None:
            self._asking.cancel()

    async def aclose(self) -> None:
        """Stop the turn if it runs, and wait until its end is stored, even if cancelled meanwhile."""
        self._read_on = False
        while not self._events.empty():
            self._events.get_nowait()
        self.stop()
        cancelled = False
        while self._keeper is not None and not self._keeper.done():
            try:
                await asyncio.shield(self._keeper)
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError

    async def __aiter__(self) -> AsyncIterator[Event]:
        yield self.started
        while not self._ended:
            event = await self._events.get()
            self._ended = isinstance(event, Finished | Failed)
            yield event

    async def _send(self, event: Event) -> None:
        if self._read_on:
            await self._events.put(event)

    async def _emit(self, delta: Delta) -> None:
        thread_id = self._plan.begun.thread.id
        if delta.reasoning:
            await self._send(Reasoning(thread_id, delta.reasoning))
        if delta.text:
            await self._send(Token(thread_id, delta.text))

    async def _keep(self) -> None:
        """Run the turn to its end, whatever that is, and store it; only this task commits failures."""
        if self._plan.begun.turn.finished_at is not None:
            await self._replay()
            return
        from chatcli.agent import Answer

        answer = Answer()
        lease = self._plan.begun.lease
        renewal = None if lease is None else asyncio.create_task(self._renew(lease))
        self._asking = asyncio.create_task(self._ask(answer))
        if self._stopped:
            self._asking.cancel()
        await asyncio.wait({self._asking})
        if renewal is not None:
            renewal.cancel()
        await self._send(await self._conclude(self._asking, answer))

    async def _replay(self) -> None:
        turn, thread_id = self._plan.begun.turn, self._plan.begun.thread.id
        if turn.answer:
            await self._send(Token(thread_id, turn.answer))
        await self._send(
            Finished(thread_id, turn.id, turn.state, True, turn.finish_reason, turn.usage, replayed=True)
        )

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                await self._plan.store.renew(lease)
            except ChatcliError as error:  # the next one may succeed; the commit will tell
                logger.info("the lease was not renewed: %s", error.message)

    async def _ask(self, answer: "Answer") -> Turn | None:
        """Run the graph; return the turn as its saver committed it, None where nothing is stored."""
        from chatcli.agent import TurnContext, build_graph, instruct
        from chatcli.checkpoint import TURN_KEY, ThreadSaver, TurnHandle, to_langchain

        plan, begun = self._plan, self._plan.begun
        context = TurnContext(
            provider=plan.provider,
            options=plan.options,
            timeouts=plan.settings.timeouts,
            limiter=plan.limiter,
            instructions=instruct(begun.thread.system, begun.thread.language),
            max_messages=plan.settings.max_conversation_length,
            answer_id=message_id(begun.turn.id, len(begun.turn.messages)),
            answer=answer,
            emit=self._emit,
        )
        prompt = [message for message in begun.turn.messages if message.role is not Role.SYSTEM]
        state: MessagesState = {"messages": [to_langchain(message) for message in (*plan.history, *prompt)]}
        if begun.lease is None:
            await build_graph(None).ainvoke(state, context=context)
            return None
        handle = TurnHandle(begun.lease, begun.turn, context.max_messages)
        await build_graph(ThreadSaver(plan.store, owner=plan.owner)).ainvoke(
            state,
            {"configurable": {"thread_id": begun.thread.id, TURN_KEY: handle}},
            context=context,
            durability="exit",
        )
        return handle.committed

    async def _conclude(self, asking: "asyncio.Task[Turn | None]", answer: "Answer") -> Event:
        """Store how the turn ended, if its saver has not, and return its last event."""
        failure = None if asking.cancelled() else asking.exception()
        if not asking.cancelled() and failure is None and (turn := asking.result()) is not None:
            return self._finished(Outcome(turn.state, (), turn.finish_reason, turn.usage), saved=True)
        if failure is not None and answer.error is None and not answer.finished:
            logger.debug("the turn failed", exc_info=failure)
            answer.error = _internal()
        outcome = self._outcome(answer)
        lease = self._plan.begun.lease
        if lease is None:
            return self._last_event(outcome, answer.error, saved=False)
        if failure is not None and answer.error is None:  # the answer is whole, its saver could not store it
            return self._last_event(outcome, _not_saved(failure), saved=False)
        try:
            turn = await self._plan.store.commit(lease, outcome)
        except ChatcliError as refusal:
            return self._last_event(outcome, answer.error or _not_saved(refusal), saved=False)
        return self._last_event(
            Outcome(turn.state, (), turn.finish_reason, turn.usage), answer.error, saved=True
        )

    def _last_event(self, outcome: Outcome, error: ChatcliError | None, *, saved: bool) -> Event:
        if error is None:
            return self._finished(outcome, saved=saved)
        begun = self._plan.begun
        error.saved = saved
        return Failed(begun.thread.id, begun.turn.id, outcome.state, saved, error)

    def _finished(self, outcome: Outcome, *, saved: bool) -> Finished:
        begun = self._plan.begun
        return Finished(
            begun.thread.id, begun.turn.id, outcome.state, saved, outcome.finish_reason, outcome.usage
        )

    def _outcome(self, answer: "Answer") -> Outcome:
        """Return the end that the answer speaks of: with text it is never ``failed``."""
        if answer.finished:
            state = state_of(answer.finish_reason)
        elif answer.error is None:
            state = TurnState.INTERRUPTED
        else:
            state = TurnState.TRUNCATED if answer.pieces else TurnState.FAILED
        turn = self._plan.begun.turn
        text = answer.text
        messages = (
            (Message(message_id(turn.id, len(turn.messages)), Role.AI, text, utc_now()),) if text else ()
        )
        error = None if answer.error is None else TurnError(answer.error.name, answer.error.message)
        return Outcome(state, messages, answer.finish_reason, answer.usage, error)


def _internal() -> ChatcliError:
    return ChatcliError("the turn failed unexpectedly", hint="run with LOG_LEVEL=DEBUG to see why")


def _not_saved(refusal: BaseException) -> ChatcliError:
    if isinstance(refusal, ThreadNotFound):
        return NotSaved("the thread was deleted or cleared while the answer came; nothing was stored")
    if isinstance(refusal, NotSaved):
        return refusal
    if isinstance(refusal, ChatcliError):
        return NotSaved(f"the answer was not stored: {refusal.message}", hint=refusal.hint)
    logger.debug("the answer was not stored", exc_info=refusal)
    return NotSaved("the answer was not stored", hint="run with LOG_LEVEL=DEBUG to see why")
