"""How a provider is asked, with providers that do exactly what a test says."""

import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from subprocess import run

import pytest

from chatcli.config import Timeouts, load_settings
from chatcli.errors import (
    ChatcliError,
    ProviderAuth,
    ProviderProtocol,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
)
from chatcli.models import Message, ModelOptions, Role, Usage, utc_now
from chatcli.providers import policy
from chatcli.providers.base import Delta
from chatcli.providers.limiter import Limiter
from chatcli.providers.offline import OfflineProvider
from chatcli.providers.policy import ask

PROMPT = [Message("1", Role.HUMAN, "hi", utc_now())]
Step = Delta | ChatcliError


class ScriptedProvider:
    """Plays one list of steps per call: deltas to yield, errors to raise."""

    spec = "scripted:one"
    engine = "scripted"
    sends_finish_reason = True

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self.scripts = list(scripts)
        self.calls = 0
        self.closed = 0

    async def stream(
        self, messages: Sequence[Message], options: ModelOptions
    ) -> AsyncGenerator[Sequence[Delta]]:
        """Play the next script."""
        assert messages is PROMPT
        assert options == ModelOptions()
        self.calls += 1
        try:
            for step in self.scripts.pop(0):
                if isinstance(step, Delta):
                    yield [step]
                else:
                    raise step
        finally:
            self.closed += 1

    async def models(self) -> Sequence[str]:
        """Offer nothing."""
        return ()

    async def aclose(self) -> None:
        """Hold nothing."""


async def collect(
    provider: ScriptedProvider, limiter: Limiter | None = None, timeouts: Timeouts | None = None
) -> list[Delta]:
    asked = ask(provider, PROMPT, ModelOptions(), timeouts=timeouts or Timeouts(), limiter=limiter)
    return [delta async for deltas in asked for delta in deltas]


async def collect_into(shown: list[str], provider: ScriptedProvider) -> None:
    """Collect texts so that they are there after an error."""
    async for deltas in ask(provider, PROMPT, ModelOptions(), timeouts=Timeouts()):
        shown.extend(delta.text for delta in deltas)


def limiter_in(folder: Path, *, calls: int, period: str = "60") -> Limiter:
    environ = {
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "RATE_LIMIT_CALLS": str(calls),
        "RATE_LIMIT_PERIOD": period,
    }
    return Limiter(load_settings(environ=environ))


END = Delta(finish_reason="stop")


async def test_reason_and_usage_come_last_and_once() -> None:
    """Whenever the provider sends them, they are in the last delta; the last usage counts."""
    provider = ScriptedProvider(
        [
            Delta(text="a", usage=Usage(1, 1)),
            Delta(finish_reason="stop"),
            Delta(text="b", usage=Usage(1, 2)),
        ]
    )
    assert await collect(provider) == [
        Delta(text="a"),
        Delta(text="b"),
        Delta(finish_reason="stop", usage=Usage(1, 2)),
    ]


@pytest.mark.parametrize("shown", [Delta(text="a"), Delta(reasoning="a")])
async def test_nothing_is_asked_again_once_something_was_shown(shown: Delta) -> None:
    """The reader would see a second beginning."""
    provider = ScriptedProvider([shown, ProviderUnavailable("gone")])
    with pytest.raises(ProviderUnavailable):
        await collect(provider)
    assert provider.calls == 1


async def test_the_last_error_counts() -> None:
    """After two retries the third error is raised; every stream was closed; nothing hangs on it."""
    failures = [ProviderRateLimited("busy", retry_after=0.0) for _ in range(3)]
    provider = ScriptedProvider(*([failure] for failure in failures))
    with pytest.raises(ProviderRateLimited) as caught:
        await collect(provider)
    assert caught.value is failures[2]
    assert caught.value.__context__ is None
    assert provider.closed == provider.calls == 3


@pytest.mark.parametrize("error", [ProviderAuth("no"), ProviderProtocol("no"), ProviderTimeout("no")])
async def test_what_is_not_worth_a_retry(error: ChatcliError) -> None:
    """Refusals, nonsense and timeouts are final."""
    provider = ScriptedProvider([error])
    with pytest.raises(type(error)):
        await collect(provider)
    assert provider.calls == 1


async def test_closing_closes_the_provider() -> None:
    """Leaving early ends the provider's stream before `aclose` returns."""
    provider = ScriptedProvider([Delta(text="a"), Delta(text="b"), END])
    answer = ask(provider, PROMPT, ModelOptions(), timeouts=Timeouts())
    await anext(answer)
    await answer.aclose()
    assert provider.closed == 1


async def test_half_a_pair_at_the_end_is_shown_before_the_error() -> None:
    """Nothing that arrived is lost to an error about the end."""
    provider = ScriptedProvider([Delta(text="a\ud83d")])
    shown: list[str] = []
    with pytest.raises(ChatcliError):
        await collect_into(shown, provider)
    assert shown == ["a", "\ufffd"]


async def test_the_limit_of_an_answer_cuts_between_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is whole characters, at most the limit in bytes."""
    monkeypatch.setattr(policy, "ANSWER_LIMIT", 8)
    provider = ScriptedProvider([Delta(text="ééé"), Delta(text="x🚀"), END])
    shown: list[str] = []
    with pytest.raises(ProviderProtocol):
        await collect_into(shown, provider)
    assert shown == ["ééé", "x"]


async def test_retries_count_as_calls(tmp_path: Path) -> None:
    """The outbound limit sees every request; one that would wait too long is refused with the time."""
    provider = ScriptedProvider([ProviderRateLimited("busy", retry_after=0.0)], [Delta(text="a"), END])
    with pytest.raises(RateLimited) as caught:
        await collect(provider, limiter_in(tmp_path, calls=1), Timeouts(total=5))
    assert provider.calls == 1
    assert caught.value.retry_after is not None
    assert 50 < caught.value.retry_after <= 60


async def test_the_offline_model_is_not_limited(tmp_path: Path) -> None:
    """It makes no request, so it uses up nothing."""
    limiter = limiter_in(tmp_path, calls=1)
    for _ in range(3):
        asked = ask(OfflineProvider(), PROMPT, ModelOptions(), timeouts=Timeouts(total=1), limiter=limiter)
        assert "".join([delta.text async for deltas in asked for delta in deltas])


def loaded_by(code: str) -> set[str]:
    """Return the modules in a fresh interpreter after `code`."""
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    return set(run(command, capture_output=True, text=True, check=True).stdout.split())


HEAVY = {
    "asyncio",
    "httpx",
    "httpx2",
    "langchain_core",
    "langchain_openai",
    "langchain_groq",
    "openai",
    "groq",
}


@pytest.mark.parametrize("module", ["", ".table", ".policy", ".limiter", ".offline", ".faults", ".transport"])
def test_importing_costs_nothing(module: str) -> None:
    """Nothing heavy is imported before it is needed."""
    assert not HEAVY & loaded_by(f"import chatcli.providers{module}")


OPEN = """
from chatcli.config import load_settings
from chatcli.providers import ModelSpec, open_provider
settings = load_settings(environ={"HOME": "/nowhere", "OPENAI_API_KEY": "k", "GROQ_API_KEY": "k"})
open_provider(settings, ModelSpec("%s", "m"))
"""


@pytest.mark.parametrize(
    ("provider", "without"),
    [("offline", HEAVY), ("openai", {"groq", "langchain_groq"}), ("groq", {"openai", "langchain_openai"})],
)
def test_only_the_engine_in_use_is_imported(provider: str, without: set[str]) -> None:
    """Opening one engine does not pay for the others."""
    assert not without & loaded_by(OPEN % provider)
