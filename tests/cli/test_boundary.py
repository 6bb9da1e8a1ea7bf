"""The one boundary: every failure is one line, one hint and an exit code, never a traceback unasked."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chatcli import __version__

if TYPE_CHECKING:
    from tests.program import Chatcli

CANARY = "sk-canary-0123456789"

FAILING = """
import sys
from chatcli.cli import COMMANDS, Entry, main
from chatcli import errors

def fail(statement: str, json: bool = False) -> None:
    exec(statement)

COMMANDS["fail"] = Entry("__main__:fail", "Fail.")
sys.exit(main(sys.argv[1:]))
"""


def failing(
    chatcli: "Chatcli", statement: str, *words: str, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the program with one more command, in which `statement` happens."""
    return replace(chatcli, command=(sys.executable, "-c", FAILING))("fail", *words, "--", statement, env=env)


def test_version(chatcli: "Chatcli") -> None:
    """The version stands on one line, also where the option is not alone."""
    for words in (["--version"], ["--version", "history"]):
        done = chatcli(*words)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"chatcli {__version__}\n".encode(), b"")


def test_nothing_to_do_shows_the_help(chatcli: "Chatcli") -> None:
    """Without words the help is shown, and the exit code says that nothing was asked for."""
    done = chatcli()
    assert done.returncode == 2
    assert done.stdout == chatcli("--help").stdout == chatcli("-h").stdout
    assert b"history" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["histroy"], "No such command 'histroy'. Did you mean 'history'?"),
        (["history", "--bogus"], "No such option: --bogus"),
        (["history", "--tail", "x", "t"], "Invalid value for '--tail': 'x' is not a valid int range"),
        (["history", "one", "two"], "Got unexpected extra argument(s) (two)"),
        (["history", "--tail", "1"], "--tail needs a thread"),
        (["history", "--tail", "0", "t"], "Invalid value for '--tail': 0 is not in the range x>=1"),
        (["history", "t", "--all"], "--limit, --all, --archived and --search are for the list"),
    ],
)
def test_usage_errors(chatcli: "Chatcli", words: list[str], said: str) -> None:
    """A wrong command line is exit code 2 and two lines on standard error."""
    done = chatcli(*words)
    error, hint = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (2, b"")
    assert error == f"error: {said}"
    assert hint.startswith("hint: ")


def test_usage_errors_are_json_where_json_is_asked_for(chatcli: "Chatcli") -> None:
    """With --json a wrong command line is one JSON object on standard error."""
    done = chatcli("history", "--json", "--bogus")
    problem = json.loads(done.stderr)["error"]
    assert (done.returncode, done.stdout) == (2, b"")
    assert problem["type"] == "urn:chatcli:invalid-request"
    assert problem["detail"] == "No such option: --bogus"
    done = chatcli("history", "--json", "--format", "text")
    assert json.loads(done.stderr)["error"]["detail"] == "--json and --format text exclude each other"


def test_json_behind_a_double_dash_is_an_argument(chatcli: "Chatcli") -> None:
    """What stands after -- is no option of ours."""
    assert chatcli("history", "--bogus", "--", "--json").stderr.startswith(b"error: ")


def test_an_error_is_a_line_a_hint_and_the_code_of_its_class(chatcli: "Chatcli") -> None:
    """Our own errors show message and hint, and as JSON everything that is set."""
    raised = "raise errors.StoreFull('no room', hint='make some', saved=False)"
    done = failing(chatcli, raised)
    assert (done.returncode, done.stderr) == (74, b"error: no room\nhint: make some\n")
    done = failing(chatcli, raised, "--json")
    assert done.returncode == 74
    assert json.loads(done.stderr) == {
        "error": {
            "type": "urn:chatcli:store-full",
            "title": "store full",
            "status": 507,
            "detail": "no room",
            "hint": "make some",
            "saved": False,
        }
    }


