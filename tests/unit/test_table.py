"""What a model's name means, and where its key may go."""

import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from chatcli.config import Settings, load_settings
from chatcli.errors import ConfigError, InvalidRequest
from chatcli.providers import Target, find_target, open_provider
from chatcli.providers.table import TABLE, ModelSpec, known_names, provider_row, resolve_model

CONFIG = """
[aliases]
fast = "groq:openai/gpt-oss-120b"
local = "ollama:llama3:8b"

[providers.mine]
base_url = "https://llm.example/v1"
api_key_env = "MINE_KEY"
default_model = "large"
sends_finish_reason = false
headers = {X-Team = "blue"}

[providers.nowhere]
default_model = "m"
"""


def settings_with(home: Path, config: str = CONFIG, **environ: str) -> Settings:
    tomllib.loads(config)
    path = home / "config.toml"
    path.write_text(config)
    return load_settings({"CHATCLI_CONFIG": str(path)}, environ={"HOME": str(home), **environ})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with(tmp_path)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("openai:gpt-6-sol", "openai:gpt-6-sol"),
        ("openai", f"openai:{TABLE['openai'].default_model}"),
        ("openai:", f"openai:{TABLE['openai'].default_model}"),
        ("groq", f"groq:{TABLE['groq'].default_model}"),
        ("ollama:llama3:8b", "ollama:llama3:8b"),
        ("openrouter:vendor/model:free", "openrouter:vendor/model:free"),
        ("fast", "groq:openai/gpt-oss-120b"),
        ("local", "ollama:llama3:8b"),
        ("mine", "mine:large"),
        ("offline", "offline"),
        ("offline:anything", "offline"),
    ],
)
def test_names(settings: Settings, spec: str, expected: str) -> None:
    """A name is an alias, a provider, or a provider and everything after the first colon."""
    resolved = resolve_model(settings, spec)
    assert str(resolved) == expected
    assert resolve_model(settings, str(resolved)) == resolved


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("opneai:gpt-6-luna", "openai"),
        ("gpt-6-luna", "openai:gpt-6-luna"),
        ("gpt-oss-20b", "groq:openai/gpt-oss-20b"),
        ("fats", "fast"),
        ("zzz:x", "cerebras"),
        ("ollama", "ollama:MODEL"),
    ],
)
def test_names_that_mean_nothing(settings: Settings, spec: str, hint: str) -> None:
    """An unknown name is an error that says what was probably meant."""
    with pytest.raises(InvalidRequest) as caught:
        resolve_model(settings, spec)
    assert hint in str(caught.value.hint)


def test_the_keys_choose_where_nothing_is_said(tmp_path: Path) -> None:
    """OpenAI's key comes first, then Groq's; a model in the settings comes before both."""
    both = {"OPENAI_API_KEY": "sk-1", "GROQ_API_KEY": "gsk-2"}
    assert resolve_model(settings_with(tmp_path, **both), None).provider == "openai"
    assert resolve_model(settings_with(tmp_path, GROQ_API_KEY="gsk-2"), None).provider == "groq"
    chosen = settings_with(tmp_path, CHATCLI_MODEL="fast", **both)
    assert str(resolve_model(chosen, None)) == "groq:openai/gpt-oss-120b"


def test_no_model_at_all(settings: Settings) -> None:
    """Without a model and a key the error names every way to get one."""
    with pytest.raises(ConfigError) as caught:
        resolve_model(settings, None)
    for way in ("OPENAI_API_KEY", "GROQ_API_KEY", "config.toml", "--model ollama:", "--model offline"):
        assert way in str(caught.value.hint)


def test_completion(settings: Settings) -> None:
    """Aliases, providers with their colon, and known models; each of them resolves."""
    names = known_names(settings)
    assert {
        "fast",
        "openai:",
        "openai:gpt-6-luna",
        "groq:openai/gpt-oss-20b",
        "mine:large",
        "offline",
    } <= set(names)
    assert len(names) == len(set(names))
    for name in names:
        if not name.endswith(":") or provider_row(settings, name[:-1]).default_model:
            resolve_model(settings, name)


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.name)
def test_addresses(row: object) -> None:
    """Keys travel over TLS; what has no key and no TLS is on this machine."""
    row = TABLE[getattr(row, "name", "")]
    url = urlsplit(row.base_url)
    if row.name == "offline":
        assert not row.base_url
    elif row.key_variable:
        assert url.scheme == "https"
        assert row.key_variable == f"{row.name.upper()}_API_KEY"
    else:
        assert url.hostname == "127.0.0.1"


def test_the_defaults_are_not_retired() -> None:
    """These names were shut down by their providers, or will be within weeks."""
    retired = {
        *("gpt-3.5-turbo", "gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-5", "gpt-5-mini"),
        *("llama3-8b-8192", "llama-3.1-8b-instant", "llama-3.3-70b-versatile", "mixtral-8x7b-32768"),
    }
    for row in TABLE.values():
        assert not retired & {row.default_model, *row.models}


def target(settings: Settings, spec: str) -> Target:
    resolved = resolve_model(settings, spec)
    return find_target(settings, resolved, provider_row(settings, resolved.provider))


def key_of(found: Target) -> str | None:
    return None if found.key is None else found.key.reveal()


def test_a_key_goes_where_it_was_given_for(tmp_path: Path) -> None:
    """The key of the environment goes to the provider, or to the base URL of the environment."""
    found = target(settings_with(tmp_path, OPENAI_API_KEY="sk-1"), "openai")
    assert (found.base_url, key_of(found)) == ("https://api.openai.com/v1", "sk-1")
    assert found.is_own_address
    url = "http://127.0.0.1:9/v1"
    found = target(settings_with(tmp_path, OPENAI_API_KEY="sk-1", OPENAI_BASE_URL=url), "openai")
    assert (found.base_url, key_of(found)) == (url, "sk-1")
    found = target(settings_with(tmp_path, MINE_KEY="mk"), "mine")
    assert (found.base_url, key_of(found), found.headers) == (
        "https://llm.example/v1",
        "mk",
        {"X-Team": "blue"},
    )
    assert not found.row.sends_finish_reason


def test_a_key_goes_nowhere_else(tmp_path: Path) -> None:
    """A base URL from config.toml gets no key of the environment, and other providers get none at all."""
    config = '[providers.openai]\nbase_url = "https://elsewhere.example/v1"\n[aliases]\n'
    found = target(settings_with(tmp_path, config, OPENAI_API_KEY="sk-1"), "openai")
    assert found.base_url == "https://elsewhere.example/v1"
    assert found.key is None
    assert "[providers.openai]" in found.key_hint
    everything = settings_with(
        tmp_path, OPENAI_API_KEY="sk-1", GROQ_API_KEY="gsk-2", OPENAI_BASE_URL="http://h/v1"
    )
    for name in ("ollama:m", "lmstudio:m", "vllm:m", "llamacpp:m"):
        found = target(everything, name)
        assert found.key is None
        assert found.base_url == TABLE[found.spec.provider].base_url


def test_no_key(settings: Settings) -> None:
    """A service at its own address is not even asked without a key; the hint names the variable."""
    for name, row in TABLE.items():
        if row.key_variable:
            with pytest.raises(ConfigError) as caught:
                open_provider(settings, ModelSpec(name, "m"))
            assert row.key_variable in str(caught.value.hint)


def test_no_base_url(settings: Settings) -> None:
    """A provider of one's own needs an address."""
    with pytest.raises(ConfigError, match=r"providers\.nowhere"):
        open_provider(settings, resolve_model(settings, "nowhere"))
