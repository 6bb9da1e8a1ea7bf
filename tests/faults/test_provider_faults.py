"""Every fault of a provider, over every engine: what comes out is one of our errors, and nothing leaks.

The provider is a process of its own that speaks real HTTP; `ask` stands between, as in the program.
"""

import asyncio
import os
import socket
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from chatcli.config import Settings, load_settings
from chatcli.errors import (
    ChatcliError,
    ContentFiltered,
    ContextTooLong,
    InvalidRequest,
    ModelNotFound,
    ProviderAuth,
    ProviderIncomplete,
    ProviderProtocol,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
)
from chatcli.models import Message, ModelOptions, Part, Role, Usage, utc_now
from chatcli.providers import ModelSpec, open_provider
from chatcli.providers.base import Delta
from chatcli.providers.policy import ANSWER_LIMIT, ask
from tests.fake_provider import FakeProvider
from tests.fake_provider.script import DEFAULT_ANSWER, ESCAPES

CANARY = "sk-canary-7f3a9c"
SHORT = "0.4"
"""Seconds of the limit that a test is about."""
PATIENCE = 30
"""Seconds after which a call counts as hanging."""


@dataclass(frozen=True)
class Engine:
    """One engine, and a provider of the table that uses it."""

    name: str
    provider: str
    choice: str = "langchain"
    """What `engine` in the provider's section says."""

    @property
    def key_variable(self) -> str:
        """The variable of its key."""
        return f"{self.provider.upper()}_API_KEY"

    @property
    def url_variable(self) -> str:
        """The variable of its base URL."""
        return f"{self.provider.upper()}_BASE_URL"


ENGINES = (
    Engine("langchain-openai", "openai"),
    Engine("langchain-groq", "groq"),
    *(Engine("wire", provider, choice="wire") for provider in ("openai", "groq")),
)


@dataclass
class Outcome:
    """What a caller of `ask` got."""

    engine: str
    """What carried the request."""
    deltas: list[Delta] = field(default_factory=list)
    error: ChatcliError | None = None

    @property
    def text(self) -> str:
        """All text that arrived."""
        return "".join(delta.text for delta in self.deltas)

    @property
    def finish_reason(self) -> str | None:
        """That of the last delta."""
        return self.deltas[-1].finish_reason if self.deltas else None


Call = Callable[..., Awaitable[Outcome]]


@pytest.fixture(params=ENGINES, ids=lambda engine: f"{engine.name}-{engine.provider}")
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


def settings_for(
    engine: Engine, home: Path, url: str, *, key: str = CANARY, section: str = "", **timeouts: str
) -> Settings:
    config = home / "config.toml"
    config.write_text(f'[providers.{engine.provider}]\nengine = "{engine.choice}"\n{section}\n')
    environ = {
        **{name: os.environ[name] for name in ("HTTP_PROXY", "http_proxy") if name in os.environ},
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "XDG_DATA_HOME": str(home),
        engine.key_variable: key,
        engine.url_variable: url,
        **{f"CHATCLI_TIMEOUT_{name.upper()}": value for name, value in timeouts.items()},
    }
    return load_settings({"CHATCLI_CONFIG": str(config)}, environ=environ)


def prompt(text: str = "hi") -> list[Message]:
    return [Message("1", Role.HUMAN, text, utc_now())]


