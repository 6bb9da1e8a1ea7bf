"""Deadlines of an answer: what runs them down, and what they leave alone."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress

import pytest

from chatcli.config import Timeouts
from chatcli.errors import ProviderTimeout
from chatcli.models import Message, Usage
from chatcli.providers.base import Delta, ModelOptions
from chatcli.providers.policy import ask

Step = Callable[[], Awaitable[object]]
QUICK = Timeouts(first_token=0.1, idle=0.1, total=60)


class SteppingProvider:
    """Does one step before each token, then ends well."""

    spec = "stepping:one"
    engine = "stepping"
    sends_finish_reason = True

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.closed = False

    async def stream(self, messages: Sequence[Message], options: ModelOptions) -> AsyncGenerator[Delta]:
        """Yield a token after each step."""
        del messages, options
        try:
            for step in self.steps:
                await step()
                yield Delta(text="x")
            yield Delta(finish_reason="stop")
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
    await asyncio.sleep(0.02)


async def never() -> None:
    """Wait for longer than anybody does."""
    await asyncio.Event().wait()


async def stubborn() -> None:
    """Do not let the wait be ended."""
    with suppress(asyncio.CancelledError):
        await never()


async def text_of(provider: SteppingProvider, timeouts: Timeouts = QUICK) -> str:
    return "".join([delta.text async for delta in ask(provider, [], ModelOptions(), timeouts=timeouts)])


async def test_a_slow_answer_is_no_silence() -> None:
    """Tokens that each come in time may take longer than the limit together."""
    assert await text_of(SteppingProvider(*[soon] * 12)) == "x" * 12


async def test_a_slow_reader_is_no_silence() -> None:
    """The provider's silence is measured while somebody waits for it, and only then."""
    text = ""
    async for delta in ask(SteppingProvider(soon, soon, at_once, soon), [], ModelOptions(), timeouts=QUICK):
        text += delta.text
        await asyncio.sleep(0.15)
    assert text == "xxxx"


@pytest.mark.parametrize("end", [never, stubborn])
@pytest.mark.parametrize("before", [[], [at_once], [soon]])
async def test_silence_ends_the_call(before: list[Step], end: Step) -> None:
    """The stream is closed, and the task that waited is not left cancelled."""
    provider = SteppingProvider(*before, end)
    timeouts = Timeouts(first_token=60 if before else 0.1, idle=0.1 if before else 60, total=60)
    with pytest.raises(ProviderTimeout) as caught:
        async with asyncio.timeout(10):
            await text_of(provider, timeouts)
    assert caught.value.__context__ is None
    assert ("IDLE" if before else "FIRST_TOKEN") in str(caught.value.hint)
    assert provider.closed
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_signs_of_life_are_no_tokens() -> None:
    """Events without text do not put off the end."""

    class Pinging(SteppingProvider):
        async def stream(self, messages: Sequence[Message], options: ModelOptions) -> AsyncGenerator[Delta]:
            async for delta in super().stream(messages, options):
                yield delta
            while True:
                await soon()
                yield Delta(usage=Usage(1, 1))

    async with asyncio.timeout(10):
        with pytest.raises(ProviderTimeout):
            await text_of(Pinging(at_once))


async def test_the_reader_may_be_cancelled_all_the_same() -> None:
    """A cancellation of somebody else's is none of the clock's, even at the same moment."""
    task = asyncio.create_task(text_of(SteppingProvider(at_once, never)))
    await asyncio.sleep(0.02)
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


async def test_an_outer_limit_counts() -> None:
    """Where the caller has a shorter limit, it is the caller's."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await text_of(SteppingProvider(never))


async def test_no_timer_is_left() -> None:
    """After the end nothing rings."""
    loop = asyncio.get_running_loop()
    before = sum(not handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]
    assert await text_of(SteppingProvider(at_once)) == "x"
    assert sum(not handle.cancelled() for handle in loop._scheduled) == before  # type: ignore[attr-defined]
