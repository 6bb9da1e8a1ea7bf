"""Parsers of single settings: text in, the value out, `ValueError` where it is not allowed.

What they raise says nothing of the text: whoever calls them says what would be allowed.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
RATE_UNITS: Mapping[str, float] = MappingProxyType(
    {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
)
SQLITE = "sqlite:///"
UNIX = "unix://"

_CONTROL = "[\x00-\x1f\x7f-\x9f\ud800-\udfff]"
_BASE_URL = r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^\s?#\\]*)?"
_BOOLEANS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def parse_text(text: str) -> str:
    """Return text of one line that can be shown and stored."""
    if not text or re.search(_CONTROL, text):
        raise ValueError
    return text


def parse_keys(text: str) -> str:
    """Return text that may hold several keys, on a line each or separated by commas."""
    for line in text.splitlines():
        parse_text(line.strip() or " ")
    return text


def parse_token(text: str) -> str:
    """Return a key or token that fits into an HTTP header."""
    if re.fullmatch("[!-~]+", text) is None:
        raise ValueError
    return text


def parse_count(text: str) -> int:
    """Return a whole number above 0."""
    if re.fullmatch("0*[1-9][0-9]{0,8}", text) is None:
        raise ValueError
    return int(text)


def parse_seconds(text: str) -> float:
    """Return a finite number above 0."""
    seconds = float(text)
    if "_" in text or not (math.isfinite(seconds) and seconds > 0):
        raise ValueError
    return seconds


def parse_switch(text: str) -> bool:
    """Return what one of the usual words for on and off says."""
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise ValueError from None


def parse_rate(text: str) -> tuple[int, float]:
    """Return (requests, seconds) of a rate such as ``60/minute``."""
    count, _, unit = text.partition("/")
    if unit not in RATE_UNITS:
        raise ValueError
    return parse_count(count), RATE_UNITS[unit]


def check_rate(text: str) -> str:
    """Return `text` if it is a rate."""
    parse_rate(text)
    return text


def check_age(text: str) -> str:
    """Return `text` if it is an age, such as ``90d``, or a date."""
    if re.fullmatch("0*[1-9][0-9]{0,4}[hdwy]", text):
        return text
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) is None:
        raise ValueError
    from datetime import date

    date.fromisoformat(text)
    return text


def parse_log_level(text: str) -> str:
    """Return the name of a level of `logging`."""
    level = text.upper()
    if level not in LOG_LEVELS:
        raise ValueError
    return level


def parse_log_format(text: str) -> str:
    """Return the name of a form of log lines."""
    if text not in {"json", "console"}:
        raise ValueError
    return text


def parse_path(text: str) -> Path:
    """Return a path with ``~`` expanded; it may still be relative."""
    return Path(parse_text(text)).expanduser()


def parse_bucket(text: str) -> str:
    """Return the name of an S3 bucket."""
    if re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{1,253}", text) is None:
        raise ValueError
    return text


def parse_base_url(text: str) -> str:
    """Return an HTTP URL without a slash at its end."""
    if re.fullmatch(_BASE_URL, parse_text(text)) is None:
        raise ValueError
    return text.rstrip("/")


def parse_server(text: str) -> str:
    """Return the URL of a chatcli server: as HTTP has them, or of a socket file."""
    if text.startswith(UNIX):
        path = str(parse_path(text.removeprefix(UNIX)))
        if not path.startswith("/"):
            raise ValueError
        return UNIX + path
    return parse_base_url(text)


def parse_redis_url(text: str) -> str:
    """Return the URL of a Redis server."""
    if re.match(r"(rediss?|unix)://.", parse_text(text)) is None:
        raise ValueError
    return text


def parse_store(text: str) -> str:
    """Return the URL of a store, its scheme in lower case and known; a path in it may be relative."""
    scheme, mark, rest = parse_text(text).partition("://")
    scheme = {"postgres": "postgresql"}.get(scheme.lower(), scheme.lower())
    known = {
        "sqlite": rest.startswith("/") and rest[1:] != ":memory:" and not rest.endswith("/"),
        "memory": not rest,
        "postgresql": True,
        "s3": re.match("[A-Za-z0-9]", rest) is not None,
    }
    if not mark or not known.get(scheme, False):
        raise ValueError
    return f"{scheme}://{rest}"


def anchor(value: object, directory: Path | None) -> object:
    """Return `value` with a relative path, a SQLite store's too, made absolute.

    It is taken from `directory`, or from the current one.
    """
    if isinstance(value, Path):
        return value if value.is_absolute() else (directory or Path.cwd()) / value
    if isinstance(value, str) and value.startswith(SQLITE):
        return f"{SQLITE}{anchor(parse_path(value.removeprefix(SQLITE)), directory)}"
    return value
