"""`history --search`: what is found, and how it is shown."""

import json
import re
from typing import TYPE_CHECKING

from chatcli.cli.hits import marked_line
from chatcli.models import TurnState
from tests.cli.seed import archive, keep

if TYPE_CHECKING:
    from tests.program import Chatcli


def test_the_thread_and_the_line_that_matches(chatcli: "Chatcli") -> None:
    """Programs get the thread with its match, in a pipe one line a thread, and marks fit the line."""
    keep(chatcli, "tea", [("about tea", "First line.\nThe Teapot\tis blue.", TurnState.COMPLETE)], title="T")
    keep(chatcli, "coffee", [("about coffee", "black", TurnState.COMPLETE)])
    (found,) = [
        json.loads(line) for line in chatcli("history", "--search", "teapot", "--json").stdout.splitlines()
    ]
    match = found["match"]
    assert (found["id"], match["turn_index"], match["line"]) == ("tea", 1, "The Teapot\tis blue.")
    assert [match["line"][start:end] for start, end in match["marks"]] == ["Teapot"]
    fields = chatcli("history", "--search", "teapot").stdout.decode().rstrip("\n").split("\t")
    assert fields[0] == "tea"
    assert fields[5:] == ["1", "The Teapot is blue."]


def test_scope_and_limit(chatcli: "Chatcli") -> None:
    """Archived threads are found if asked for, and no more than the limit."""
    for name in ("one", "two", "three"):
        keep(chatcli, name, [("needle", "yes", TurnState.COMPLETE)])
    archive(chatcli, "two")

    def found(*words: str) -> set[str]:
        done = chatcli("history", "--search", "needle", *words)
        assert done.returncode == 0
        return {line.split("\t")[0] for line in done.stdout.decode().splitlines()}

    assert found() == {"one", "three"}
    assert found("--archived") == {"two"}
    assert found("--all") == {"one", "two", "three"}
    assert len(found("--all", "-n", "2")) == 2
    assert found("-n", "0") == {"one", "three"}


def test_nothing_has_a_special_meaning(chatcli: "Chatcli") -> None:
    """No text is a syntax error, and nothing found is no error."""
    keep(chatcli, "one", [("hello", "world", TurnState.COMPLETE)])
    for text in ('"', "(", "a AND", "*", "NEAR(", "hello OR", "-world", "^x", "col:x", "'; --", "[/i]", "\\"):
        done = chatcli("history", f"--search={text}")
        assert (done.returncode, b"error" in done.stderr) == (0, False), text
    done = chatcli("history", "--search", "nosuchword")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"nothing was found; --all looks everywhere\n"
    assert chatcli("history", "--search", "nosuchword", "-q").stderr == b""


def test_a_hit_on_a_terminal(chatcli: "Chatcli") -> None:
    """The words stand out in bold, nothing reaches the terminal raw, and no line is wider than it."""
    keep(chatcli, "tea", [("x", "pad " * 50 + "\x1b[2J needle [/i] " + "pad " * 50, TurnState.COMPLETE)])
    _, shown = chatcli.on_terminal("history", "--search", "needle")
    assert "␛[2J \x1b[1mneedle\x1b[0m [/i] pad" in shown
    bare = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "\x1b" not in bare
    assert max(map(len, bare.splitlines())) <= 80
    _, shown = chatcli.on_terminal("history", "--search", "needle", env={"NO_COLOR": "1"})
    assert "\x1b" not in shown


def test_only_the_list_is_searched(chatcli: "Chatcli") -> None:
    """A search within one thread is not offered, so it is refused."""
    keep(chatcli, "tea")
    assert chatcli("history", "tea", "--search", "x").returncode == 2


def test_the_mark_is_always_in_sight() -> None:
    """Of a line that is too long, the part with the first mark is shown, in the width there is."""
    for width in range(8, 60):
        for start in (0, 1, 30, 59, 60, 61, 500, 995):
            line = "x" * start + "needle" + "日本" * 100
            shown = marked_line(line, [(start, start + 6)], width=width)
            assert len(shown) + sum(letter in "日本" for letter in shown) <= width
            if width > 12:
                assert "needle" in shown
    assert marked_line("short", [(1, 3), (2, 4)], width=5) == "short"
    assert marked_line("a\x1bb\tc", [(1, 2)], width=9) == "a␛b␉c"
    assert marked_line("shorter", [], width=5) == "shor…"
    assert marked_line("", [], width=5) == ""
