"""The commands `clear`, `delete`, `archive`, `title` and `fork`: what they do, ask, say and leave alone."""

import json
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from chatcli.models import TurnState
from tests.cli.seed import keep, running, thread_ids

if TYPE_CHECKING:
    from tests.program import Chatcli

THREE = [(f"question {number}", f"answer {number}", TurnState.COMPLETE) for number in (1, 2, 3)]


def in_shell(chatcli: "Chatcli", line: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a line of a shell."""
    return subprocess.run(
        ["bash", "-c", line],
        env=dict(chatcli.environment),
        cwd=chatcli.home,
        check=True,
        capture_output=True,
    )


def document(chatcli: "Chatcli", thread: str) -> dict[str, Any]:
    """Return a thread as `history --json` shows it."""
    shown: dict[str, Any] = json.loads(chatcli("history", thread, "--json").stdout)
    return shown


def prompts(chatcli: "Chatcli", thread: str) -> list[str]:
    """Return what was asked in a thread."""
    return [turn["messages"][0]["content"] for turn in document(chatcli, thread)["turns"]]


def test_delete_says_what_it_did(chatcli: "Chatcli") -> None:
    """A thread is named by id, prefix or @last; each gets a line, and nothing else goes."""
    for name in ("alpha", "beta", "gamma", "delta"):
        keep(chatcli, name, title=f"About\t{name}")
    done = chatcli("delete", "--yes", "alph", "beta", "@last", "delta")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [
        "deleted alpha  About alpha (1 turn)",
        "deleted beta  About beta (1 turn)",
        "deleted delta  About delta (1 turn)",
    ]
    assert thread_ids(chatcli) == {"gamma"}
    assert chatcli("delete", "-yq", "gamma").stdout == b""
    assert thread_ids(chatcli) == set()


def test_clear_keeps_the_thread(chatcli: "Chatcli") -> None:
    """The turns go, the thread stays with its id and title."""
    keep(chatcli, "tea", THREE, title="About tea")
    done = chatcli("clear", "tea", "--yes", "--json")
    line = json.loads(done.stdout)
    assert (line["id"], line["action"], line["dry_run"], line["turn_count"]) == ("tea", "clear", False, 0)
    shown = document(chatcli, "tea")
    assert (shown["title"], shown["turns"]) == ("About tea", [])


def test_archive_and_restore(chatcli: "Chatcli") -> None:
    """An archived thread is out of the list and takes no turns; restoring undoes both. Nobody is asked."""
    keep(chatcli, "tea")
    assert chatcli("archive", "tea").stdout == b"archived tea  A talk (1 turn)\n"
    assert chatcli("history").stdout == b""
    assert chatcli("chat", "-m", "offline", "-t", "tea", "hello").returncode == 75
    assert chatcli("archive", "tea").returncode == 0
    assert chatcli("archive", "--restore", "tea").stdout == b"restored tea  A talk (1 turn)\n"
    assert chatcli("chat", "-m", "offline", "-t", "tea", "hello").returncode == 0


@pytest.mark.parametrize("command", ["clear", "delete"])
def test_without_a_yes_nothing_changes(chatcli: "Chatcli", command: str) -> None:
    """Away from a terminal the exact command is printed instead; run as it stands, it does the work."""
    keep(chatcli, "alpha")
    keep(chatcli, "beta")
    store = f"sqlite:///{chatcli.database}"
    done = chatcli(command, "alph", "@last", "--store", store)
    assert (done.returncode, done.stdout) == (2, b"")
    line = done.stderr.decode().splitlines()[1].removeprefix(f"hint: to {command}: ")
    assert shlex.split(line) == ["chatcli", command, "--yes", "--store", store, "alpha", "beta"]
    assert thread_ids(chatcli) == {"alpha", "beta"}
    assert len(prompts(chatcli, "alpha")) == 1
    keep(chatcli, "gamma")
    ran = in_shell(chatcli, line)
    assert len(ran.stdout.splitlines()) == 2
    assert ("alpha" in thread_ids(chatcli)) is (command == "clear")
    assert "gamma" in thread_ids(chatcli)


def test_a_secret_in_a_store_is_not_repeated(chatcli: "Chatcli") -> None:
    """The command that is printed has no password in it."""
    done = chatcli("delete", "x", "--store", "postgresql://me:canary@127.0.0.1:1/db")
    assert b"canary" not in done.stdout + done.stderr


def test_ids_from_standard_input(chatcli: "Chatcli") -> None:
    """'-' takes ids one a line, and the list of `history` as it is; all are looked up first."""
    for name in ("alpha", "beta", "gamma", "delta"):
        keep(chatcli, name)
    done = chatcli("delete", "-", input=b"alpha\n\n")
    assert done.returncode == 2
    assert b"chatcli delete --yes -\n" in done.stderr
    listed = chatcli("history", "-n", "2").stdout
    assert chatcli("delete", "-", "alpha", "--yes", "--quiet", input=listed + b"alpha\r\n").returncode == 0
    assert thread_ids(chatcli) == {"beta"}
    done = chatcli("delete", "-", "--yes", input=b"")
    assert (done.returncode, done.stderr) == (0, b"no threads were named; nothing was deleted\n")
    assert chatcli("delete", "-", "--yes", input=b"\xff").returncode == 65
    assert b"terminal" in chatcli.on_terminal("delete", "-")[1].encode()


def test_the_pipeline_of_the_manual(chatcli: "Chatcli") -> None:
    """`history --json` feeds `delete -` by way of any program that takes the id out."""
    for name in ("alpha", "beta"):
        keep(chatcli, name)
    pick = "import json, sys; [print(json.loads(line)['id']) for line in sys.stdin]"
    line = f'chatcli history --json | python -c "{pick}" | chatcli delete - --yes --json'
    done = in_shell(chatcli, line)
    assert [json.loads(row)["id"] for row in done.stdout.splitlines()] == ["beta", "alpha"]
    assert thread_ids(chatcli) == set()


def test_one_that_fails_does_not_stop_the_others(chatcli: "Chatcli") -> None:
    """Each failure gets a line, the rest is done, and the exit code is that of the first failure."""
    for name in ("alpha-1", "alpha-2", "beta", "busy"):
        keep(chatcli, name)
    with running(chatcli, "busy"):
        done = chatcli("delete", "nosuch", "alpha", "busy", "beta", "-y", "--json")
        assert done.returncode == 66
        problems = [json.loads(line) for line in done.stderr.splitlines()]
        assert [(line["thread"], line["error"]["type"]) for line in problems] == [
            ("nosuch", "urn:chatcli:thread-not-found"),
            ("alpha", "urn:chatcli:invalid-request"),
            ("busy", "urn:chatcli:thread-busy"),
        ]
        assert json.loads(done.stdout)["id"] == "beta"
        assert thread_ids(chatcli) == {"alpha-1", "alpha-2", "busy"}


@pytest.mark.parametrize("words", [["clear", "-y"], ["delete", "-y"], ["archive"], ["delete", "--dry-run"]])
def test_a_running_turn_is_not_touched(chatcli: "Chatcli", words: list[str]) -> None:
    """While a turn runs its thread is left alone, and a dry run knows that, too."""
    keep(chatcli, "busy")
    with running(chatcli, "busy"):
        done = chatcli(*words, "busy")
        assert (done.returncode, done.stdout) == (75, b"")
        assert len(prompts(chatcli, "busy")) == 2
    assert chatcli(*words, "busy").returncode == 0


@pytest.mark.parametrize("command", ["clear", "delete", "archive"])
def test_a_dry_run_shows_and_changes_nothing(chatcli: "Chatcli", command: str) -> None:
    """What would be done is shown, without being asked, in the words of what is done."""
    keep(chatcli, "alpha")
    before = document(chatcli, "alpha")
    done = chatcli(command, "alpha", "--dry-run")
    assert (done.returncode, done.stdout.decode()) == (0, f"would {command} alpha  A talk (1 turn)\n")
    assert json.loads(chatcli(command, "alpha", "--dry-run", "--json").stdout)["dry_run"] is True
    assert document(chatcli, "alpha") == before


@pytest.mark.parametrize(
    ("typed", "gone"), [(b"y\n", True), (b"YES\n", True), (b"n\n", False), (b"\n", False)]
)
def test_a_terminal_is_asked(chatcli: "Chatcli", typed: bytes, *, gone: bool) -> None:
    """What goes is listed, gated, and only a yes lets it go."""
    keep(chatcli, "alpha", title="About \x1b[2J")
    keep(chatcli, "beta")
    code, shown = chatcli.on_terminal("delete", "alpha", "beta", typed=typed)
    assert code == 0
    assert "alpha  About ␛[2J (1 turn)\n" in shown
    assert "delete these 2 threads for good? [y/N] " in shown
    assert ("nothing was deleted" in shown) is not gone
    assert thread_ids(chatcli) == (set() if gone else {"alpha", "beta"})


def test_no_answer_is_a_no(chatcli: "Chatcli") -> None:
    """Ctrl-D at the question changes nothing, and Ctrl-C ends the command."""
    keep(chatcli, "alpha")
    assert chatcli.on_terminal("delete", "alpha", typed=b"\x04")[0] == 0
    code, _ = chatcli.on_terminal("delete", "alpha", stdin=False)
    assert code == 2
    assert thread_ids(chatcli) == {"alpha"}


def test_many_threads_do_not_fill_the_screen(chatcli: "Chatcli") -> None:
    """The question stays in sight however many threads it is about."""
    for number in range(40):
        keep(chatcli, f"thread-{number:02}")
    ids = "\n".join(f"thread-{number:02}" for number in range(40))
    done = chatcli("delete", "-", "--dry-run", input=ids.encode())
    assert len(done.stdout.splitlines()) == 40
    _, shown = chatcli.on_terminal("delete", *ids.split(), typed=b"n\n")
    assert len(shown.splitlines()) < 25
    assert "… and 20 more" in shown


def test_titles(chatcli: "Chatcli") -> None:
    """A title is set from all words, and shown as it is."""
    keep(chatcli, "alpha", title="One\ttwo")
    assert chatcli("title", "alpha").stdout == b"One\ttwo\n"
    assert (
        chatcli("title", "alph", "New", "title", "[/i]").stdout == b"titled alpha  New title [/i] (1 turn)\n"
    )
    assert chatcli("title", "alpha").stdout == b"New title [/i]\n"
    assert json.loads(chatcli("title", "alpha", "Third", "--json").stdout)["title"] == "Third"
    for words in ([""], ["  "], ["\udc80"]):
        assert chatcli("title", "alpha", *words).returncode in {2, 65}
    assert chatcli("title", "alpha").stdout == b"Third\n"


def test_a_fork(chatcli: "Chatcli") -> None:
    """A fork has the first turns, a name of its own, and a life of its own."""
    keep(chatcli, "tea", THREE, title="About tea")
    done = chatcli("fork", "tea", "--at", "2")
    name = done.stdout.decode().strip()
    assert done.stderr.decode() == f"2 turns forked · continue with: chatcli chat -t {name}\n"
    assert prompts(chatcli, name) == ["question 1", "question 2"]
    shown = json.loads(chatcli("fork", "tea", "--title", "Mine", "--json").stdout)
    assert (shown["title"], shown["turn_count"]) == ("Mine", 3)
    assert document(chatcli, name)["title"] == "About tea (fork)"
    assert chatcli("chat", "-m", "offline", "-t", name, "more").returncode == 0
    assert prompts(chatcli, name) == ["question 1", "question 2", "more"]
    assert prompts(chatcli, "tea") == ["question 1", "question 2", "question 3"]
    assert chatcli("delete", "tea", "-y").returncode == 0
    assert prompts(chatcli, name) == ["question 1", "question 2", "more"]
    assert chatcli("fork", name, "--at", "4").returncode == 2
