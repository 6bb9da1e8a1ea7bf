"""Answers on a real terminal: drawn while they come, once, and with nothing that the terminal obeys."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chatcli.cli.markdown import render
from tests.cli.answers import long_answer
from tests.fake_provider import FakeProvider
from tests.program import Chatcli
from tests.screen import DRAWING, SEQUENCE, Person, Terminal

EVIL = "a\x1b]0;owned\x07\x1b[2J\x1b[6n\x9b6n\x1b]52;c;eA==\x07\rb\u202ec\U000e0041"


@pytest.fixture
def chatcli(tmp_path: Path, fake_provider: FakeProvider) -> Chatcli:
    """The program, with a home of its own and the fake provider behind ``openai:``."""
    return Chatcli.at(tmp_path).with_environment(
        OPENAI_API_KEY="sk-canary-0123456789abcdef", OPENAI_BASE_URL=fake_provider.url
    )


def has_sent(tokens: int, requests: list[dict[str, Any]]) -> bool:
    """Say whether so many tokens of the first answer have left."""
    return int(requests[0]["sent"]) >= tokens


@pytest.mark.parametrize("tokens_at_once", [1, 17], ids=["slow", "fast"])
def test_a_one_shot_draws_its_answer_once(
    tokens_at_once: int, chatcli: Chatcli, fake_provider: FakeProvider
) -> None:
    """However the tokens come: three bytes a byte at most, every line once, the end as rendered whole."""
    answer = long_answer()
    tokens = answer.count(" ") + 1
    with Person(chatcli, "chat", "-m", "openai:slow-echo", "--no-stdin", answer) as person:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        for released in range(0, tokens, tokens_at_once):
            fake_provider.release(tokens_at_once)
            person.look()
            if released % 100 == 0:
                fake_provider.wait_for(partial(has_sent, min(tokens, released + tokens_at_once)))
        assert person.finish() == 0
    whole = Terminal()
    whole.show(render(answer, width=80, color=True))
    shown = person.lines
    assert shown[-2].startswith("thread ")  # the remark on standard error, two lines long
    assert shown[:-2] == whole.lines
    assert len(person.bytes) <= 3 * len(answer.encode())
    for sequence in SEQUENCE.findall(person.bytes.decode()):
        assert DRAWING.fullmatch(sequence)


def test_raw_is_the_text_itself(chatcli: Chatcli) -> None:
    """With --raw a terminal shows the marks of Markdown, and a pipe gets exact bytes either way."""
    text = "# Title\n\n**bold**  \n\n```py\nx\n"
    with Person(chatcli, "chat", "-m", "openai:echo", "--no-stdin", "--raw", text) as person:
        assert person.finish() == 0
    assert person.lines[:6] == ["# Title", "", "**bold**", "", "```py", "x"]
    for words in ([], ["--raw"]):
        assert (
            chatcli("chat", "-m", "openai:echo", *words, EVIL.replace("\x9b", "")).stdout
            == EVIL.replace("\x9b", "").encode()
        )


def test_reasoning_goes_to_standard_error(chatcli: Chatcli) -> None:
    """In a pipe the answer is on standard output alone; --no-reasoning hides what the model thinks."""
    done = chatcli("chat", "-m", "openai:reason", "hi")
    assert done.stdout == b"Hello from the fake provider."
    assert done.stderr.strip() == b"Let me think."
    assert chatcli("chat", "-m", "openai:reason", "--no-reasoning", "hi").stderr == b""


@pytest.mark.parametrize(
    "words",
    [
        ("chat", "-m", "openai:echo", "--no-stdin", EVIL),
        ("chat", "-m", "openai:echo", "--no-stdin", "--raw", EVIL),
        ("chat", "-m", "openai:echo", "--no-stdin", "--no-stream", EVIL),
        ("chat", "-m", "openai:echo", "--no-stdin", "--json", EVIL),
        ("chat", "-m", f"{EVIL}:x", "--no-stdin", "hi"),
        ("chat", "--no-stdin", "-f", EVIL, "hi"),
        ("history",),
        ("history", "evil"),
        ("history", "evil", "--format", "text"),
        ("history", "evil", "--json"),
        ("history", "--json"),
        ("history", "--search", "word"),
        ("history", EVIL),
        ("clear", "evil", "--dry-run"),
        ("delete", "evil", "--dry-run"),
        ("archive", "evil", "--dry-run"),
        ("info", "-m", EVIL),
        (EVIL,),
        ("history", f"--{EVIL}"),
    ],
    ids=lambda words: " ".join(words).replace(EVIL, "EVIL"),
)
def test_no_command_obeys_a_text(words: tuple[str, ...], chatcli: Chatcli) -> None:
    """No text on any stream of any command reaches a terminal as more than text."""
    assert chatcli("chat", "-t", "evil", "-m", "openai:esc", f"word {EVIL}").returncode == 0
    with Person(chatcli, *words, PAGER="cat", CHATCLI_MODEL="openai:echo") as person:
        person.finish()
    shown = person.bytes.decode()
    for sequence in SEQUENCE.findall(shown):
        assert DRAWING.fullmatch(sequence), sequence
    assert person.terminal.screen.asked == []
    for forbidden in ("\x07", "\x9b", "\u202e", "\U000e0041"):
        assert forbidden not in shown
