"""Where settings come from: the platform's directories, the environment and ``.env``."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from chatcli.errors import ConfigError
from chatcli.frozen import Frozen

ENVIRONMENT = "environment"
_SIZE_LIMIT = 1 << 20


class Found(Frozen):
    """The text of a setting, and where it was."""

    text: str
    """It may be a secret, and does not show in the `repr`."""
    label: str
    """What the setting is called there: a variable, an option or a key."""
    origin: str
    """``environment``, ``flag --store``, or the path of a file."""
    directory: Path | None = None
    """What relative paths are taken from; None for the current directory."""

    def __repr__(self) -> str:
        return f"Found(label={self.label!r}, origin={self.origin!r}, directory={self.directory!r})"

    @property
    def place(self) -> str:
        """The setting and its origin, as messages name them."""
        if self.origin.startswith("flag "):
            return self.label
        return f"{self.label} in {'the ' if self.origin.startswith(ENVIRONMENT) else ''}{self.origin}"

    def origin_as(self, *names: str) -> str:
        """Return the origin, with what the setting is called there unless that is one of `names`."""
        return self.origin if self.label in names else f"{self.origin} ({self.label})"


class Environment:
    """The variables of the environment and, behind them, those of ``.env``; empty ones are not set."""

    __slots__ = ("_layers", "env_file")

    def __init__(self, variables: Mapping[str, str], env_file: Path | None = None) -> None:
        self.env_file = env_file
        self._layers: list[tuple[str, dict[str, str], Path | None]] = [(ENVIRONMENT, dict(variables), None)]
        if env_file is not None:
            self._layers.append((str(env_file), read_env_file(env_file), env_file.parent))

    def __repr__(self) -> str:
        return f"Environment({', '.join(origin for origin, _, _ in self._layers)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an environment may hold secrets and is not pickled")

    def find(self, name: str) -> Found | None:
        """Return the variable, without white space around it."""
        return self._find(name, None)

    def find_key(self, name: str) -> Found | None:
        """Return the variable, or else NAME_FILE, whichever layer comes first; see `Found.label`."""
        return self._find(name, f"{name}_FILE")

    def _find(self, name: str, second: str | None) -> Found | None:
        for origin, variables, directory in self._layers:
            for label in filter(None, (name, second)):
                if text := variables.get(label, "").strip():
                    return Found(text, label, origin, directory)
        return None


def find_directories(variables: Mapping[str, str]) -> tuple[Path, Path]:
    """Return the directories of settings and of data; neither is made here.

    XDG's variables count on every platform. Elsewhere than on macOS and Windows the answer of
    platformdirs is XDG's default, known without paying for the import.
    """
    chosen = [variables.get(name, "").strip() for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME")]
    config, data = (Path(text, "chatcli") if Path(text).is_absolute() else None for text in chosen)
    if config is None or data is None:
        config_default, data_default = _default_directories(variables)
        config, data = config or config_default, data or data_default
    return config, data


def _default_directories(variables: Mapping[str, str]) -> tuple[Path, Path]:
    if sys.platform in {"darwin", "win32"}:
        import platformdirs

        return (
            platformdirs.user_config_path("chatcli", appauthor=False),
            platformdirs.user_data_path("chatcli", appauthor=False),
        )
    try:
        home = Path(variables.get("HOME") or Path.home())
    except RuntimeError:
        home = None
    if home is None or not home.is_absolute():
        raise ConfigError(
            "there is no home directory to keep settings and data in",
            hint="set HOME, or XDG_CONFIG_HOME and XDG_DATA_HOME",
        )
    return home / ".config" / "chatcli", home / ".local" / "share" / "chatcli"


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a ``.env`` file, without interpolation. Raises `ConfigError`."""
    from io import StringIO

    # The parser itself, for dotenv_values() only logs a line that it does not understand.
    from dotenv.parser import parse_stream

    variables: dict[str, str] = {}
    for binding in parse_stream(StringIO(read_text(path, f"the settings in {path}"))):
        if binding.error:
            raise ConfigError(
                f"{path} can't be read: line {binding.original.line} is not NAME=VALUE",
                hint="put values with special characters into single quotes",
            )
        if binding.key is not None:
            variables[binding.key] = binding.value or ""
    return variables


def read_text(path: Path, what: str) -> str:
    """Return a small UTF-8 file. Raises `ConfigError`, which begins with `what` and holds no content."""
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "").lower()
    else:
        reason = "it is too large" if len(data) > _SIZE_LIMIT else ""
        try:
            if not reason:
                return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            reason = f"byte {error.start} is not UTF-8"
    raise ConfigError(f"{what} can't be read: {reason or 'there is no such file'}")
