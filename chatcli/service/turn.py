"""One running turn: the request first, a bounded queue to its reader, one commit at the end."""

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from chatcli.errors import ChatcliError, NotSaved, ThreadNotFound
from chatcli.events import Event, Failed, Finished, Reasoning, Started, Token
from chatcli.frozen import Frozen, replace
from chatcli.models import Message, ModelOptions, Role, Turn, TurnError, TurnState, state_of, utc_now
from chatcli.providers.answer import Answer
from chatcli.providers.base import Delta, Provider
from chatcli.providers.policy import ask
from chatcli.service.context import build_context, instruct
from chatcli.service.graph import GRAPH, TurnGraph, import_graph, tracing
from chatcli.service.inbox import Inbox, Sink
from chatcli.stores.base import LEASE_SECONDS, Begun, Lease, Outcome, ThreadStore, message_id

if TYPE_CHECKING:
    from chatcli.config import Settings
    from chatcli.providers.limiter import Limiter

logger = logging.getLogger(__name__)

GRAPH_SECONDS = 0.02
"""How long a run of the graph waits for the answer to be over before it begins to follow it."""

LIGHT_ENGINES = frozenset({"wire", "offline"})
"""Engines that import nothing that LangGraph does, too, so that it can be imported beside them.

Two threads that import packages with circular imports see each other's half-made modules."""


class TurnPlan(Frozen, kw_only=True):
    """A turn that is ready to run: everything but the running."""

    store: ThreadStore
    settings: "Settings"
    graph: TurnGraph
    provider: Provider
    limiter: "Limiter | None"
    options: ModelOptions
    begun: Begun


