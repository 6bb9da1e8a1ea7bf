"""How a provider is asked: the outbound limit, deadlines, retries, and what counts as an answer."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from chatcli.errors import (
    ContentFiltered,
    ProviderIncomplete,
    ProviderProtocol,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
)
from chatcli.models import Message, ModelOptions, Usage
from chatcli.providers.base import Delta, Provider
from chatcli.providers.table import OFFLINE
from chatcli.text import SurrogateJoiner

if TYPE_CHECKING:
    from chatcli.config import Timeouts
    from chatcli.providers.limiter import Limiter

RETRIES = 2
ANSWER_LIMIT = 8 * 1024 * 1024
"""Bytes of an answer, as UTF-8; reasoning has as many again."""

_BACKOFF = 0.25
"""Seconds before the first retry where the provider names none; each next one waits twice that."""
_LONG_WAIT = 2.0
"""Seconds from which on a wait is told about."""


async def ask(
    provider: Provider,
    messages: Sequence[Message],
    options: ModelOptions,
    *,
    timeouts: "Timeouts",
    limiter: "Limiter | None" = None,
) -> AsyncGenerator[Sequence[Delta]]:
    """Ask and yield the answer, fit to be stored; the last delta has finish reason and usage.

    While nothing was yielded, a provider that is busy, broken or out of reach is asked up to
    `RETRIES` times more, after the time it asks for itself or a short pause. `timeouts.total`
    spans all of it; a wait that would not fit is refused at once. A finish reason such as
    ``length`` is not an error: the text is there.

    Raises:
        RateLimited: our own limit; ProviderTimeout: a deadline passed; ProviderIncomplete: the
        stream ended without a finish reason; ProviderProtocol: no text, or more than
        `ANSWER_LIMIT`; ContentFiltered: a filter withheld all text; and what `Provider.stream` does.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeouts.total
    for attempt in range(RETRIES + 1):
        if limiter is not None and provider.engine != OFFLINE:
            await limiter.wait(at_most=deadline - loop.time())
        shown = False
        failure: ProviderRateLimited | ProviderUnavailable
        try:
            async with aclosing(_ask_once(provider, messages, options, timeouts, deadline)) as deltas:
                async for came in deltas:
                    shown = True
                    yield came
        except (ProviderRateLimited, ProviderUnavailable) as error:
            if shown:
                raise
            failure = error
        else:
            return
        pause = _pause(failure.retry_after, attempt)
        if attempt == RETRIES or loop.time() + pause >= deadline:
            raise failure
        _tell(failure, pause)
        await asyncio.sleep(pause)


async def _ask_once(
    provider: Provider,
    messages: Sequence[Message],
    options: ModelOptions,
    timeouts: "Timeouts",
    deadline: float,
) -> AsyncGenerator[Sequence[Delta]]:
    clock = _Clock(provider.spec, timeouts, deadline)
    text, reasoning = _Intake(), _Intake()
    finish_reason: str | None = None
    usage: Usage | None = None
    stream = provider.stream(messages, options)
    try:
        while (deltas := await clock.next_of(stream)) is not None:
            came = []
            for delta in deltas:
                finish_reason = delta.finish_reason or finish_reason
                usage = delta.usage or usage
                said, thought = text.take(delta.text), reasoning.take(delta.reasoning)
                if said or thought:
                    came.append(Delta(said, thought))
            if came:
                clock.token_came()
                yield came
            if text.full or reasoning.full:
                raise ProviderProtocol(
                    f"the answer is longer than {ANSWER_LIMIT >> 20} MiB", hint="ask for less, or try again"
                )
    finally:
        clock.stop()
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
    if rest := text.finish():
        yield [Delta(text=rest)]
    _check_end(provider, finish_reason, has_text=text.size > 0)
    yield [Delta(finish_reason=finish_reason, usage=usage)]


