"""The command `history`: lists and turns, exact in a pipe, gated and readable on a terminal."""

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from chatcli.models import TurnState
from tests.cli.seed import archive, keep

if TYPE_CHECKING:
    from tests.program import Chatcli

NASTY = "a\x1b[31m [red]b[/red] [/i]\r\u202e\u2028\tpipe | `x`\n\n  tail  \n"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
LONG_ID = "long-" + "x" * 100


def lines(data: bytes) -> list[dict[str, object]]:
    """Return the JSON objects of a list."""
    return [json.loads(line) for line in data.decode().splitlines()]


def test_an_empty_store_says_how_to_begin(chatcli: "Chatcli") -> None:
    """With nothing to list, standard output is empty, and a line elsewhere says what to do."""
    for words in ([], ["--json"]):
        done = chatcli("history", *words)
        assert (done.returncode, done.stdout) == (0, b"")
        assert done.stderr == b'no threads yet; begin one: chatcli chat "hello"\n'
    assert chatcli("history", "--quiet").stderr == b""
    assert chatcli("history", "--archived").stderr == b"no archived threads\n"


def test_the_list_in_a_pipe(chatcli: "Chatcli") -> None:
    """A thread is a line of tab-separated fields, newest used first, archived ones only if asked for."""
    keep(chatcli, "first", title="One\ttwo\nthree")
    keep(chatcli, "second", title="Größe \x1b[2J")
    keep(chatcli, "third")
    keep(chatcli, "first", title="One\ttwo\nthree")
    archive(chatcli, "third")
    first, second = chatcli("history").stdout.decode().splitlines()
    assert re.fullmatch(rf"first\tOne two three\t2\t{TIME}\t", first)
    assert re.fullmatch(rf"second\tGröße \x1b\[2J\t1\t{TIME}\t", second)
    assert len(chatcli("history", "--all").stdout.splitlines()) == 3
    assert re.fullmatch(
        rf"third\tA talk\t1\t{TIME}\t{TIME}\n", chatcli("history", "--archived").stdout.decode()
    )


def test_the_list_as_json(chatcli: "Chatcli") -> None:
    """With --json each thread is one object on a line, with exactly the documented fields."""
    keep(chatcli, "first", title=NASTY.replace("\n", " "))
    (thread,) = lines(chatcli("history", "--json").stdout)
    assert list(thread) == [
        "id",
        "title",
        "turn_count",
        "created_at",
        "updated_at",
        "archived_at",
        "language",
        "owner",
    ]
    assert thread["title"] == NASTY.replace("\n", " ")
    assert thread["archived_at"] is None


def test_the_list_is_limited(chatcli: "Chatcli") -> None:
    """Twenty threads are listed; -n says how many else, 0 all of them."""
    for number in range(23):
        keep(chatcli, f"thread-{number:02}")
    for words, count in ([], 20), (["-n", "3"], 3), (["--limit", "0"], 23), (["-n", "100"], 23):
        found = [thread["id"] for thread in lines(chatcli("history", "--json", *words).stdout)]
        assert found == [f"thread-{number:02}" for number in reversed(range(23))][:count]


def test_turns_in_a_pipe_are_exact(chatcli: "Chatcli") -> None:
    """Messages come byte for byte, under a line with number, role, time, and model and state of answers."""
    talk = [
        (NASTY, "fine", TurnState.COMPLETE),
        ("more", "cut h", TurnState.INTERRUPTED),
        ("again", "", TurnState.FAILED),
    ]
    keep(chatcli, "first", talk)
    done = chatcli("history", "first")
    assert (done.returncode, done.stderr) == (0, b"")
    text = re.sub(TIME, "TIME", done.stdout.decode())
    assert text == (
        f"[1] human TIME\n{NASTY}\n\n[1] ai TIME offline\nfine\n\n"
        "[2] human TIME\nmore\n\n[2] ai TIME offline (interrupted)\ncut h\n\n"
        "[3] human TIME\nagain\n\n[3] ai TIME offline (failed) the key was refused\n\n"
    )
    tail = chatcli("history", "first", "--tail", "1").stdout.decode()
    assert re.sub(TIME, "TIME", tail) == text[text.index("[3] human") :]


