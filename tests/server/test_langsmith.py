"""Traces for LangSmith: where they go, what is in them, and that nothing waits for them."""

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.fake_provider import FakeProvider
from tests.fake_provider.script import DEFAULT_ANSWER
from tests.program import Chatcli
from tests.server.collector import collecting
from tests.server.peer import KEY, WAIT, serving

TRACING_KEY = "lsv2-canary-0123456789"
TELLTALES = ("err-401", "err-key-400", "error-first", "error-mid", "odd-choices", "garbage")
"""Models of a provider that puts our key into what it says."""


def settings_of(endpoint: str) -> dict[str, Any]:
    return {
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_API_KEY": TRACING_KEY,
        "LANGSMITH_ENDPOINT": endpoint,
        "LANGSMITH_PROJECT": "canary-project",
    }


def test_a_turn_is_traced_where_the_settings_say(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """With its messages and tags, in the project; a file of settings says it as well as the environment.

    No key is in a trace, neither LangSmith's nor the provider's.
    """
    with collecting() as collector:
        file = tmp_path / ".env"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings_of(collector.url).items()))
        with serving(tmp_path, provider=fake_provider, CHATCLI_ENV_FILE=str(file)) as server:
            server.lines("canary-prompt", session_metadata={"team": "blue"})
            assert server.stop() == 0
            assert TRACING_KEY not in server.log.read_text()
    sent = b"".join(collector.bodies).decode()
    for said in ("canary-prompt", DEFAULT_ANSWER, '"team":"blue"', "canary-project", "ChatOpenAI"):
        assert said in sent, said
    assert KEY not in sent
    assert TRACING_KEY not in sent


def test_off_is_off(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """A variable of LangChain that some other program needs sends no conversation anywhere."""
    with collecting() as collector:
        variables = {**settings_of(collector.url), "LANGSMITH_TRACING": "", "LANGCHAIN_TRACING_V2": "true"}
        with serving(tmp_path, provider=fake_provider, **variables) as server:
            server.chat("canary-prompt")
            assert server.stop() == 0
        assert not collector.bodies


@pytest.mark.parametrize("save", [(), ("--no-save",)])
def test_off_is_off_for_commands(tmp_path: Path, fake_provider: FakeProvider, save: tuple[str, ...]) -> None:
    """Also where LangChain carries the question: its models would trace it by themselves."""
    config = tmp_path / "config.toml"
    config.write_text(f'[providers.mine]\nengine = "langchain"\nbase_url = "{fake_provider.url}"\n')
    with collecting() as collector:
        variables = {**settings_of(collector.url), "LANGSMITH_TRACING": "", "LANGCHAIN_TRACING_V2": "true"}
        program = Chatcli.at(tmp_path).with_environment(**variables, CHATCLI_CONFIG=str(config))
        result = program("chat", "-m", "mine:default", *save, "canary-prompt")
        assert result.returncode == 0, result.stderr
        assert not collector.bodies


def test_no_key_is_traced_whatever_the_provider_says(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """A failed call is traced with our own error: of the provider's words there is nothing in it."""
    with (
        collecting() as collector,
        serving(tmp_path, provider=fake_provider, **settings_of(collector.url)) as server,
    ):
        for model in TELLTALES:
            assert server.chat("x", model=f"openai:{model}").status_code in {200, 502}
        assert server.stop() == 0
    sent = b"".join(collector.bodies).decode()
    assert "ProviderAuth" in sent
    assert "Incorrect API key" not in sent
    assert KEY not in sent


def test_a_server_stops_although_nobody_takes_its_traces(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """Turns do not wait for a LangSmith that hangs, and the end waits for it a few seconds only."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with serving(tmp_path, provider=fake_provider, **settings_of(endpoint)) as server:
            assert server.chat("x").json()["state"] == "complete"
            server.process.terminate()
            assert server.process.wait(WAIT) == 0