def test_a_bug_shows_neither_a_traceback_nor_the_text_of_the_exception(chatcli: "Chatcli") -> None:
    """An exception that nobody expected is exit code 1 and two lines, and what it says stays hidden."""
    done = failing(chatcli, f"raise ValueError('Illegal header value {CANARY}')")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[0] == "error: a bug in chatcli (ValueError)"
    assert b"Traceback" not in done.stderr
    assert CANARY not in done.stderr.decode()


def test_a_bug_shows_where_it_is_if_asked(chatcli: "Chatcli") -> None:
    """LOG_LEVEL=DEBUG shows the frames, still without what the exception says."""
    done = failing(chatcli, f"raise ValueError({CANARY[:5]!r} + {CANARY[5:]!r})", LOG_LEVEL="DEBUG")
    assert done.returncode == 1
    assert b"Traceback (most recent call last):\n" in done.stderr
    assert b", in fail\n" in done.stderr
    assert CANARY not in done.stderr.decode()


def test_interrupting_is_quiet(chatcli: "Chatcli") -> None:
    """Ctrl-C ends a command with 130 and no words."""
    done = failing(chatcli, "raise KeyboardInterrupt")
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_a_reader_that_leaves_is_no_error(chatcli: "Chatcli") -> None:
    """A closed pipe, as of `| head`, ends the program quietly, whenever it is noticed."""
    for words in (["--help"], ["--version"]):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [*chatcli.command, *words],
            stdout=writing,
            stderr=subprocess.PIPE,
            env=dict(chatcli.environment),
            check=False,
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_a_full_device_is_an_error(chatcli: "Chatcli", words: list[str]) -> None:
    """What could not be written is never taken for written."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*chatcli.command, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            env=dict(chatcli.environment),
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr.startswith(b"error: standard output takes no more: No space left on device\nhint: ")


@pytest.mark.parametrize("words", ["--version", "history", "info"])
def test_no_standard_output_is_an_error(chatcli: "Chatcli", words: str) -> None:
    """With standard output closed from the start there is nobody to answer."""
    program = " ".join(chatcli.command)
    done = replace(chatcli, command=("sh", "-c", f"exec {program} {words} >&-"))()
    assert done.returncode == 74
    assert done.stderr.startswith(b"error: standard output is closed\nhint: ")


def test_no_standard_error_is_no_error(chatcli: "Chatcli") -> None:
    """With standard error closed, nothing that belongs there turns up in the answer."""
    program = " ".join(chatcli.command)
    done = replace(chatcli, command=("sh", "-c", f"exec {program} histroy 2>&-"))()
    assert (done.returncode, done.stdout) == (2, b"")


def test_errors_are_gated_on_a_terminal_only(chatcli: "Chatcli") -> None:
    """A terminal never gets a control character out of an error; a pipe gets the text as it is."""
    statement = r"raise errors.InvalidRequest('bad \x1b[31mname')"
    assert b"error: bad \x1b[31mname\n" in failing(chatcli, statement).stderr
    program = replace(chatcli, command=(sys.executable, "-c", FAILING))
    code, shown = program.on_terminal("fail", "--", statement, env={"NO_COLOR": "1"})
    assert (code, shown) == (2, "error: bad ␛[31mname\n")


@pytest.mark.parametrize(
    ("env", "styled"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_styles_are_for_terminals_that_want_them(
    chatcli: "Chatcli", env: dict[str, str], *, styled: bool
) -> None:
    """NO_COLOR and TERM=dumb are honoured, in errors and in the help."""
    code, shown = chatcli.on_terminal("histroy", env=env)
    assert code == 2
    assert ("\x1b" in shown) is styled
    code, shown = chatcli.on_terminal("--help", env=env)
    assert code == 0
    assert "history" in shown
    assert ("\x1b" in shown) is styled


def test_the_help_is_as_wide_as_the_terminal(chatcli: "Chatcli") -> None:
    """COLUMNS is honoured."""
    for columns in (60, 100):
        _, shown = chatcli.on_terminal("--help", env={"COLUMNS": str(columns), "NO_COLOR": "1"})
        assert max(map(len, shown.splitlines())) <= columns