def test_turns_as_json(chatcli: "Chatcli") -> None:
    """With --json a thread is one document with its turns, oldest first, and text survives unchanged."""
    keep(chatcli, "first", [(NASTY, "one", TurnState.COMPLETE), ("two", "", TurnState.FAILED)], title="T")
    done = chatcli("history", "first", "--json")
    document = json.loads(done.stdout)
    assert done.stdout == chatcli("history", "first", "--format", "json").stdout
    assert (document["id"], document["title"], document["turn_count"]) == ("first", "T", 2)
    one, two = document["turns"]
    assert list(one) == [
        "id",
        "index",
        "state",
        "started_at",
        "finished_at",
        "model",
        "finish_reason",
        "usage",
        "error",
        "messages",
    ]
    assert (one["index"], one["state"], one["usage"]) == (
        1,
        "complete",
        {"input_tokens": 3, "output_tokens": 4},
    )
    assert [message["role"] for message in one["messages"]] == ["human", "ai"]
    assert one["messages"][0]["content"] == NASTY
    assert two["error"] == {"name": "provider-auth", "message": "the key was refused"}
    assert lines(chatcli("history", "first", "--format", "jsonl").stdout) == [one, two]


def test_json_holds_nothing_that_a_terminal_must_not_see(chatcli: "Chatcli") -> None:
    """Control and bidi characters are escaped in JSON, so that looking at it is safe; letters are not."""
    keep(chatcli, "first", [("ü \x9b \u202e \U000e0041", "ok", TurnState.COMPLETE)])
    text = chatcli("history", "first", "--json").stdout.decode()
    assert r"ü \u009b \u202e \udb40\udc41" in text


def test_turns_as_markdown_in_a_pipe(chatcli: "Chatcli") -> None:
    """Markdown in a pipe is the source, not what it looks like."""
    keep(chatcli, "first", [("why", "**because**", TurnState.COMPLETE)], title="Why")
    text = re.sub(TIME, "TIME", chatcli("history", "first", "--format", "markdown").stdout.decode())
    assert text == "# Why\n\n## [1] human TIME\n\nwhy\n\n## [1] ai TIME offline\n\n**because**\n\n"


def test_a_thread_is_named_by_id_prefix_or_last(chatcli: "Chatcli") -> None:
    """A unique beginning and @last find a thread; anything else is an error, never another thread."""
    keep(chatcli, "alpha-one")
    keep(chatcli, "alpha-two")
    keep(chatcli, "beta")
    for reference, thread_id in ("alpha-o", "alpha-one"), ("@last", "beta"), ("alpha-two", "alpha-two"):
        assert json.loads(chatcli("history", reference, "--json").stdout)["id"] == thread_id
    done = chatcli("history", "gamma")
    assert (done.returncode, done.stdout) == (66, b"")
    assert done.stderr == b"error: there is no thread gamma\nhint: chatcli history lists the threads\n"
    done = chatcli("history", "alpha", "--json")
    problem = json.loads(done.stderr)["error"]
    assert (done.returncode, done.stdout, problem["type"]) == (2, b"", "urn:chatcli:invalid-request")
    assert "alpha-one" in problem["hint"]
    assert "alpha-two" in problem["hint"]


def test_another_store(chatcli: "Chatcli") -> None:
    """--store looks elsewhere."""
    keep(chatcli, "first")
    assert chatcli("history", "first", "--store", f"sqlite:///{chatcli.home}/other.db").returncode == 66
    assert chatcli("history", "first", "--store", f"sqlite:///{chatcli.database}").returncode == 0


def test_the_table_on_a_terminal(chatcli: "Chatcli") -> None:
    """A terminal gets a table that is gated, as wide as it is, and never cuts an id."""
    keep(chatcli, "first", title="\x1b[2J 日本語 " + "word " * 20)
    keep(chatcli, "second", title="Short")
    archive(chatcli, "second")
    code, shown = chatcli.on_terminal("history", "--all", env={"NO_COLOR": "1"})
    head, second, first = shown.splitlines()
    assert code == 0
    assert head.split() == ["ID", "TITLE", "TURNS", "LAST", "USED"]
    assert re.search(r"second +Short +1  \d{4}-\d\d-\d\d \d\d:\d\d  archived$", second)
    assert first.startswith("first   ␛[2J 日本語 word")
    assert "…" in first
    # Three characters take two columns each, and the archived column of 10 is empty here.
    assert len(first) + 3 + 10 == 80
    keep(chatcli, LONG_ID, title="Its title")
    _, shown = chatcli.on_terminal("history", env={"NO_COLOR": "1"})
    assert LONG_ID in shown
    assert "\n  Its title\n" in shown


