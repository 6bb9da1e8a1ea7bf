"""Deadlines of an answer: what runs them down, and what they leave alone."""

import asyncio
import functools
import selectors
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import pytest

from chatcli.config import Timeouts
from chatcli.errors import ProviderTimeout
from chatcli.models import Message, ModelOptions, Usage
from chatcli.providers.base import Delta
from chatcli.providers.policy import ask

Step = Callable[[], Awaitable[object]]
LIMITS = Timeouts(first_token=10, idle=10, total=6000)


class Leap(selectors.DefaultSelector):
    """Lets no time pass but the time until the next timer, and that at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; where nothing is, the clock leaps."""
        events = super().select(timeout if timeout is None else 0)
        if timeout and not events:
            self.now += timeout
        return events


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock does not depend on how busy the machine is."""

    def __init__(self) -> None:
        self._leap = Leap()
        super().__init__(self._leap)

    def time(self) -> float:
        """Return the seconds that all leaps took."""
        return self._leap.now


def leaping(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a `LeapingLoop`."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


class SteppingProvider:
    """Does one step before each token, then ends well."""

    spec = "stepping:one"
    engine = "stepping"
    sends_finish_reason = True

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.closed = False

    async def stream(
        self, messages: Sequence[Message], options: ModelOptions
    ) -> AsyncGenerator[Sequence[Delta]]:
        """Yield a token after each step."""
        del messages, options
        try:
            for step in self.steps:
                await step()
                yield [Delta(text="x")]
            yield [Delta(finish_reason="stop")]
        finally:
            self.closed = True

    async def models(self) -> Sequence[str]:
        """Offer nothing."""
        return ()

    async def aclose(self) -> None:
        """Hold nothing."""


async def at_once() -> None:
    """Be ready."""


async def soon() -> None:
    """Wait for much less than the limits."""
    await asyncio.sleep(2)


async def never() -> None:
    """Wait for longer than anybody does."""
    await asyncio.Event().wait()


async def stubborn() -> None:
    """Do not let the wait be ended."""
    with suppress(asyncio.CancelledError):
        await never()


async def text_of(provider: SteppingProvider, timeouts: Timeouts = LIMITS) -> str:
    asked = ask(provider, [], ModelOptions(), timeouts=timeouts)
    return "".join([delta.text async for deltas in asked for delta in deltas])


@leaping
async def test_a_slow_answer_is_no_silence() -> None:
    """Tokens that each come in time may take longer than the limit together."""
    assert await text_of(SteppingProvider(*[soon] * 12)) == "x" * 12


@leaping
async def test_a_slow_reader_is_no_silence() -> None:
    """The provider's silence is measured while somebody waits for it, and only then."""
    text = ""
    async for deltas in ask(SteppingProvider(soon, soon, at_once, soon), [], ModelOptions(), timeouts=LIMITS):
        text += deltas[0].text
        await asyncio.sleep(15)
    assert text == "xxxx"


@pytest.mark.parametrize("end", [never, stubborn])
@pytest.mark.parametrize("before", [[], [at_once], [soon]])
@leaping
async def test_silence_ends_the_call(before: list[Step], end: Step) -> None:
    """The stream is closed, and the task that waited is not left cancelled."""
    provider = SteppingProvider(*before, end)
    timeouts = Timeouts(first_token=600 if before else 10, idle=10 if before else 600, total=6000)
    with pytest.raises(ProviderTimeout) as caught:
        async with asyncio.timeout(1000):
            await text_of(provider, timeouts)
    assert caught.value.__context__ is None
    assert ("IDLE" if before else "FIRST_TOKEN") in str(caught.value.hint)
    assert provider.closed
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


@leaping
async def test_signs_of_life_are_no_tokens() -> None:
    """Events without text do not put off the end."""

    class Pinging(SteppingProvider):
        async def stream(
            self, messages: Sequence[Message], options: ModelOptions
        ) -> AsyncGenerator[Sequence[Delta]]:
            async for deltas in super().stream(messages, options):
                yield deltas
            while True:
                await soon()
                yield [Delta(usage=Usage(1, 1))]

    async with asyncio.timeout(1000):
        with pytest.raises(ProviderTimeout):
            await text_of(Pinging(at_once))


@leaping
async def test_the_reader_may_be_cancelled_all_the_same() -> None:
    """A cancellation of somebody else's is none of the clock's, even at the same moment."""
    task = asyncio.create_task(text_of(SteppingProvider(at_once, never)))
    await asyncio.sleep(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def cancel_as_well() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            both.cancel()
            raise

    both = asyncio.create_task(text_of(SteppingProvider(cancel_as_well)))
    with pytest.raises(asyncio.CancelledError):
        await both


@leaping
async def test_an_outer_limit_counts() -> None:
    """Where the caller has a shorter limit, it is the caller's."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await text_of(SteppingProvider(never))


@leaping
async def test_no_timer_is_left() -> None:
    """After the end nothing rings."""
    loop = asyncio.get_running_loop()
    before = sum(not handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]
    assert await text_of(SteppingProvider(at_once)) == "x"
    assert sum(not handle.cancelled() for handle in loop._scheduled) == before  # type: ignore[attr-defined]
