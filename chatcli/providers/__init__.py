"""Providers of models: `open_provider` makes one, `table` has their names, `policy` asks them."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from chatcli.errors import ConfigError
from chatcli.frozen import Frozen
from chatcli.providers.table import ModelSpec, ProviderRow, provider_row

if TYPE_CHECKING:
    from chatcli.config import Secret, Settings, Timeouts
    from chatcli.providers.base import Provider

_PLAIN_URL = (
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
    r"(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
)
"""Base URLs whose bytes are sent as they are written."""


class Target(Frozen):
    """Where the requests for a model go, and with which key."""

    spec: ModelSpec
    row: ProviderRow
    base_url: str
    key: "Secret | None"
    key_hint: str
    """What to do where the provider wants a key, or another one."""
    headers: Mapping[str, str]
    timeouts: "Timeouts"

    @property
    def is_own_address(self) -> bool:
        """Whether this is the address that the table has for the provider."""
        return self.base_url == self.row.base_url

    @property
    def api_url(self) -> str:
        """What the paths of the API are appended to."""
        return self.base_url.removesuffix(self.row.sdk_path) + self.row.sdk_path

    @property
    def max_tokens_name(self) -> str:
        """What the provider calls `ModelOptions.max_tokens`; the new name is known to few but OpenAI."""
        is_openai = self.row.name == "openai" and self.is_own_address
        return "max_completion_tokens" if is_openai else "max_tokens"


def open_provider(settings: "Settings", spec: ModelSpec) -> "Provider":
    """Return the provider of a model, ready to be asked; no engine but its own is imported.

    No key goes to a base URL that it was not given for: `Settings.api_key` has none for it then.

    Raises:
        ConfigError: the provider has no base URL, or wants a key at its own address and has none.
        InvalidRequest: there is no such provider.
    """
    row = provider_row(settings, spec.provider)
    if row.engine == "offline":
        from chatcli.providers.offline import OfflineProvider

        return OfflineProvider()
    target = find_target(settings, spec, row)
    if _takes_wire(settings, row, target.base_url):
        from chatcli.providers.wire import WireProvider

        return WireProvider(target, settings.network)
    if row.engine == "langchain-groq":
        from chatcli.providers.langchain import open_groq

        return open_groq(target)
    from chatcli.providers.langchain import open_openai

    return open_openai(target)


def find_engine(settings: "Settings", spec: ModelSpec) -> str:
    """Return the name of the engine that `open_provider` would open; no key is looked at.

    Raises:
        ConfigError: a base URL that is none; InvalidRequest: there is no such provider.
    """
    row = provider_row(settings, spec.provider)
    found = settings.base_url(row.name, variable=row.base_url_variable)
    return "wire" if _takes_wire(settings, row, found.url if found else row.base_url) else row.engine


def _takes_wire(settings: "Settings", row: ProviderRow, base_url: str) -> bool:
    """Whether the fast engine can do all that is wanted: it knows no proxies, traces or encodings."""
    section = settings.providers.get(row.name)
    url = re.fullmatch(_PLAIN_URL, base_url)
    return (
        row.speaks_chat_completions
        and url is not None
        and (section is None or section.engine != "langchain")
        and not settings.langsmith_tracing
        and not settings.network.may_use_proxy(url["scheme"], url["host"].strip("[]"))
    )


def find_target(settings: "Settings", spec: ModelSpec, row: ProviderRow) -> Target:
    """Return where requests for a model of `row` go; errors as those of `open_provider`."""
    section = settings.providers.get(row.name)
    found = settings.base_url(row.name, variable=row.base_url_variable)
    base_url = row.base_url if found is None else found.url
    if not base_url:
        raise ConfigError(f"providers.{row.name} has no base_url", hint="add one to config.toml")
    key = settings.api_key(row.name, variable=row.key_variable, url_variable=row.base_url_variable)
    in_section = row.key_variable is None or (section is not None and section.base_url is not None)
    place = f"api_key_env, api_key_file or api_key_command under [providers.{row.name}]"
    hint = place if in_section or row.key_variable is None else row.key_variable
    target = Target(
        spec,
        row,
        base_url,
        None if key is None else key.secret,
        f"set {hint}" if key is None else f"check {key.origin if in_section else hint}",
        MappingProxyType({}) if section is None else section.headers,
        settings.timeouts,
    )
    if key is None and row.key_variable is not None and target.is_own_address and not target.headers:
        raise ConfigError(f"{row.name} wants an API key, and none is set", hint=target.key_hint)
    return target


__all__ = ["ModelSpec", "Target", "find_engine", "find_target", "open_provider"]