def assert_clean(error: BaseException) -> None:
    """Neither the key nor anything that could hold it is in the error."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    assert CANARY not in shown
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.fixture
def call(engine: Engine, fake_provider: FakeProvider, tmp_path: Path) -> Call:
    """Ask a model of the fake provider and return everything that came of it."""

    async def run(
        model: str,
        *,
        url: str | None = None,
        messages: list[Message] | None = None,
        options: ModelOptions | None = None,
        **timeouts: str,
    ) -> Outcome:
        settings = settings_for(engine, tmp_path, url or fake_provider.url, **timeouts)
        provider = open_provider(settings, ModelSpec(engine.provider, model))
        outcome = Outcome(engine=provider.engine)
        asked = ask(provider, messages or prompt(), options or ModelOptions(), timeouts=settings.timeouts)
        try:
            async with asyncio.timeout(PATIENCE), aclosing(asked):
                async for deltas in asked:
                    outcome.deltas.extend(deltas)
        except ChatcliError as error:
            outcome.error = error
            assert_clean(error)
        finally:
            await provider.aclose()
        return outcome

    return run


async def test_a_whole_answer(call: Call, engine: Engine, fake_provider: FakeProvider) -> None:
    """Text comes in pieces; finish reason and usage come once, at the end."""
    outcome = await call("default")
    assert outcome.engine == engine.name
    assert outcome.error is None
    assert outcome.text == DEFAULT_ANSWER
    assert len(outcome.deltas) == 6
    assert outcome.deltas[-1] == Delta(finish_reason="stop", usage=Usage(7, 5))
    assert all(delta.finish_reason is None and delta.usage is None for delta in outcome.deltas[:-1])
    (request,) = fake_provider.requests()
    assert request["headers"]["authorization"] == f"Bearer {CANARY}"


async def test_reasoning_is_kept_apart(call: Call) -> None:
    """What the model says to itself comes as reasoning, before the text, never as text."""
    outcome = await call("reason")
    assert "".join(delta.reasoning for delta in outcome.deltas) == "Let me think."
    assert outcome.text == DEFAULT_ANSWER
    assert outcome.deltas[0].reasoning
    assert not outcome.deltas[0].text


async def test_options_and_messages_are_sent_as_they_are(call: Call, fake_provider: FakeProvider) -> None:
    """Roles, text and pictures arrive unchanged; an option that was not given is not sent."""
    picture: Part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [
        Message("0", Role.SYSTEM, "Be brief.", utc_now()),
        Message("1", Role.HUMAN, "é\n\x1b[31m 🚀", utc_now()),
        Message("2", Role.AI, "yes", utc_now()),
        Message("3", Role.HUMAN, ({"type": "text", "text": "look"}, picture), utc_now()),
    ]
    await call("default", messages=messages)
    await call("default", messages=messages, options=ModelOptions(temperature=0.25, max_tokens=9))
    plain, set_ = (request["body"] for request in fake_provider.requests())
    assert [(message["role"], message["content"]) for message in plain["messages"]] == [
        ("system", "Be brief."),
        ("user", "é\n\x1b[31m 🚀"),
        ("assistant", "yes"),
        ("user", [{"type": "text", "text": "look"}, picture]),
    ]
    assert not {"temperature", "max_tokens", "max_completion_tokens"} & set(plain)
    assert set_["temperature"] == 0.25
    assert set_["max_tokens"] == 9


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("err-400", InvalidRequest),
        ("err-401", ProviderAuth),
        ("err-402", ProviderAuth),
        ("err-403", ProviderAuth),
        ("err-404", ModelNotFound),
        ("err-413", ContextTooLong),
        ("err-418", ProviderProtocol),
        ("err-422", InvalidRequest),
        ("err-context", ContextTooLong),
        ("err-param", InvalidRequest),
        ("err-key-400", ProviderAuth),
        ("err-quota", ProviderAuth),
    ],
)
async def test_a_refusal_is_final(
    call: Call, fake_provider: FakeProvider, model: str, expected: type[ChatcliError]
) -> None:
    """What asking again can't mend is asked once."""
    outcome = await call(model)
    assert type(outcome.error) is expected
    assert outcome.error.hint
    assert not outcome.deltas
    assert len(fake_provider.requests()) == 1


async def test_the_hints_say_what_to_do(call: Call, engine: Engine) -> None:
    """A refused key names its variable, an unknown model the way to list them, an option itself."""
    hints = {}
    for model in ("err-401", "err-404", "err-param"):
        error = (await call(model)).error
        assert error is not None
        hints[model] = f"{error.message} {error.hint}"
    assert engine.key_variable in hints["err-401"]
    assert f"chatcli info --check --model {engine.provider}:err-404" in hints["err-404"]
    assert "--temperature" in hints["err-param"]


@pytest.mark.parametrize("model", ["err-500", "err-502-html", "drop-headers", "drop-first"])
async def test_a_broken_provider_is_asked_three_times(
    call: Call, fake_provider: FakeProvider, model: str
) -> None:
    """While nothing was shown a server's fault is retried twice, then it is the provider's."""
    outcome = await call(model)
    assert type(outcome.error) is ProviderUnavailable
    assert len(fake_provider.requests()) == 3


