"""Which engine carries the requests of a provider, and who decides."""

from pathlib import Path

import pytest

from chatcli.config import Settings, load_settings
from chatcli.errors import ConfigError
from chatcli.providers import ModelSpec, find_engine, open_provider
from chatcli.providers.table import TABLE

KEYS = {row.key_variable: "key" for row in TABLE.values() if row.key_variable}


def settings_with(home: Path, config: str = "", **environ: str) -> Settings:
    path = home / "config.toml"
    path.write_text(config)
    return load_settings({"CHATCLI_CONFIG": str(path)}, environ={"HOME": str(home), **KEYS, **environ})


def engine_of(settings: Settings, provider: str) -> str:
    """Return the engine that is announced; it is the one that is opened."""
    spec = ModelSpec(provider, "m")
    engine = find_engine(settings, spec)
    assert open_provider(settings, spec).engine == engine
    return engine


@pytest.mark.parametrize("provider", TABLE)
def test_every_provider_has_a_fast_engine(tmp_path: Path, provider: str) -> None:
    """All of the table speak chat completions; only the built-in model needs no engine."""
    assert engine_of(settings_with(tmp_path), provider) == ("offline" if provider == "offline" else "wire")


def test_config_chooses(tmp_path: Path) -> None:
    """A provider's section may ask for the other engine, or for this one."""
    config = '[providers.openai]\nengine = "langchain"\n[providers.groq]\nengine = "langchain"\n'
    settings = settings_with(tmp_path, config + '[providers.xai]\nengine = "wire"\n')
    assert engine_of(settings, "openai") == "langchain-openai"
    assert engine_of(settings, "groq") == "langchain-groq"
    assert engine_of(settings, "xai") == "wire"


@pytest.mark.parametrize("value", ['"curl"', "true", '""'])
def test_an_engine_that_is_none(tmp_path: Path, value: str) -> None:
    """Another value is refused by name and place."""
    with pytest.raises(ConfigError, match=r"providers\.openai\.engine"):
        settings_with(tmp_path, f"[providers.openai]\nengine = {value}\n")


@pytest.mark.parametrize(
    ("environ", "proxied"),
    [
        ({"HTTPS_PROXY": "http://proxy:3128"}, True),
        ({"https_proxy": "http://user:password@proxy:3128"}, True),
        ({"ALL_PROXY": "socks5://proxy"}, True),
        ({"HTTP_PROXY": "http://proxy:3128"}, False),
        ({"HTTPS_PROXY": ""}, False),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "*"}, False),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "localhost, API.openai.com"}, False),
        ({"HTTPS_PROXY": "http://proxy", "no_proxy": ".openai.com"}, False),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "openai.com"}, False),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "pi.openai.com"}, True),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": ".api.openai.com"}, True),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "https://api.openai.com"}, True),
    ],
)
def test_a_proxy_needs_the_other_engine(tmp_path: Path, environ: dict[str, str], *, proxied: bool) -> None:
    """Where a request may go through a proxy, a client that knows proxies carries it."""
    settings = settings_with(tmp_path, **environ)
    assert find_engine(settings, ModelSpec("openai", "m")) == ("langchain-openai" if proxied else "wire")
    assert "password" not in repr(settings)


def test_a_proxy_for_another_scheme(tmp_path: Path) -> None:
    """A server on this machine is asked over plain HTTP, which HTTPS_PROXY says nothing about."""
    assert find_engine(settings_with(tmp_path, HTTPS_PROXY="http://p"), ModelSpec("ollama", "m")) == "wire"
    proxied = settings_with(tmp_path, HTTP_PROXY="http://p")
    assert find_engine(proxied, ModelSpec("ollama", "m")) == "langchain-openai"
    direct = settings_with(tmp_path, HTTP_PROXY="http://p", NO_PROXY="127.0.0.1")
    assert find_engine(direct, ModelSpec("ollama", "m")) == "wire"


def test_traces_need_the_other_engine(tmp_path: Path) -> None:
    """LangSmith is told about model calls by LangChain."""
    settings = settings_with(tmp_path, LANGSMITH_TRACING="true")
    assert find_engine(settings, ModelSpec("openai", "m")) == "langchain-openai"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://[::1]:8000/v1", "wire"),
        ("http://host_name:80", "wire"),
        ("https://api.example/a%20b/v1", "wire"),
        ("https://bücher.example/v1", "langchain-openai"),
        ("https://api.example/ü/v1", "langchain-openai"),
        ('https://api.example/"x"/v1', "langchain-openai"),
    ],
)
def test_addresses_that_need_encoding(tmp_path: Path, url: str, expected: str) -> None:
    """They are left to a client that does it; nothing else is."""
    settings = settings_with(tmp_path, f"[providers.mine]\nbase_url = '{url}'\n")
    assert find_engine(settings, ModelSpec("mine", "m")) == expected
