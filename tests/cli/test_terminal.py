"""What the terminal gate promises: nothing dangerous passes, nothing harmless changes, no cut matters."""

import sys
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcli.cli.terminal import Gate, mark, visible, visible_line

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
DANGEROUS = "\x1b\x9b\x07\r\n\x00\x7f\x85\u2028" + BIDI + "\U000e0001\U000e0041"

TEXTS = st.text(st.one_of(st.characters(), st.sampled_from(DANGEROUS)))


def is_forbidden(character: str) -> bool:
    """Say from Unicode's own tables, not from the gate's, whether a character may not be shown."""
    category = unicodedata.category(character)
    return (
        (category == "Cc" and character not in "\n\t")
        or category in {"Zl", "Zp", "Cs"}
        or character in BIDI
        or 0xE0000 <= ord(character) <= 0xE007F
    )


def through(pieces: list[str]) -> str:
    """Return what a stream of these pieces shows."""
    gate = Gate()
    return "".join([*(gate.feed(piece) for piece in pieces), gate.finish()])


@given(TEXTS)
def test_no_forbidden_character_survives(text: str) -> None:
    """Whatever the text, the terminal gets no control, bidi or tag character raw."""
    assert not any(map(is_forbidden, visible(text)))
    assert not any(character in "\n\t" or is_forbidden(character) for character in visible_line(text))


@given(TEXTS)
def test_harmless_text_is_left_alone(text: str) -> None:
    """A text without a forbidden character is shown as it is."""
    harmless = "".join(character for character in text if not is_forbidden(character))
    assert visible(harmless) == harmless


def test_every_character_is_on_the_right_side() -> None:
    """Of all of Unicode, exactly the forbidden characters become marks."""
    characters = list(map(chr, range(sys.maxunicode + 1)))
    harmless = "".join(character for character in characters if not is_forbidden(character))
    assert visible(harmless) == harmless
    for character in filter(is_forbidden, characters):
        assert visible(character) == mark(character) != character


@given(TEXTS, st.data())
def test_cuts_do_not_matter(text: str, data: st.DataObject) -> None:
    """However a stream is cut, empty pieces included, the same is shown."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    edges = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    assert through(pieces) == through(list(text)) == visible(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "\N{SYMBOL FOR ESCAPE}[2Jgone"),
        ("\x1b]0;title\x07", "\N{SYMBOL FOR ESCAPE}]0;title\N{SYMBOL FOR BELL}"),
        ("a\rb", "a\N{SYMBOL FOR CARRIAGE RETURN}b"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("a\r\r\nb", "a\N{SYMBOL FOR CARRIAGE RETURN}\nb"),
        ("\x7f\x9b31m", "\N{SYMBOL FOR DELETE}<U+009B>31m"),
        ("user\u202etxt.exe", "user<U+202E>txt.exe"),
        ("one\u2028two", "one<U+2028>two"),
        ("\U000e0041", "<U+E0041>"),
        ("\ud83d", "<U+D83D>"),
        ("\tx = [1]\n[/i] [link=https://x]", "\tx = [1]\n[/i] [link=https://x]"),
        ("שלום مرحبا", "שלום مرحبا"),
        ("👩‍👩‍👧 ❤️ 🇩🇪", "👩‍👩‍👧 ❤️ 🇩🇪"),
    ],
)
def test_marks(text: str, shown: str) -> None:
    """Marks are what a reader expects, and letters, emoji and brackets are nobody's business."""
    assert visible(text) == shown
    assert through(list(text)) == shown


def test_a_line_stays_one_line() -> None:
    """Where one line is meant, line ends and tabs become marks."""
    assert visible_line("a\nb\tc\r\n") == "a␊b␉c␊"
    assert mark("\n") == "␊"


def test_an_open_carriage_return_is_shown_at_the_end() -> None:
    """A stream that ends in a lone carriage return shows it."""
    gate = Gate()
    assert gate.feed("a\r") == "a"
    assert gate.finish() == "␍"
    assert gate.finish() == ""