@pytest.mark.parametrize("model", ["err-408-then-ok", "err-503-then-ok", "drop-first-then-ok"])
async def test_a_retry_that_works_is_an_answer(call: Call, fake_provider: FakeProvider, model: str) -> None:
    """A fault that passes is never seen."""
    outcome = await call(model)
    assert outcome.error is None
    assert outcome.text == DEFAULT_ANSWER
    assert len(fake_provider.requests()) == 2


async def test_rate_limit(call: Call, fake_provider: FakeProvider) -> None:
    """A 429 is retried twice, not before the provider's own time; then the caller learns that time."""
    outcome = await call("err-429-0.6")
    assert type(outcome.error) is ProviderRateLimited
    assert outcome.error.retry_after == 0.6
    times = [request["at"] for request in fake_provider.requests()]
    assert len(times) == 3
    assert all(later - earlier >= 0.6 for earlier, later in pairwise(times))


async def test_rate_limit_that_passes(call: Call, fake_provider: FakeProvider) -> None:
    """A 429 without Retry-After is retried after a short pause."""
    outcome = await call("err-429-bare-then-ok")
    assert outcome.text == DEFAULT_ANSWER
    assert len(fake_provider.requests()) == 2


async def test_a_wait_past_the_deadline_is_refused_at_once(call: Call, fake_provider: FakeProvider) -> None:
    """An hour's Retry-After is handed on, not waited for."""
    outcome = await call("err-429-long", total="60")
    assert type(outcome.error) is ProviderRateLimited
    assert outcome.error.retry_after == 3600
    assert len(fake_provider.requests()) == 1


