"""Writing: the answer to standard output, exact in a pipe, gated on a terminal; the rest elsewhere."""

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from io import TextIOWrapper
from typing import TYPE_CHECKING, TextIO

from chatcli.cli.terminal import FORBIDDEN, visible
from chatcli.errors import ChatcliError, OutputClosed

if TYPE_CHECKING:
    from chatcli.config import TerminalSettings

_DIM, _BOLD, _RED, _RESET = "\x1b[2m", "\x1b[1m", "\x1b[1;31m", "\x1b[0m"


@cache
def terminal() -> "TerminalSettings":
    """Return what the environment says about the terminal; it is read once."""
    from chatcli.config import read_terminal

    return read_terminal()


def prepare() -> None:
    """Make both streams UTF-8 without translation of line ends, whatever the locale says."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # It flushes first, and then it is the answer's turn to fail, not ours.
            with suppress(OSError):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


def is_terminal(stream: TextIO | None) -> bool:
    """Say whether somebody watches `stream`; a closed one is none."""
    return stream is not None and not stream.closed and stream.isatty()


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return gated `text` in a style, ``bold`` or ``dim``, if `stream` (stdout) shows styles."""
    if not _shows_styles(sys.stdout if stream is None else stream):
        return text
    return f"{_BOLD if style == 'bold' else _DIM}{text}{_RESET}"


def _shows_styles(stream: TextIO | None) -> bool:
    return is_terminal(stream) and not terminal().no_color


def screen_size() -> os.terminal_size:
    """Return columns and lines of the terminal on standard output; COLUMNS counts first."""
    try:
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        columns, lines = 0, 0
    # A terminal that does not know its size says 0.
    return os.terminal_size((terminal().columns or columns or 80, lines or 24))


def require_stdout() -> None:
    """Raise `OutputClosed` if there is no standard output, before anything is done for it."""
    _stdout()


def write(text: str) -> None:
    """Write `text` to standard output as it is.

    Raises:
        OutputClosed: it is closed, or takes no more.
        BrokenPipeError: its reader went away.
    """
    stream = _stdout()
    try:
        stream.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _refused(error) from None


def flush() -> None:
    """Hand everything that was written to the system. Raises what `write` does."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _refused(error) from None


def json_line(value: object) -> str:
    """Return one JSON document on one line, with its line end.

    Characters that a terminal must not see are escaped, which changes nothing for who parses it.
    """
    import json

    document = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub(FORBIDDEN, _escape, document) + "\n"


def write_json(value: object) -> None:
    """Write one JSON document on one line."""
    write(json_line(value))


def say(text: str) -> None:
    """Write lines to standard error, gated if it is a terminal; nobody listening is no error."""
    stream = sys.stderr
    if stream is None:
        return
    with suppress(OSError):
        stream.write((visible(text) if is_terminal(stream) else text) + "\n")
        stream.flush()


def note(text: str) -> None:
    """`say`, dim where styles are shown."""
    if _shows_styles(sys.stderr):
        with suppress(OSError):
            sys.stderr.write(f"{_DIM}{visible(text)}{_RESET}\n")
            sys.stderr.flush()
    else:
        say(text)


def say_error(message: str, hint: str | None) -> None:
    """Write the two lines that every error has; the second only where there is something to do."""
    label = f"{_RED}error:{_RESET} " if _shows_styles(sys.stderr) else "error: "
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(label)
    say(message)
    if hint is not None:
        say(f"hint: {hint}")


def say_problem(error: ChatcliError, *, as_json: bool, **about: str) -> None:
    """Write an error, as one JSON object with `about` beside it where JSON was asked for."""
    if as_json:
        import json

        say(json.dumps({"error": error.to_json(), **about}))
    else:
        say_error(error.message, error.hint)


def can_ask() -> bool:
    """Say whether there is a person to ask: standard input and output are terminals."""
    return is_terminal(sys.stdin) and is_terminal(sys.stdout)


def can_talk() -> bool:
    """Say whether there is a person and a terminal that a line can be edited on."""
    return can_ask() and not terminal().dumb


def ask(question: str) -> bool:
    """Return whether the person at the terminal says yes; anything else, and no answer, is a no.

    The question is written to standard error, unless that goes elsewhere.
    """
    flush()
    stream = sys.stderr if is_terminal(sys.stderr) else _stdout()
    stream.write(f"{visible(question)} [y/N] ")
    stream.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        stream.write("\n")
    return answer.strip().lower() in {"y", "yes"}


def settle() -> None:
    """Hand over what can be, and drop the rest, so that the interpreter's last flush can't fail."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def page(text: str) -> None:
    """Write gated `text`; through the pager if it is longer than the screen and a person watches."""
    if is_terminal(sys.stdin) and is_terminal(sys.stdout) and not terminal().dumb:
        columns, lines = screen_size()
        if sum(1 + len(line) // columns for line in text.splitlines()) >= lines:
            from chatcli.cli.pager import show

            flush()
            if show(text, terminal()):
                return
    write(text)


def write_lines(lines: Iterable[str]) -> None:
    """Write lines one by one, in constant memory."""
    for line in lines:
        write(line + "\n")


def _stdout() -> TextIO:
    if sys.stdout is None or sys.stdout.closed:
        raise OutputClosed("standard output is closed", hint="send it to /dev/null if it is not wanted")
    return sys.stdout


def _refused(error: OSError) -> OutputClosed:
    return OutputClosed(
        f"standard output takes no more: {error.strerror}", hint="see whether the disk behind it is full"
    )


def _escape(match: re.Match[str]) -> str:
    """Return a character as JSON escapes it, above the basic plane as a surrogate pair."""
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
