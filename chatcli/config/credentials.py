"""Keys of providers and the URLs that they were given for; a key is looked at only when it is needed."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from chatcli.config.secret import Secret
from chatcli.config.sources import Environment, Found, read_text
from chatcli.config.values import parse_base_url, parse_path, parse_token
from chatcli.errors import ConfigError
from chatcli.frozen import Frozen

COMMAND_SECONDS = 10.0

Scope: TypeAlias = Literal["section", "variable"]
"""What something was given by: a ``[providers.NAME]`` section, or a variable such as OPENAI_API_KEY."""


class ProviderSettings(Frozen):
    """One ``[providers.NAME]`` of config.toml; at most one ``api_key_…`` is given.

    Its `repr` leaves out headers and keys: people put secrets there.
    """

    name: str
    origin: str
    base_url: str | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    api_key_env: str | None = None
    api_key_file: str | None = None
    api_key_command: str | None = None
    default_model: str | None = None
    sends_finish_reason: bool | None = None
    engine: str | None = None
    """One of `chatcli.config.file.ENGINES`."""

    def __repr__(self) -> str:
        return f"ProviderSettings(name={self.name!r}, origin={self.origin!r}, base_url={self.base_url!r})"

    @property
    def names_key(self) -> bool:
        """Whether the section says where its key is."""
        return (self.api_key_env or self.api_key_file or self.api_key_command) is not None


class BaseUrl(NamedTuple):
    """Where a provider is, and where that was said."""

    url: str
    origin: str


class ApiKey(Frozen):
    """A provider's key. It was given for the base URL of the same scope, or the provider's own."""

    secret: Secret
    origin: str
    scope: Scope


class KeySource(Frozen):
    """Where a key is to be found; nothing has been opened or run."""

    kind: Literal["value", "file", "command", "missing"]
    found: Found
    scope: Scope

    def read(self) -> ApiKey:
        """Return the key. Raises `ConfigError`, which names the place and never what stands there."""
        place = self.found.place
        text = self.found.text
        if self.kind == "missing":
            raise ConfigError(f"{place} names the variable {text}, which is not set")
        if self.kind == "file":
            text = read_secret_file(self.found)
        elif self.kind == "command":
            text = run_command(self.found)
        try:
            secret = Secret(parse_token(text))
        except ValueError:
            raise ConfigError(
                f"{place} is not a key: a key is one line of visible ASCII characters without spaces"
            ) from None
        plain = self.kind == "value" and self.scope == "variable"
        origin = self.found.origin if plain else f"{self.found.origin} ({self.found.label})"
        return ApiKey(secret, origin, self.scope)


def find_base_url(
    section: ProviderSettings | None, environment: Environment, variable: str | None
) -> tuple[BaseUrl, Scope] | None:
    """Return the base URL that the section sets, or else the variable. Raises `ConfigError`."""
    if section is not None and section.base_url is not None:
        return BaseUrl(section.base_url, section.origin), "section"
    found = environment.find(variable) if variable else None
    if found is None:
        return None
    try:
        return BaseUrl(parse_base_url(found.text), found.origin), "variable"
    except ValueError:
        raise ConfigError(f"{found.place} must be http://… or https://… without a user name") from None


def find_key(
    section: ProviderSettings | None, environment: Environment, variable: str | None, url_scope: Scope | None
) -> KeySource | None:
    """Return the source of the key that may go to a base URL of `url_scope` (None: the provider's own).

    The section's key comes first. A key of another scope than the URL's is as good as none.
    """
    if section is not None and section.names_key and url_scope in {None, "section"}:
        return _section_key(section, environment)
    if variable is None or url_scope == "section":
        return None
    found = environment.find_key(variable)
    if found is None:
        return None
    return KeySource("value" if found.label == variable else "file", found, "variable")


def _section_key(section: ProviderSettings, environment: Environment) -> KeySource:
    label, directory = f"providers.{section.name}.api_key", Path(section.origin).parent
    if section.api_key_env is not None:
        found = environment.find(section.api_key_env)
        if found is not None:
            return KeySource("value", found, "section")
        return KeySource("missing", Found(section.api_key_env, f"{label}_env", section.origin), "section")
    if section.api_key_file is not None:
        text = section.api_key_file
        return KeySource("file", Found(text, f"{label}_file", section.origin, directory), "section")
    found = Found(section.api_key_command or "", f"{label}_command", section.origin)
    return KeySource("command", found, "section")


def read_secret_file(found: Found) -> str:
    """Return the text of the file that a setting names, without the newline at its end."""
    try:
        path = (found.directory or Path()) / parse_path(found.text)
    except (ValueError, RuntimeError):
        raise ConfigError(f"{found.place} must be the path of a file") from None
    text = read_text(path, f"the file of {found.place}").strip()
    if not text:
        raise ConfigError(f"the file of {found.place} is empty")
    return text


def run_command(found: Found, seconds: float = COMMAND_SECONDS) -> str:
    """Return what the command of a setting prints, without white space around it; no shell is involved.

    Raises `ConfigError`, which never holds what the command printed.
    """
    import shlex
    import subprocess

    hint = "run the command by itself to see what it says"
    try:
        done = subprocess.run(
            shlex.split(found.text),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
        text = done.stdout.decode("utf-8").strip()
    except subprocess.TimeoutExpired:
        reason = f"did not end within {seconds:g} seconds"
    except OSError:
        reason = "can't be started"
    except UnicodeDecodeError:
        reason = "printed something that is not text"
    except (ValueError, IndexError):
        reason = "is not a command line: its quotes don't match"
    else:
        if done.returncode == 0 and text:
            return text
        reason = f"ended with exit code {done.returncode}" if done.returncode else "printed nothing"
    raise ConfigError(f"the command of {found.place} {reason}", hint=hint)
