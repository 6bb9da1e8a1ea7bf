"""`chat --retry` and `chat --undo`: an answer is replaced, and the old one is still there."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chatcli.models import TurnState
from tests.acceptance.conftest import Document
from tests.cli.seed import keep
from tests.fake_provider import FakeProvider
from tests.program import Chatcli

PNG = b"\x89PNG\r\n\x1a\n"


def asked(document: Document) -> list[Any]:
    """Return the prompts of a thread."""
    return [turn["messages"][0]["content"] for turn in document["turns"]]


def answers(document: Document) -> list[str]:
    """Return the answers of a thread, empty where there is none."""
    return [
        "".join(m["content"] for m in turn["messages"] if m["role"] == "ai") for turn in document["turns"]
    ]


def fork_of(stderr: bytes) -> str:
    """Return the id of the fork that a line on standard error names."""
    return stderr.decode().split("as it was: chatcli history ")[1].split()[0]


@pytest.fixture
def talked(online: Chatcli) -> Chatcli:
    """The program, with a thread of three turns."""
    keep(online, "tea", [(word, word, TurnState.COMPLETE) for word in ("one", "two", "three")], title="one")
    return online


def test_retry_asks_again(
    talked: Chatcli, fake_provider: FakeProvider, history: Callable[[str], Document]
) -> None:
    """The last prompt is asked again with the same context; the old answer is in a fork."""
    done = talked("chat", "-t", "tea", "--retry", "-m", "openai:tokens-2")
    assert (done.returncode, done.stdout) == (0, b"w0 w1 ")
    sent = [message["content"] for message in fake_provider.requests()[-1]["body"]["messages"]]
    assert sent[1:] == ["one", "one", "two", "two", "three"]
    thread = history("tea")
    assert (asked(thread), answers(thread)) == (["one", "two", "three"], ["one", "two", "w0 w1 "])
    fork = history(fork_of(done.stderr))
    assert (asked(fork), answers(fork)) == (["one", "two", "three"], ["one", "two", "three"])
    assert fork["title"] == "one (before undo)"


def test_retry_sends_images_again(
    online: Chatcli, fake_provider: FakeProvider, history: Callable[[str], Document]
) -> None:
    """A prompt with pictures is asked again with its pictures."""
    (online.home / "x.png").write_bytes(PNG)
    assert online("chat", "-m", "openai:any", "-t", "tea", "-f", "x.png", "what is this?").returncode == 0
    assert online("chat", "-c", "--retry", "-m", "openai:any").returncode == 0
    first, second = (request["body"]["messages"] for request in fake_provider.requests())
    assert first == second
    assert "image_url" in json.dumps(second)
    assert len(history("tea")["turns"]) == 1


def test_undo_takes_turns_off(talked: Chatcli, history: Callable[[str], Document]) -> None:
    """Turns come off into a fork, without a model; the thread is still the last used one."""
    done = talked("chat", "-t", "tea", "--undo", "2")
    assert (done.returncode, done.stderr) == (0, b"")
    assert asked(history("tea")) == ["one"]
    assert asked(history(fork_of(done.stdout))) == ["one", "two", "three"]
    assert talked("chat", "-c", "-m", "openai:echo", "again").returncode == 0
    assert asked(history("tea")) == ["one", "again"]
    shown = json.loads(talked("chat", "-t", "tea", "--undo", "1", "--json").stdout)
    assert (shown["thread_id"], shown["turns"]) == ("tea", 1)
    assert asked(history(shown["fork_id"])) == ["one", "again"]


def test_undo_and_go_on(talked: Chatcli, history: Callable[[str], Document]) -> None:
    """With a prompt the thread goes on from where it went back to."""
    done = talked("chat", "-t", "tea", "--undo", "2", "-m", "openai:echo", "other", "--json")
    assert done.returncode == 0
    undone = json.loads(done.stderr.splitlines()[0])["undone"]
    assert asked(history("tea")) == ["one", "other"]
    assert asked(history(undone["fork_id"])) == ["one", "two", "three"]
    assert json.loads(done.stdout.splitlines()[0])["type"] == "metadata"


@pytest.mark.parametrize(
    "words",
    [
        ["--retry"],
        ["--undo", "1"],
        ["--retry", "-t", "tea", "a", "prompt"],
        ["--retry", "-t", "tea", "--undo", "1"],
        ["--retry", "-t", "tea", "--no-save"],
        ["--undo", "1", "-c", "--idempotency-key", "k", "x"],
        ["--undo", "0", "-t", "tea"],
        ["--undo", "4", "-t", "tea"],
        ["--retry", "-t", "tea", "-m", "nonsense"],
        ["--retry", "-t", "nosuch"],
        ["--undo", "1", "-t", "nosuch"],
    ],
)
def test_what_can_not_be_done_changes_nothing(
    talked: Chatcli, history: Callable[[str], Document], words: list[str]
) -> None:
    """Whatever is wrong is found before a turn comes off."""
    done = talked("chat", "-m", "openai:echo", *words)
    assert done.returncode in {2, 66, 78}
    assert done.stdout == b""
    assert asked(history("tea")) == ["one", "two", "three"]
    assert len(talked("history").stdout.splitlines()) == 1


def test_a_retry_that_fails_loses_nothing(talked: Chatcli, history: Callable[[str], Document]) -> None:
    """Where the provider fails the second time, the old answer is in the fork that was named."""
    done = talked("chat", "-t", "tea", "--retry", "-m", "openai:err-401")
    assert done.returncode == 77
    assert answers(history(fork_of(done.stderr))) == ["one", "two", "three"]
    thread = history("tea")
    assert [turn["state"] for turn in thread["turns"]] == ["complete", "complete", "failed"]


def test_an_empty_thread_has_nothing_to_retry(talked: Chatcli) -> None:
    """Without a turn there is no prompt to ask again."""
    talked("clear", "tea", "-y")
    for option in (["--retry"], ["--undo", "1"]):
        assert talked("chat", "-t", "tea", *option, "-m", "openai:echo").returncode == 2
