"""Puts settings together: flag over environment over ``.env`` over config.toml over default."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from chatcli.config.credentials import read_secret_file
from chatcli.config.network import read_network
from chatcli.config.secret import Secret
from chatcli.config.settings import DEFAULT, Settings, Timeouts
from chatcli.config.sources import Environment, Found, find_directories
from chatcli.config.values import SQLITE, anchor
from chatcli.config.variables import VARIABLES, Variable
from chatcli.errors import ConfigError

if TYPE_CHECKING:
    from chatcli.config.file import ConfigFile

_PATHS = MappingProxyType({"CHATCLI_ENV_FILE": "--env-file", "CHATCLI_CONFIG": "--config"})
_NO_FLAGS: Mapping[str, str | None] = MappingProxyType({})


def load_settings(
    flags: Mapping[str, str | None] = _NO_FLAGS, *, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read all settings. `flags` go by the variable's name; None there means that one was not given.

    Nothing is created, and no key of a provider is looked at. Raises `ConfigError`.
    """
    variables = dict(os.environ if environ is None else environ)
    given = _read_flags(flags)
    config_dir, data_dir = find_directories(variables)
    env_file = _named_file(given.get("CHATCLI_ENV_FILE") or Environment(variables).find("CHATCLI_ENV_FILE"))
    environment = Environment(variables, env_file or _if_there(config_dir / ".env"))
    config_file = _named_file(given.get("CHATCLI_CONFIG") or environment.find("CHATCLI_CONFIG"))
    config = _read_config(config_file or _if_there(config_dir / "config.toml"))
    keys = config.settings if config else {}

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for variable in VARIABLES.values():
        found = given.get(variable.name) or _find(variable, environment, keys)
        value = variable.default if found is None else _convert(variable, found)
        values[variable.field] = value
        origins[variable.name] = (
            DEFAULT if found is None else found.origin_as(variable.name, variable.key, variable.flag)
        )
    if values["store"] is None:
        values["store"], origins["CHATCLI_STORE"] = _default_store(values["s3_bucket"], origins, data_dir)
    prefix = "timeouts."
    timeouts = {
        name.removeprefix(prefix): values.pop(name) for name in list(values) if name.startswith(prefix)
    }
    return Settings(
        **values,
        timeouts=Timeouts(**timeouts),
        providers=config.providers if config else MappingProxyType({}),
        aliases=config.aliases if config else MappingProxyType({}),
        prices=config.prices if config else MappingProxyType({}),
        network=read_network(variables),
        config_file=config.path if config else config_dir / "config.toml",
        env_file=environment.env_file,
        config_dir=config_dir,
        data_dir=data_dir,
        origins=MappingProxyType(origins),
        environment=environment,
    )


def _read_flags(flags: Mapping[str, str | None]) -> dict[str, Found]:
    given: dict[str, Found] = {}
    for name, text in flags.items():
        option = _PATHS.get(name) or VARIABLES[name].flag
        if text is not None:
            given[name] = Found(text, option, f"flag {option}")
    return given


def _read_config(path: Path | None) -> "ConfigFile | None":
    if path is None:
        return None
    from chatcli.config.file import read_config

    return read_config(path)


def _find(variable: Variable, environment: Environment, keys: Mapping[str, Found]) -> Found | None:
    look = environment.find_key if variable.has_file else environment.find
    found = look(variable.name)
    if found is None and variable.second_name is not None:
        found = environment.find(variable.second_name)
    if found is None:
        found = keys.get(variable.key)
    if found is None and variable.has_file:
        found = keys.get(f"{variable.key}_file")
    return found


def _convert(variable: Variable, found: Found) -> object:
    named_in_file = variable.has_file and found.label in {f"{variable.name}_FILE", f"{variable.key}_file"}
    text = read_secret_file(found) if named_in_file else found.text
    try:
        value = anchor(variable.parse(text), found.directory)
    except (ValueError, RuntimeError, OSError):
        pass
    else:
        return Secret(text) if variable.secret else value
    # Out here, so that it has no context: that may quote the value.
    raise ConfigError(f"{found.place} must be {variable.allowed}")


def _default_store(bucket: str | None, origins: Mapping[str, str], data_dir: Path) -> tuple[str, str]:
    if bucket is None:
        return f"{SQLITE}{data_dir / 'chatcli.db'}", DEFAULT
    return f"s3://{bucket}/", f"{origins['S3_BUCKET_NAME']} (S3_BUCKET_NAME)"


def _named_file(found: Found | None) -> Path | None:
    """Return the file that a setting names; one that is not there raises `ConfigError`."""
    if found is None:
        return None
    path = Path(found.text)
    try:
        path = ((found.directory or Path.cwd()) / path.expanduser()).absolute()
        there = path.exists() and not path.is_dir()
    except (ValueError, RuntimeError, OSError):
        there = False
    if not there:
        raise ConfigError(f"{found.place} must be the path of a file, and {path} is none")
    return path


def _if_there(path: Path) -> Path | None:
    try:
        return path if path.exists() else None
    except PermissionError:
        # A daemon's home may be closed to it.
        return None
