"""``config.toml``: what it may hold, and its reader."""

import math
import re
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from chatcli.config.credentials import ProviderSettings
from chatcli.config.settings import Price
from chatcli.config.sources import Found, read_text
from chatcli.config.values import parse_base_url, parse_text
from chatcli.config.variables import VARIABLES
from chatcli.errors import ConfigError
from chatcli.frozen import Frozen

_KEYS = {
    key
    for variable in VARIABLES.values()
    for key in (variable.key, variable.key + "_file")
    if key == variable.key or variable.has_file
}
_TABLES = ("timeouts", "providers", "aliases", "prices")
_PRICE_KEYS = ("input", "output")
_PROVIDER_KEYS = (
    "api_key_command",
    "api_key_env",
    "api_key_file",
    "base_url",
    "default_model",
    "engine",
    "headers",
    "sends_finish_reason",
)
ENGINES = ("wire", "langchain")
"""What may carry the requests of a provider; the first does where it can and nothing is said."""


class ConfigFile(Frozen):
    """What stands in a config.toml."""

    path: Path
    settings: Mapping[str, Found]
    """By key; keys of `[timeouts]` as ``timeouts.KEY``."""
    providers: Mapping[str, ProviderSettings]
    aliases: Mapping[str, str]
    prices: Mapping[str, Price]


def read_config(path: Path) -> ConfigFile:
    """Return the settings of a config.toml. Raises `ConfigError`, which never holds a value."""
    import tomllib

    text = read_text(path, f"the settings in {path}")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Only the place: the rest of the message may quote the file.
        place = re.search(r"at (line \d+, column \d+|end of document)", str(error))
    else:
        return _Reader(path).read(document)
    raise ConfigError(f"{path} is not TOML: error at {place[1] if place else 'an unknown place'}")


class _Reader:
    """Turns a parsed document into a `ConfigFile`; its errors name the file and the key."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, document: dict[str, Any]) -> ConfigFile:
        tables = {name: self._table(name, document.pop(name, {})) for name in _TABLES}
        flat = {f"timeouts.{key}": value for key, value in tables["timeouts"].items()}
        flat.update(document)
        settings: dict[str, Found] = {}
        for key, value in flat.items():
            self._check_key(key, {*_KEYS, *_TABLES})
            settings[key] = Found(self._scalar(key, value), key, str(self.path), self.path.parent)
        providers = {name: self._provider(name, table) for name, table in tables["providers"].items()}
        aliases = {
            name: self._text(f"aliases.{name}", value, "PROVIDER:MODEL")
            for name, value in tables["aliases"].items()
        }
        prices = {name: self._price(f"prices.{name}", table) for name, table in tables["prices"].items()}
        return ConfigFile(
            self.path,
            settings,
            MappingProxyType(providers),
            MappingProxyType(aliases),
            MappingProxyType(prices),
        )

    def _price(self, key: str, value: object) -> Price:
        table = self._table(key, value)
        for name in table:
            self._check_key(name, _PRICE_KEYS, f"{key}.")
        return Price(*(self._amount(f"{key}.{name}", table.get(name)) for name in _PRICE_KEYS))

    def _amount(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise self._wrong(key, "dollars per million tokens, a number from 0")
        return float(value)

    def _provider(self, name: str, value: object) -> ProviderSettings:
        prefix = f"providers.{name}"
        if re.fullmatch("[a-z][a-z0-9_-]*", name) is None:
            raise self._wrong(
                "a name under [providers]", "lower-case letters, digits, '_' and '-', a letter first"
            )
        table = self._table(prefix, value)
        for key in table:
            self._check_key(key, _PROVIDER_KEYS, f"{prefix}.")
        if sum(key.startswith("api_key_") for key in table) > 1:
            raise self._wrong(f"[{prefix}]", "given one api_key_… setting, not several")
        headers = self._table(f"{prefix}.headers", table.pop("headers", {}))
        finish = table.pop("sends_finish_reason", None)
        if not isinstance(finish, bool | None):
            raise self._wrong(f"{prefix}.sends_finish_reason", "true or false")
        texts = {
            key: self._text(f"{prefix}.{key}", value, "text of one line") for key, value in table.items()
        }
        if "base_url" in texts:
            try:
                texts["base_url"] = parse_base_url(texts["base_url"])
            except ValueError:
                raise self._wrong(f"{prefix}.base_url", "http://… or https://… without a user name") from None
        if texts.get("engine", ENGINES[0]) not in ENGINES:
            raise self._wrong(f"{prefix}.engine", " or ".join(f'"{name}"' for name in ENGINES))
        # Upper case only, so that a key that was put here by mistake is not taken for a name and shown.
        if re.fullmatch("[A-Z_][A-Z0-9_]*", texts.get("api_key_env", "_")) is None:
            raise self._wrong(f"{prefix}.api_key_env", "the name of a variable, in upper case")
        return ProviderSettings(
            name=name,
            headers=MappingProxyType(self._headers(f"{prefix}.headers", headers)),
            sends_finish_reason=finish,
            origin=str(self.path),
            **texts,
        )

    def _headers(self, prefix: str, table: dict[str, Any]) -> dict[str, str]:
        for name, value in table.items():
            if re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII) is None:
                raise self._wrong(f"a name in [{prefix}]", "the name of an HTTP header")
            if not isinstance(value, str) or re.fullmatch("[!-~]([ -~]*[!-~])?", value) is None:
                raise self._wrong(f"{prefix}.{name}", "text of visible ASCII characters")
        return table

    def _table(self, key: str, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(key, f"a table, [{key}]")
        return dict(value)

    def _scalar(self, key: str, value: object) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, str | int | float | date):
            raise self._wrong(key, "one value, not a list, a table or a time")
        return str(value).strip()

    def _text(self, key: str, value: object, allowed: str) -> str:
        try:
            return parse_text(value if isinstance(value, str) else "")
        except ValueError:
            raise self._wrong(key, allowed) from None

    def _check_key(self, key: str, known: Collection[str], prefix: str = "") -> None:
        if key in known:
            return
        from difflib import get_close_matches

        near = get_close_matches(key, sorted(known), n=1, cutoff=0.5)
        raise ConfigError(
            f"{self.path} has an unknown setting: {prefix}{key}",
            hint=f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(sorted(known))}",
        )

    def _wrong(self, key: str, allowed: str) -> ConfigError:
        return ConfigError(f"{key} in {self.path} must be {allowed}")
