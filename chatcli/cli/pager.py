"""The pager: long text on a terminal, one screen at a time."""

import shlex
import signal
import subprocess
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatcli.config import TerminalSettings

LESS_OPTIONS = ("-F", "-R", "-X")
"""Leave at once if it fits, pass styles, leave the text on the screen."""


def pager_command(terminal: "TerminalSettings") -> list[str]:
    """Return the words of the pager to start: those of PAGER, else less; none for ``cat``.

    Where LESS says nothing, less gets the options that git gives it.
    """
    try:
        words = shlex.split(terminal.pager or "less")
    except ValueError:
        return []
    if not words or words == ["cat"]:
        return []
    if PurePath(words[0]).name == "less" and terminal.less is None:
        words[1:1] = LESS_OPTIONS
    return words


def show(text: str, terminal: "TerminalSettings") -> bool:
    """Show `text` in the pager; False if there is none to start."""
    words = pager_command(terminal)
    if not words:
        return False
    try:
        pager = subprocess.Popen(words, stdin=subprocess.PIPE)
    except OSError:
        return False
    # Ctrl-C is the pager's: it must not lose the terminal to a shell while it still draws.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # A pager that is left early is no error to `communicate` either.
        pager.communicate(text.encode("utf-8", "backslashreplace"))
    finally:
        signal.signal(signal.SIGINT, before)
    return True