async def test_refused(call: Call) -> None:
    """Nobody listens: unavailable, after retries."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    outcome = await call("default", url=f"http://127.0.0.1:{port}/v1")
    assert type(outcome.error) is ProviderUnavailable


async def test_unknown_host(call: Call) -> None:
    """A name that does not resolve: unavailable, or out of time where the resolver is slow."""
    outcome = await call("default", url="http://provider.invalid/v1", connect="2")
    assert type(outcome.error) in {ProviderUnavailable, ProviderTimeout}


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose queue of connections is full: connecting to it never ends."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)
            with suppress(BlockingIOError):
                other.connect(listener.getsockname())
        yield listener.getsockname()[1]
        for other in others:
            other.close()


async def test_connecting_takes_too_long(call: Call, deaf_port: int) -> None:
    """The time to connect has its own limit and its own hint; it is not retried."""
    outcome = await call("default", url=f"http://127.0.0.1:{deaf_port}/v1", connect=SHORT)
    assert type(outcome.error) is ProviderTimeout
    assert "CHATCLI_TIMEOUT_CONNECT" in str(outcome.error.hint)


@pytest.mark.parametrize("model", ["hang", "silent"])
async def test_no_first_token(call: Call, fake_provider: FakeProvider, model: str) -> None:
    """Silence before the first token ends at its limit, and the request with it; no retry."""
    outcome = await call(model, first_token=SHORT)
    assert type(outcome.error) is ProviderTimeout
    assert "CHATCLI_TIMEOUT_FIRST_TOKEN" in str(outcome.error.hint)
    requests = await fake_provider.until(lambda requests: all(one["client_gone"] for one in requests))
    assert len(requests) == 1


async def test_a_stall(call: Call, fake_provider: FakeProvider) -> None:
    """Silence after some tokens ends at its limit; the text stays."""
    outcome = await call("stall", idle=SHORT)
    assert type(outcome.error) is ProviderTimeout
    assert "CHATCLI_TIMEOUT_IDLE" in str(outcome.error.hint)
    assert outcome.text == "Hello from"
    await fake_provider.until(lambda requests: requests[0]["client_gone"])


async def test_the_whole_call_takes_too_long(call: Call) -> None:
    """The total limit holds whatever the others allow."""
    outcome = await call("stall", total=SHORT)
    assert type(outcome.error) is ProviderTimeout
    assert "CHATCLI_TIMEOUT_TOTAL" in str(outcome.error.hint)


async def test_the_total_spans_retries(call: Call, fake_provider: FakeProvider) -> None:
    """A retry that would begin after the deadline is not made."""
    outcome = await call("err-429-5", total="2")
    assert type(outcome.error) is ProviderRateLimited
    assert len(fake_provider.requests()) == 1


async def test_connection_lost(call: Call, fake_provider: FakeProvider) -> None:
    """A stream that is cut keeps its text and is not asked for again."""
    outcome = await call("drop")
    assert type(outcome.error) is ProviderUnavailable
    assert outcome.text == "Hello from"
    assert len(fake_provider.requests()) == 1


@pytest.mark.parametrize("model", ["no-finish", "no-done"])
async def test_no_finish_reason(call: Call, model: str) -> None:
    """A clean end that nobody called the end is not a whole answer."""
    outcome = await call(model)
    assert type(outcome.error) is ProviderIncomplete
    assert outcome.text == "Hello from"


async def test_a_finish_reason_that_is_not_expected(
    engine: Engine, fake_provider: FakeProvider, tmp_path: Path
) -> None:
    """Where config.toml says that a server sends none, its clean end is the end."""
    settings = settings_for(engine, tmp_path, fake_provider.url, section="sends_finish_reason = false")
    provider = open_provider(settings, ModelSpec(engine.provider, "no-finish"))
    text = ""
    async for deltas in ask(provider, prompt(), ModelOptions(), timeouts=settings.timeouts):
        text += "".join(delta.text for delta in deltas)
    assert text == "Hello from"
    await provider.aclose()


@pytest.mark.parametrize(("model", "reason"), [("length", "length"), ("filter", "content_filter")])
async def test_a_short_answer_is_an_answer(call: Call, model: str, reason: str) -> None:
    """Text that the provider cut short comes without an error and with the reason."""
    outcome = await call(model)
    assert outcome.error is None
    assert outcome.text == "Hello from"
    assert outcome.finish_reason == reason


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("filter-empty", ContentFiltered),
        ("length-empty", ProviderIncomplete),
        ("stop-only", ProviderProtocol),
        ("empty", ProviderProtocol),
        ("done-only", ProviderProtocol),
        ("html-200", ProviderProtocol),
        ("error-first", ProviderProtocol),
        ("no-choices", ProviderProtocol),
        ("odd-choices", ProviderProtocol),
    ],
)
async def test_no_text(
    call: Call, fake_provider: FakeProvider, model: str, expected: type[ChatcliError]
) -> None:
    """An answer without text is no answer, and asking again would cost again."""
    outcome = await call(model)
    assert type(outcome.error) is expected
    assert not outcome.text
    assert len(fake_provider.requests()) == 1


@pytest.mark.parametrize("model", ["garbage", "not-object", "bad-bytes", "error-mid"])
async def test_nonsense_in_the_middle(call: Call, fake_provider: FakeProvider, model: str) -> None:
    """What came before stays; what followed is a broken protocol, and nothing of it is shown."""
    outcome = await call(model)
    assert type(outcome.error) is ProviderProtocol
    assert outcome.text == "Hello from"
    assert len(fake_provider.requests()) == 1


async def test_surrogates(call: Call) -> None:
    """Pairs are joined across chunks, halves become U+FFFD: all of it is UTF-8."""
    outcome = await call("surrogates")
    assert outcome.error is None
    assert outcome.text == "a\U0001f600b\U0001f680c\ufffdd"


async def test_control_sequences_are_text(call: Call) -> None:
    """They are passed on as they are: making them harmless is the terminal's business."""
    assert (await call("esc")).text == ESCAPES


async def test_a_huge_line(call: Call) -> None:
    """An answer ends at its limit, whatever the size of its pieces."""
    outcome = await call("huge-line")
    assert type(outcome.error) is ProviderProtocol
    assert len(outcome.text.encode()) == ANSWER_LIMIT


async def test_an_endless_line(call: Call, fake_provider: FakeProvider) -> None:
    """A line without an end does not fill the memory."""
    outcome = await call("endless-line", first_token="60")
    assert type(outcome.error) is ProviderProtocol
    (request,) = await fake_provider.until(lambda requests: requests[0]["client_gone"])
    assert request["sent"] < 100


