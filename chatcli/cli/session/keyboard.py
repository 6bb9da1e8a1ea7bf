"""The keyboard while no prompt is there."""

import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def has_gone() -> bool:
    """Say whether the terminal is no longer there."""
    try:
        termios.tcgetattr(sys.stdin.fileno())
    except (termios.error, OSError, ValueError):
        return True
    return False


@contextmanager
def silent_keys() -> Iterator[None]:
    """Don't show what is typed while an answer comes: it would stand in the middle of it.

    It is there at the next prompt, and not sent by itself, even if a line end is in it.
    """
    descriptor = sys.stdin.fileno()
    try:
        before = termios.tcgetattr(descriptor)
        quiet = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
        termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    except (termios.error, OSError):  # the terminal has gone
        yield
        return
    try:
        yield
    finally:
        with suppress(termios.error, OSError):
            termios.tcsetattr(descriptor, termios.TCSANOW, before)