class _Clock:
    """Waits for the next delta as long as first token, idle time and the whole call allow.

    One timer serves the whole call, and is set anew only when it rings: most deltas are there
    already, and a timer for each would cost more than all else that happens to it.
    """

    def __init__(self, spec: str, timeouts: "Timeouts", deadline: float) -> None:
        import asyncio

        self._spec = spec
        self._timeouts = timeouts
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._current_task = asyncio.current_task
        self._cancelled = asyncio.CancelledError
        self._limit = self._loop.time() + timeouts.first_token
        self._started = False
        self._restart = False
        self._waiting: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rang = False

    def token_came(self) -> None:
        """Begin to measure idle time anew, from when the next delta is waited for."""
        self._started = self._restart = True

    async def next_of(self, stream: AsyncIterator[Sequence[Delta]]) -> Sequence[Delta] | None:
        """Return the next deltas, None at the end."""
        if self._restart:
            # Not when it came: a reader who takes his time is not the provider's silence.
            self._restart = False
            self._limit = self._loop.time() + self._timeouts.idle
            if self._timer is not None and self._timer.when() > self._limit:
                self.stop()
        if self._timer is None:
            self._set_timer()
        task = self._waiting = self._current_task()
        assert task is not None  # noqa: S101 - for the type checker
        requests = task.cancelling()
        try:
            deltas = await anext(stream, None)
            if not self._rang:
                return deltas
        except self._cancelled:
            # Somebody else may have cancelled the task at the same time, and that counts more.
            if not self._rang or task.cancelling() > requests + 1:
                raise
        finally:
            self._waiting = None
            if self._rang:
                task.uncancel()
        raise self._expired()

    def stop(self) -> None:
        """Measure nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        self._timer = self._loop.call_at(min(self._limit, self._deadline), self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._waiting is None:
            return
        if self._loop.time() < min(self._limit, self._deadline):
            self._set_timer()
        else:
            self._rang = True
            self._waiting.cancel()

    def _expired(self) -> ProviderTimeout:
        if self._deadline <= self._limit:
            what = f"{self._spec} did not finish its answer within {self._timeouts.total:g} seconds"
            return ProviderTimeout(what, hint="ask for less, or raise CHATCLI_TIMEOUT_TOTAL")
        if self._started:
            what = f"{self._spec} fell silent for {self._timeouts.idle:g} seconds"
            return ProviderTimeout(what, hint="try again, or raise CHATCLI_TIMEOUT_IDLE")
        what = f"{self._spec} did not begin to answer within {self._timeouts.first_token:g} seconds"
        return ProviderTimeout(what, hint="try again, or raise CHATCLI_TIMEOUT_FIRST_TOKEN")


class _Intake:
    """Text on its way in: storable, and no more than `ANSWER_LIMIT`."""

    def __init__(self) -> None:
        self._joiner = SurrogateJoiner()
        self.size = 0
        """Bytes so far, as UTF-8."""
        self.full = False

    def take(self, piece: str) -> str:
        """Return what of `piece` is certain and fits."""
        return self._fit(self._joiner.feed(piece)) if piece else ""

    def finish(self) -> str:
        """Return what was held back."""
        return self._fit(self._joiner.finish())

    def _fit(self, piece: str) -> str:
        size = len(piece) if piece.isascii() else len(piece.encode())
        room = ANSWER_LIMIT - self.size
        if size > room:
            self.full = True
            piece, size = piece.encode()[:room].decode(errors="ignore"), room
        self.size += size
        return piece


def _check_end(provider: Provider, finish_reason: str | None, *, has_text: bool) -> None:
    if has_text:
        if finish_reason is None and provider.sends_finish_reason:
            raise ProviderIncomplete(
                f"the answer of {provider.spec} broke off: its stream ended without a finish reason",
                hint="try again; for a server that never sends one, set sends_finish_reason = false "
                "in its section of config.toml",
            )
    elif finish_reason == "content_filter":
        raise ContentFiltered(
            f"the filter of {provider.spec} withheld the answer", hint="put it in other words"
        )
    elif finish_reason == "length":
        raise ProviderIncomplete(
            f"{provider.spec} used up its tokens before it wrote anything",
            hint="allow more with --max-tokens",
        )
    else:
        raise ProviderProtocol(f"{provider.spec} sent no answer", hint="check the base URL, or try again")


def _pause(asked_for: float | None, attempt: int) -> float:
    if asked_for is not None:
        return asked_for
    import random

    # Half of it is chance, so that clients that failed together do not come back together.
    return _BACKOFF * 2.0**attempt * random.uniform(0.5, 1)  # noqa: S311 - nothing depends on it


def _tell(failure: ProviderRateLimited | ProviderUnavailable, pause: float) -> None:
    if pause >= _LONG_WAIT:
        import logging

        logging.getLogger(__name__).warning("%s; asking again in %.0f s", failure.message, pause)
