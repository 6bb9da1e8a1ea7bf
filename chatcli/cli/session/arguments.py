"""The arguments of slash commands."""

import re
from pathlib import Path

from chatcli.cli.session.table import BY_NAME
from chatcli.errors import InvalidRequest


def path_of(argument: str) -> Path:
    """Return the file that an argument names."""
    try:
        return Path(argument).expanduser()
    except RuntimeError:
        raise InvalidRequest("there is no such user") from None


def needed(argument: str, name: str) -> str:
    """Return the argument of a command that needs one."""
    if not argument:
        raise InvalidRequest(f"{name} needs more", hint=BY_NAME[name].usage)
    return argument


def nothing(argument: str, name: str) -> None:
    """Refuse an argument where there is none to give."""
    if argument:
        raise InvalidRequest(f"{name} takes nothing", hint=BY_NAME[name].help)


def number_of(argument: str, name: str) -> int:
    """Return the number that an argument is."""
    if re.fullmatch("0*[1-9][0-9]{0,5}", argument) is None:
        raise InvalidRequest(f"{name} takes a number from 1", hint=BY_NAME[name].usage)
    return int(argument)