def test_turns_on_a_terminal(chatcli: "Chatcli") -> None:
    """Answers are rendered, prompts are not, and nothing in either reaches the terminal or Rich raw."""
    table = "| a | b |\n|---|---|\n| 1 | https://example.com/" + "long/" * 20 + "end |\n"
    answer = f"**bold** [red]x[/red] [/i] \x1b[2J\n\n[text](https://example.com/)\n\n{table}"
    keep(chatcli, "first", [("**plain** \x1b[2J", answer, TurnState.TRUNCATED)], title="A \x1b[2J title")
    code, shown = chatcli.on_terminal("history", "first")
    assert code == 0
    assert "\x1b[1mA ␛[2J title" in shown
    assert "**plain** ␛[2J\n" in shown
    assert "\x1b[1mbold\x1b[0m [red]x[/red] [/i] ␛[2J\n" in shown
    assert "offline (truncated)" in shown
    assert "\x1b]" not in shown
    bare = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "\x1b" not in bare
    assert "https://example.com/" in bare
    assert ("https://example.com/" + "long/" * 20 + "end") in re.sub(r"\s", "", bare)
    assert not [line for line in bare.splitlines() if line.endswith(" ") or len(line) > 80]


def test_text_on_a_terminal_is_not_rendered(chatcli: "Chatcli") -> None:
    """--format text shows answers as they were written."""
    keep(chatcli, "first", [("q", "**bold**", TurnState.COMPLETE)])
    _, shown = chatcli.on_terminal("history", "first", "--format", "text")
    assert "**bold**\n" in shown


def test_no_color_means_no_styles(chatcli: "Chatcli") -> None:
    """NO_COLOR and TERM=dumb leave not one escape sequence in a rendered thread."""
    keep(chatcli, "first", [("q", "**bold** `code`\n\n```python\nx = 1\n```\n", TurnState.COMPLETE)])
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        _, shown = chatcli.on_terminal("history", "first", env=env)
        assert "\x1b" not in shown
        assert "bold code" in shown


@pytest.mark.parametrize(("tail", "paged"), [(["--tail", "1"], False), ([], True)])
def test_long_output_is_paged(chatcli: "Chatcli", tail: list[str], *, paged: bool) -> None:
    """The pager of PAGER is used where output is longer than the screen, and both ends are terminals."""
    keep(chatcli, "first", [(f"question {number}", "yes", TurnState.COMPLETE) for number in range(20)])
    pager = {"PAGER": "sed s/question/paged/", "NO_COLOR": "1"}
    _, shown = chatcli.on_terminal("history", "first", *tail, env=pager)
    assert ("paged 19" in shown) is paged
    assert ("question 19" in shown) is not paged
    _, shown = chatcli.on_terminal("history", "first", *tail, env=pager, stdin=False)
    assert "paged" not in shown
    assert b"paged" not in chatcli("history", "first", env=pager).stdout


@pytest.mark.parametrize("pager", ["/nonexistent/pager", "cat", "'unclosed"])
def test_a_pager_that_is_none_loses_nothing(chatcli: "Chatcli", pager: str) -> None:
    """Where the pager can't be started, or is cat, the text is written all the same."""
    keep(chatcli, "first", [(f"question {number}", "yes", TurnState.COMPLETE) for number in range(20)])
    code, shown = chatcli.on_terminal("history", "first", env={"PAGER": pager, "NO_COLOR": "1"})
    assert code == 0
    assert "question 0\n" in shown
    assert "question 19\n" in shown


def test_a_pager_that_is_left_early_is_no_error(chatcli: "Chatcli") -> None:
    """Leaving the pager before the end is how pagers are used."""
    keep(chatcli, "first", [("x" * 200_000, "yes", TurnState.COMPLETE)])
    code, shown = chatcli.on_terminal("history", "first", env={"PAGER": "true"})
    assert (code, shown) == (0, "")


def test_a_thread_as_a_page(chatcli: "Chatcli") -> None:
    """HTML is one page that loads nothing, runs nothing, and shows text as text."""
    evil = "<script>alert(1)</script> & <img src=x onerror=alert(1)> \x1b[2J \u202e</pre>"
    keep(chatcli, "first", [(evil, evil, TurnState.COMPLETE), ("q", "", TurnState.FAILED)], title=evil)
    done = chatcli("history", "first", "--format", "html")
    assert (done.returncode, done.stderr) == (0, b"")
    page = done.stdout.decode()
    reader = Tags()
    reader.feed(page)
    reader.close()
    assert set(reader.tags) == {
        *("html", "head", "meta", "title", "style", "body", "header", "h1", "p", "article", "h2", "pre"),
    }
    assert reader.tags.count("article") == 4
    assert (
        reader.text.count("<script>alert(1)</script> & <img src=x onerror=alert(1)> ␛[2J <U+202E></pre>") == 4
    )
    assert "default-src 'none'" in page
    assert chatcli("history", "--format", "html").returncode == 2


class Tags(HTMLParser):
    """The tags of a page and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag; none has a handler of events."""
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data