class RunningTurn:
    """A turn that runs from `start` until its last event, whether or not somebody reads.

    Read it with ``async for event in turn``; leave it with `aclose`, which stops it if it still
    runs and returns when its end is stored. `stop` keeps what has arrived, as ``interrupted``.
    """

    def __init__(self, plan: TurnPlan) -> None:
        self._plan = plan
        self._inbox = Inbox()
        self._sink: Sink | None = self._inbox.put
        """None as soon as nobody reads on."""
        self._fetching: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopped = False
        self._unsaved: Outcome | None = None

    @property
    def started(self) -> Started:
        """The first event of the turn."""
        begun = self._plan.begun
        return Started(begun.thread.id, begun.turn.id, begun.turn.model, begun.created, begun.thread.title)

    @property
    def is_replay(self) -> bool:
        """Whether the turn ended before, and its stored answer is given again."""
        return self._plan.begun.turn.finished_at is not None

    def start(self) -> None:
        """Begin to ask the model."""
        self._keeper = asyncio.create_task(self._keep())

    def stop(self) -> None:
        """End the answer here; the reader still gets the last event."""
        self._stopped = True
        if self._fetching is not None:
            self._fetching.cancel()

    async def save_again(self) -> Finished | Failed:
        """Try once more to store the end of a turn that is over; return its last event as it is now."""
        lease, outcome = self._plan.begun.lease, self._unsaved
        assert lease is not None  # noqa: S101 - else there is nothing to store, or it was stored
        assert outcome is not None  # noqa: S101
        try:
            turn = await self._plan.store.commit(lease, outcome)
        except ChatcliError as refusal:
            return self._last_event(outcome, _not_saved(refusal), saved=False)
        return self._finished(Outcome(turn.state, (), turn.finish_reason, turn.usage), saved=True)

    async def aclose(self) -> None:
        """Stop the turn if it runs, and wait until its end is stored, even if cancelled meanwhile."""
        self._sink = None
        self.stop()
        cancelled = False
        while self._keeper is not None and not self._keeper.done():
            try:
                await asyncio.shield(self._keeper)
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError

    def forward(self, sink: Sink) -> None:
        """Hand what the model says to `sink` from now on; the last event is still `end`'s."""
        self._sink = sink

    async def end(self) -> Finished | Failed:
        """Wait for the last event."""
        while True:
            for event in await self._inbox.take():
                if isinstance(event, Finished | Failed):
                    return event

    async def __aiter__(self) -> AsyncIterator[Event]:
        yield self.started
        while True:
            for event in await self._inbox.take():
                yield event
                if isinstance(event, Finished | Failed):
                    return

    async def _emit(self, deltas: Sequence[Delta]) -> None:
        if self._sink is None:
            return
        thread_id = self._plan.begun.thread.id
        events: list[Event] = []
        for delta in deltas:
            if delta.reasoning:
                events.append(Reasoning(thread_id, delta.reasoning))
            if delta.text:
                events.append(Token(thread_id, delta.text))
        if events:
            await self._sink(events)

    async def _keep(self) -> None:
        """Run the turn to its end, whatever that is, and store it; only this task commits failures."""
        if self.is_replay:
            await self._replay()
            return
        answer = Answer()
        lease = self._plan.begun.lease
        others = [] if lease is None else [asyncio.create_task(self._renew(lease))]
        is_light = self._plan.provider.engine in LIGHT_ENGINES
        if lease is not None and not is_light:
            import_graph()
        # The other engines are LangChain's models, which see to it themselves that they are traced.
        with nullcontext() if is_light else tracing(self._plan.settings):
            self._fetching = asyncio.create_task(answer.fetch(self._ask(), self._emit))
        if self._stopped:
            self._fetching.cancel()
        committing = None if lease is None else asyncio.create_task(self._run_graph(lease, answer))
        await asyncio.wait({self._fetching})
        if committing is not None:
            if not answer.finished:
                committing.cancel()
            await asyncio.wait({committing})
        for task in others:
            task.cancel()
        last = await self._conclude(committing, answer)
        self._forget_texts()
        self._inbox.close(last)

    def _forget_texts(self) -> None:
        """Let go of the prompt and its context, which may be large: a turn that is over may be kept."""
        begun = self._plan.begun
        begun = replace(begun, context=(), turn=replace(begun.turn, messages=()))
        self._plan = replace(self._plan, begun=begun)

    async def _replay(self) -> None:
        turn, thread_id = self._plan.begun.turn, self._plan.begun.thread.id
        if turn.answer and self._sink is not None:
            await self._sink([Token(thread_id, turn.answer)])
        self._forget_texts()
        self._inbox.close(
            Finished(thread_id, turn.id, turn.state, True, turn.finish_reason, turn.usage, replayed=True)
        )

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                await self._plan.store.renew(lease)
            except ChatcliError as error:  # the next one may succeed; the commit will tell
                logger.info("the lease was not renewed: %s", error.message)

    def _ask(self) -> AsyncGenerator[Sequence[Delta]]:
        plan, thread = self._plan, self._plan.begun.thread
        messages = build_context(
            instruct(thread.system, thread.language),
            (*plan.begun.context, *plan.begun.turn.messages),
            limit=plan.settings.max_conversation_length,
        )
        return ask(
            plan.provider, messages, plan.options, timeouts=plan.settings.timeouts, limiter=plan.limiter
        )

    async def _run_graph(self, lease: Lease, answer: Answer) -> Turn | None:
        """Let the graph take the answer and its saver commit it; return the turn as it is stored.

        LangGraph is imported meanwhile, on another thread, so that no token waits for that. Where
        it is there already, a provider that is fast is first: starting a run takes a millisecond.
        """
        if GRAPH not in sys.modules:
            await asyncio.to_thread(import_graph)
        elif self._fetching is not None:
            await asyncio.wait({self._fetching}, timeout=GRAPH_SECONDS)
        from chatcli.agent import TurnContext
        from chatcli.checkpoint import TURN_KEY, TurnHandle, to_langchain

        begun = self._plan.begun
        handle = TurnHandle(lease, begun.turn, begun.context)
        prompt = [message for message in begun.turn.messages if message.role is not Role.SYSTEM]
        with tracing(self._plan.settings):
            await self._plan.graph.compiled().ainvoke(
                {"messages": [to_langchain(message) for message in prompt]},
                {"configurable": {"thread_id": begun.thread.id, TURN_KEY: handle}},
                context=TurnContext(
                    answer, message_id(begun.turn.id, len(begun.turn.messages)), begun.turn.model
                ),
                durability="exit",
            )
        return handle.committed

    async def _conclude(
        self, committing: "asyncio.Task[Turn | None] | None", answer: Answer
    ) -> Finished | Failed:
        """Store how the turn ended, if its saver has not, and return its last event."""
        failure: BaseException | None = None
        if committing is not None and not committing.cancelled():
            failure = committing.exception()
            if failure is None and (turn := committing.result()) is not None:
                return self._finished(Outcome(turn.state, (), turn.finish_reason, turn.usage), saved=True)
        outcome = self._outcome(answer)
        lease = self._plan.begun.lease
        if lease is None:
            return self._last_event(outcome, answer.error, saved=False)
        if failure is not None and answer.finished:  # the answer is whole, but its saver could not store it
            return self._last_event(outcome, _not_saved(failure), saved=False)
        try:
            turn = await self._plan.store.commit(lease, outcome)
        except ChatcliError as refusal:
            return self._last_event(outcome, answer.error or _not_saved(refusal), saved=False)
        return self._last_event(
            Outcome(turn.state, (), turn.finish_reason, turn.usage), answer.error, saved=True
        )

    def _last_event(self, outcome: Outcome, error: ChatcliError | None, *, saved: bool) -> Finished | Failed:
        if not saved:
            self._unsaved = outcome
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

    def _outcome(self, answer: Answer) -> Outcome:
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


def _not_saved(refusal: BaseException) -> ChatcliError:
    if isinstance(refusal, ThreadNotFound):
        return NotSaved("the thread was deleted or cleared while the answer came; nothing was stored")
    if isinstance(refusal, NotSaved):
        return refusal
    if isinstance(refusal, ChatcliError):
        return NotSaved(f"the answer was not stored: {refusal.message}", hint=refusal.hint)
    logger.debug("the answer was not stored", exc_info=refusal)
    return NotSaved("the answer was not stored", hint="run with LOG_LEVEL=DEBUG to see why")
