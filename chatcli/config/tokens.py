"""The file of bearer tokens that the server accepts."""

import re
from pathlib import Path
from typing import NamedTuple

from chatcli.config.secret import Secret
from chatcli.config.sources import read_text
from chatcli.config.values import parse_token
from chatcli.errors import ConfigError
from chatcli.models import LOCAL_OWNER


class ApiToken(NamedTuple):
    """A bearer token, and the owner of the threads that it opens."""

    owner: str
    secret: Secret


def read_tokens(path: Path) -> tuple[ApiToken, ...]:
    """Return the tokens of a file with a line ``NAME:TOKEN`` or ``TOKEN`` for each.

    A token without a name opens the threads of the shell. A name may have several tokens; empty
    lines and those that begin with ``#`` are skipped. Raises `ConfigError`, which names the line.
    """
    tokens: dict[str, str] = {}
    for number, line in enumerate(read_text(path, f"the tokens in {path}").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, colon, rest = text.partition(":")
        owner, token = (name, rest) if colon else (LOCAL_OWNER, text)
        try:
            parse_token(token)
        except ValueError:
            raise ConfigError(
                f"line {number} of {path} must be NAME:TOKEN or TOKEN, without spaces"
            ) from None
        if re.fullmatch("[a-z0-9][a-z0-9_-]{0,63}", owner) is None:
            raise ConfigError(
                f"line {number} of {path} must have a name of lower-case letters, digits, '_' and '-'"
            )
        if colon and owner == LOCAL_OWNER:
            raise ConfigError(
                f"line {number} of {path} has the name {owner}, which is the shell's",
                hint="a token without a name opens the threads of the shell; take another name for others",
            )
        if tokens.setdefault(token, owner) != owner:
            raise ConfigError(f"line {number} of {path} gives the token of another name")
    if not tokens:
        raise ConfigError(f"{path} holds no token")
    return tuple(ApiToken(owner, Secret(token)) for token, owner in tokens.items())
