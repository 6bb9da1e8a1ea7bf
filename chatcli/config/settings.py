"""`Settings`: everything that was decided before the program does anything, frozen."""

from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from chatcli.config.credentials import (
    ApiKey,
    BaseUrl,
    KeySource,
    ProviderSettings,
    find_base_url,
    find_key,
)
from chatcli.config.network import Network
from chatcli.config.secret import Secret, mask_url
from chatcli.config.sources import ENVIRONMENT, Environment, Found
from chatcli.config.tokens import ApiToken, read_tokens
from chatcli.config.variables import VARIABLES, Variable
from chatcli.frozen import Frozen
from chatcli.models import LOCAL_OWNER

DEFAULT = "default"
_ON_THE_SPOT = ("flag --server", ENVIRONMENT)
PROVIDER_VARIABLES = MappingProxyType({"OPENAI_API_KEY": "OPENAI_BASE_URL", "GROQ_API_KEY": "GROQ_BASE_URL"})
"""The key of each provider that has one of its own, and the base URL that belongs to the key."""


class Row(NamedTuple):
    """A setting as `chatcli info` shows it: no secret is in it."""

    name: str
    value: str
    origin: str


class Timeouts(Frozen):
    """Deadlines of a call of a model, in seconds; `total` holds over all retries."""

    connect: float = 5.0
    first_token: float = 60.0
    idle: float = 60.0
    total: float = 600.0


class Price(Frozen):
    """What a model costs, in dollars per million tokens."""

    input: float
    output: float


class Settings(Frozen):
    """All settings in force; made by `load_settings`. Secrets don't show in its `repr`."""

    model: str | None
    """PROVIDER:MODEL or an alias; None leaves the choice to the keys that are set."""
    store: str
    """URL of the store; the path of a SQLite one, all that follows ``sqlite:///``, is absolute."""
    server: str | None
    """URL of the server whose threads the commands use instead of a store's."""
    s3_bucket: str | None
    aws_access_key_id: Secret | None
    aws_secret_access_key: Secret | None
    aws_session_token: Secret | None
    aws_region: str | None
    aws_endpoint_url: str | None
    max_conversation_length: int
    rate_limit_calls: int
    rate_limit_period: float
    client_rate: str
    """Such as ``60/minute``; `parse_rate` gives its numbers."""
    api_token: Secret | None
    api_tokens_file: Path | None
    redis_url: str | None
    """May hold a password: show it through `mask_url` only, as with `store`."""
    encryption_key: Secret | None
    retention: str | None
    """An age such as ``90d``, or a date."""
    max_input_length: int | None
    """None is the default of the door: 10,000 for HTTP, 1,000,000 for commands."""
    log_level: str | None
    """None is the default of the door: INFO for serve, WARNING for commands."""
    log_format: str | None
    project_name: str
    description: str
    langsmith_tracing: bool
    langsmith_api_key: Secret | None
    timeouts: Timeouts
    providers: Mapping[str, ProviderSettings]
    aliases: Mapping[str, str]
    prices: Mapping[str, Price]
    """By PROVIDER:MODEL, as turns name their model."""
    network: Network
    config_file: Path
    """Where config.toml is, or would be."""
    env_file: Path | None
    """The ``.env`` that was read."""
    config_dir: Path
    data_dir: Path
    origins: Mapping[str, str]
    """Of each variable: ``default``, ``flag --store``, ``environment`` or the path of a file."""
    environment: Environment
    """Where keys of providers are looked up when they are needed."""

    def __repr__(self) -> str:
        shown = (f"{name}={_hide(getattr(self, name))!r}" for name in self.FIELDS)
        return f"Settings({', '.join(shown)})"

    def origin(self, name: str) -> str:
        """Return where the variable `name` was set."""
        return self.origins[name]

    def base_url(self, provider: str, *, variable: str | None) -> BaseUrl | None:
        """Return the base URL that was set for a provider; None leaves it the provider's own.

        That of the provider's section counts before `variable`. Raises `ConfigError`.
        """
        found = find_base_url(self.providers.get(provider), self.environment, variable)
        return None if found is None else found[0]

    def api_key(
        self, provider: str, *, variable: str | None, url_variable: str | None = None
    ) -> ApiKey | None:
        """Return the key that may be sent to the provider's base URL; None where there is none.

        A key is for the URL that it was given with: that of the provider's section goes to the
        section's `base_url`, that of `variable` to the URL of `url_variable` (by default the one
        known to belong to `variable`), and both go to the provider's own URL where none is set.
        The section's counts first. A key file is read and a key command run (up to 10 s) at each
        call. Raises `ConfigError`.
        """
        source = self._key_source(provider, variable, url_variable)
        return None if source is None else source.read()

    def has_api_key(self, provider: str, *, variable: str | None, url_variable: str | None = None) -> bool:
        """Whether `api_key` has something to look at; nothing is read or run."""
        source = self._key_source(provider, variable, url_variable)
        return source is not None and source.kind != "missing"

    def _key_source(self, provider: str, variable: str | None, url_variable: str | None) -> KeySource | None:
        section = self.providers.get(provider)
        url_variable = url_variable or PROVIDER_VARIABLES.get(variable or "")
        base_url = find_base_url(section, self.environment, url_variable)
        scope = None if base_url is None else base_url[1]
        return find_key(section, self.environment, variable, scope)

    def rows(self) -> list[Row]:
        """Return all settings as they may be shown."""
        rows = [
            Row(variable.name, self._show(variable), self.origins[variable.name])
            for variable in VARIABLES.values()
        ]
        for key, url in PROVIDER_VARIABLES.items():
            found = self.environment.find_key(key)
            rows.append(Row(key, "not set" if found is None else "set", _origin(key, found)))
            found = self.environment.find(url)
            rows.append(Row(url, "not set" if found is None else mask_url(found.text), _origin(url, found)))
        for name, section in self.providers.items():
            rows.append(Row(f"providers.{name}.base_url", section.base_url or "not set", section.origin))
            key = "set" if section.names_key else "not set"
            rows.append(Row(f"providers.{name}.api_key", key, section.origin))
        return rows

    @property
    def server_token(self) -> Secret | None:
        """The token for `server`; one that was set beside another server is not for this one.

        That of the environment goes to the server of the environment, or of the command line; that of
        a file to the server of the same file.
        """
        token, server = self.origins["CHATCLI_API_TOKEN"], self.origins["CHATCLI_SERVER"]
        return self.api_token if server == token or (server, token) == _ON_THE_SPOT else None

    def read_api_tokens(self) -> tuple[ApiToken, ...]:
        """Return the bearer tokens of the server: the single one, and those of the file.

        Raises `ConfigError`, which names the line.
        """
        single = () if self.api_token is None else (ApiToken(LOCAL_OWNER, self.api_token),)
        return single if self.api_tokens_file is None else (*single, *read_tokens(self.api_tokens_file))

    def _show(self, variable: Variable) -> str:
        value = attrgetter(variable.field)(self)
        if variable.secret:
            return "not set" if value is None else "set"
        if isinstance(value, bool):
            return "on" if value else "off"
        if isinstance(value, float):
            return f"{value:g}"
        return variable.unset if value is None else mask_url(str(value))


def _hide(value: object) -> object:
    return mask_url(value) if isinstance(value, str) else value


def _origin(name: str, found: Found | None) -> str:
    return DEFAULT if found is None else found.origin_as(name)
