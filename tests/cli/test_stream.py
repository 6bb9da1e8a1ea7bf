"""What streamed Markdown promises: everything once, nothing lost, nothing but drawing, whatever the pace."""

import os
import random
import re
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from chatcli.cli.markdown import render
from chatcli.cli.stream import MarkdownStream
from tests.cli.answers import long_answer
from tests.screen import DRAWING, SEQUENCE, Terminal

PIECES = (
    *("\n", "\n\n", "word ", "word" * 30, "**", "*", "`", "~~", "\\", "    code\n", "\t"),
    *("```", "```py\n", "def f():\n", "- ", "1. ", "10. ", "   ", "> ", "# ", "---\n", "===\n", "* * *\n"),
    *("| a | b |\n", "|---|---|\n", "| 1 |", "[x](http://a.b/c)", "[1]: http://x\n", "![i](u)", "<b>"),
    *("&#x202e;", "&rlm;", "&NewLine;", "&#13;", "&#27;", "\x1b[2J", "\x1b]0;t\x07", "\x1b]52;c;eA==\x07"),
    *("\x1b[?1049h", "\x1b[6n", "\x9b6n", "\x90x\x9c", "\r", "\r\n", "\u202e", "\U000e0041", "\x00"),
    *("\ud800", "<div>"),
    *("日本語", "👩‍👩‍👧", "❤️", "🇩🇪", "e\u0301", "\u200b", "שלום", "½ "),
)
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]"
)
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=50).map("".join)


def size_of(columns: int, lines: int) -> os.terminal_size:
    """Return the size of a terminal."""
    return os.terminal_size((columns, lines))


def tokens_of(text: str) -> list[str]:
    """Return the text in tokens as models send them: words with the blank before them, and line ends."""
    return re.findall(r" ?[^\s]{1,6}|\s", text)


def cut(text: str, random_: random.Random, longest: int = 12) -> Iterator[str]:
    """Yield the text in random pieces."""
    start = 0
    while start < len(text):
        end = start + random_.randint(1, longest)
        yield text[start:end]
        start = end


def streamed(pieces: Iterable[str], columns: int = 80, lines: int = 24, *, color: bool = True) -> list[str]:
    """Return what a stream writes for these pieces, a frame after each."""
    stream = MarkdownStream(lambda: size_of(columns, lines), color=color)
    frames = []
    for piece in pieces:
        stream.feed(piece)
        frames.append(stream.frame())
    return [*frames, stream.finish()]


def seen(text: str, columns: int = 80, lines: int = 24) -> Terminal:
    """Return a terminal that was sent this."""
    terminal = Terminal(columns, lines)
    terminal.show(text)
    return terminal


@pytest.mark.parametrize("tokens_a_frame", [1, 17], ids=["5 a second", "500 a second"])
def test_a_long_answer_is_written_once(tokens_a_frame: int) -> None:
    """At 80x24 it takes at most three bytes a byte, each line is there once, and nothing differs at the end.

    At 5 tokens a second each is a frame of its own, at 500 a frame of 1/30 s has 17.
    """
    answer = long_answer()
    tokens = tokens_of(answer)
    assert "".join(tokens) == answer
    assert len(answer.encode()) > 7000
    frames = ["".join(tokens[i : i + tokens_a_frame]) for i in range(0, len(tokens), tokens_a_frame)]
    terminal = seen("".join(streamed(frames)))
    assert terminal.written <= 3 * len(answer.encode())
    whole = seen(render(answer, width=80, color=True))
    assert terminal.lines == whole.lines
    assert terminal.screen.looks() == whole.screen.looks()  # colours, too
    for n in range(7):
        for once in (f"Section {n}", f"Paragraph {n} says", f"1. First of {n}", f"results/{n}/beta"):
            assert sum(once in line for line in terminal.lines) == 1, once


@pytest.mark.parametrize(("columns", "lines"), [(40, 10), (20, 5), (200, 50), (8, 24)])
def test_any_screen_shows_the_same_in_the_end(columns: int, lines: int) -> None:
    """On small and large screens the end is what the whole text looks like when it is rendered once."""
    answer = long_answer(2)
    terminal = seen("".join(streamed(tokens_of(answer), columns, lines)), columns, lines)
    assert terminal.lines == seen(render(answer, width=columns, color=True), columns, lines).lines


def test_random_texts_ask_nothing_of_a_terminal(request: pytest.FixtureRequest) -> None:
    """Whatever a text holds and however it is cut, only colours, moves and erasing are written."""

    @seed(1)
    @settings(max_examples=request.config.getoption("--texts"), deadline=None, database=None)
    @given(TEXTS, st.integers(0, 2**32))
    def check(text: str, cuts: int) -> None:
        random_ = random.Random(cuts)
        columns, lines = random_.choice([(80, 24), (12, 8), (200, 50)])
        written = "".join(streamed(cut(text, random_), columns, lines, color=random_.random() < 0.5))
        for sequence in SEQUENCE.findall(written):
            assert DRAWING.fullmatch(sequence), sequence
        plain = SEQUENCE.sub("", written).replace("\r", "")
        assert not FORBIDDEN.search(plain)

    check()