async def test_redirect(call: Call, fake_provider: FakeProvider) -> None:
    """A redirect is not followed: the other host, and the key, see nothing of each other."""
    outcome = await call("redirect")
    assert type(outcome.error) is ProviderProtocol
    assert fake_provider.second_host_connections() == 0
    assert len(fake_provider.requests()) == 1


@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_going_away_ends_the_request(
    engine: Engine, fake_provider: FakeProvider, tmp_path: Path, way: str
) -> None:
    """Closing the iterator, or cancelling its reader, hangs up on the provider at once."""
    settings = settings_for(engine, tmp_path, fake_provider.url)
    provider = open_provider(settings, ModelSpec(engine.provider, "slow"))
    answer = ask(provider, prompt(), ModelOptions(), timeouts=settings.timeouts)
    fake_provider.release(1)
    assert [delta.text for delta in await anext(answer)] == ["Hello"]
    if way == "close":
        await answer.aclose()
    else:
        reader = asyncio.ensure_future(anext(answer))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    (request,) = await fake_provider.until(lambda requests: requests[0]["client_gone"])
    assert not request["finished"]
    await provider.aclose()


async def test_the_list_of_models(engine: Engine, fake_provider: FakeProvider, tmp_path: Path) -> None:
    """The provider's own list, sorted; the same errors as elsewhere."""
    settings = settings_for(engine, tmp_path, fake_provider.url)
    provider = open_provider(settings, ModelSpec(engine.provider, "any"))
    assert await provider.models() == ["fake-large", "fake-small"]
    await provider.aclose()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("err-401", ProviderAuth),
        ("err-500", ProviderUnavailable),
        ("hang", ProviderTimeout),
        ("redirect", ProviderProtocol),
    ],
)
async def test_no_list_of_models(
    engine: Engine, fake_provider: FakeProvider, tmp_path: Path, model: str, expected: type[ChatcliError]
) -> None:
    """The list fails as an answer does: our errors, nothing of the provider's, nothing of the key."""
    settings = settings_for(engine, tmp_path, fake_provider.url, key=f"{CANARY}={model}", first_token=SHORT)
    provider = open_provider(settings, ModelSpec(engine.provider, "any"))
    with pytest.raises(expected) as caught:
        await provider.models()
    assert_clean(caught.value)
    await provider.aclose()


async def test_the_environment_of_the_sdks_is_ignored(
    call: Call, fake_provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SDKs and LangChain read for themselves changes neither where a request goes nor its headers."""
    await call("default")
    elsewhere = "http://127.0.0.1:9/v1"
    for name, value in {
        "OPENAI_API_BASE": elsewhere,
        "OPENAI_BASE_URL": elsewhere,
        "OPENAI_PROXY": elsewhere,
        "OPENAI_API_KEY": "sk-other",
        "OPENAI_ADMIN_KEY": "sk-other",
        "OPENAI_ORG_ID": "org-x",
        "OPENAI_PROJECT_ID": "proj-x",
        "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer sk-other\nX-Custom: 1",
        "GROQ_API_KEY": "sk-other",
        "GROQ_API_BASE": elsewhere,
        "GROQ_BASE_URL": elsewhere,
        "GROQ_PROXY": elsewhere,
        "LANGSMITH_GATEWAY": "true",
        "LANGSMITH_GATEWAY_API_KEY": "lsv2_other",
        "LC_OUTPUT_VERSION": "v1",
        "LANGCHAIN_OPENAI_STREAM_CHUNK_TIMEOUT_S": "0.001",
    }.items():
        monkeypatch.setenv(name, value)
    outcome = await call("default")
    assert outcome.text == DEFAULT_ANSWER
    before, after = fake_provider.requests()
    assert after["headers"] == before["headers"]
    assert after["body"] == before["body"]
    assert set(after["headers"]) == {
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    }


async def test_proxies_of_the_system_are_used(
    call: Call, fake_provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY holds for requests to providers as for everything else."""
    monkeypatch.setenv("HTTP_PROXY", fake_provider.origin)
    monkeypatch.setenv("http_proxy", fake_provider.origin)
    outcome = await call("default", url="http://provider.test/v1")
    assert outcome.text == DEFAULT_ANSWER
    assert fake_provider.requests()[0]["path"].startswith("http://provider.test/v1")