def test_random_texts_on_a_terminal(request: pytest.FixtureRequest) -> None:
    """A terminal shows the same for every cut, and is never asked for a title, a mode or a reply."""

    @seed(2)
    @settings(
        max_examples=request.config.getoption("--screens"),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(TEXTS, st.integers(0, 2**32))
    def check(text: str, cuts: int) -> None:
        random_ = random.Random(cuts)
        columns, lines = random_.choice([(80, 24), (12, 8), (40, 5)])
        whole = seen(render(text, width=columns, color=True), columns, lines)
        for _ in range(2):
            terminal = seen("".join(streamed(cut(text, random_), columns, lines)), columns, lines)
            assert terminal.lines == whole.lines
            assert terminal.screen.asked == []

    check()


def test_a_resize_loses_nothing_and_repeats_nothing() -> None:
    """The size changes in the middle of paragraph, list and code: all is there once, in order."""
    words = [f"w{n}" for n in range(400)]
    text = " ".join(words[:100]) + "\n\n- " + " ".join(words[100:200]) + "\n- " + " ".join(words[200:300])
    text += "\n\n```\n" + "\n".join(words[300:]) + "\n```\n"
    for start in range(0, len(text), 97):
        size = size_of(80, 24)
        stream = MarkdownStream(lambda: size, color=True)  # noqa: B023 - it is to see each change
        terminal = Terminal(80, 24)
        stream.feed(text[:start])
        terminal.show(stream.frame())
        size = size_of(100, 30)
        terminal.screen.resize(30, 100)
        stream.feed(text[start : start + 50])
        terminal.show(stream.frame())
        stream.feed(text[start + 50 :])
        terminal.show(stream.finish())
        assert re.sub(r"[\s•]", "", "".join(terminal.lines)) == "".join(words)


def test_somebody_else_may_write_after_a_seal() -> None:
    """After a seal the cursor is on an empty line, and the answer goes on behind what was written there."""
    stream = MarkdownStream(lambda: size_of(80, 24), color=False)
    stream.feed("one *two*")
    written = stream.frame() + stream.seal() + "a remark\n"
    stream.feed(" three\n\nfour")
    terminal = seen(written + stream.frame() + stream.finish())
    assert terminal.lines == ["one two", "a remark", " three", "", "four"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("```py\nx = 1", ["x = 1"]),
        ("```py\nx = 1\n``", ["x = 1", "``"]),
        ("a\n\n- ", ["a", "", "•"]),
        ("**bold", ["**bold"]),
        ("| a | b |\n|---|---|\n| 1 | 2", ["a  b", "────", "1  2"]),
        ("see [1]\n\n[1]: https://example.com/x", ["see [1]", "", "[1]: https://example.com/x"]),
        ("<div>kept</div> Vec<T>", ["<div>kept</div> Vec<T>"]),
        ("one\ntwo", ["one", "two"]),
        ("[/i] [link=x]b[idx][/link]", ["[/i] [link=x]b[idx][/link]"]),
        ("![plan](https://example.com/p.png)", ["plan (https://example.com/p.png)"]),
        ("<https://example.com/a>", ["https://example.com/a"]),
        ("&rlm;&#x202e;x", ["<U+200F><U+202E>x"]),
    ],
)
def test_nothing_is_lost(text: str, lines: list[str]) -> None:
    """Open fences and marks, last tokens, addresses, HTML and what looks like markup are all shown."""
    for pieces in ([text], list(text)):
        assert seen("".join(streamed(pieces, color=False))).lines == lines


def test_a_table_that_does_not_fit_becomes_rows() -> None:
    """No word of a table is cut: where columns are too narrow, each row is a list of named values."""
    url = "https://example.com/a/very/long/path/that/has/to/stay/whole"
    table = f"| Name | Where |\n|---|---|\n| one | {url} |\n| two | short |\n"
    assert any(url in line for line in render(table, width=80, color=False).splitlines())
    narrow = render(table, width=40, color=False).splitlines()
    assert narrow[0] == "Name: one"
    assert "".join(narrow).replace("Where: ", "").count(url) == 1
    assert narrow[-2:] == ["Name: two", "Where: short"]


def test_wide_characters_never_overflow() -> None:
    """Rows of emoji sequences and wide letters fit on terminals that count each of their characters."""
    text = "👩‍👩‍👧 " * 30 + "\n\n" + "漢字" * 50 + "\n\n```\n" + "👍🏽" * 50 + "\n```\n"
    for line in render(text, width=40, color=False).splitlines():
        assert sum(2 if ord(c) > 0x2FFF else ord(c) != 0x200D for c in line) <= 40
