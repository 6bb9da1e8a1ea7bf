"""A session over a server, by somebody at a real terminal."""

import json
import signal
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fake_provider import FakeProvider
from tests.program import Chatcli
from tests.screen import Person
from tests.server.peer import TOKENS, Server, eventually, serving
from tests.test_startup import SPY

CTRL_C, CTRL_D, TAB = "\x03", "\x04", "\t"


def turns(remote: Chatcli, thread: str) -> list[dict[str, Any]]:
    """Return the turns of a thread."""
    done = remote("history", thread, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["turns"]
    return found


def prompts(remote: Chatcli, thread: str) -> list[str]:
    """Return what was asked on a thread."""
    return [turn["messages"][0]["content"] for turn in turns(remote, thread)]


def test_a_conversation(remote: Chatcli) -> None:
    """Prompts, settings, files, second thoughts and Ctrl-D: as beside the store, and thin."""
    spied = replace(remote, command=(sys.executable, "-c", SPY))
    (remote.home / "notes.txt").write_text("from the file\n")
    with Person(spied, "chat", "-t", "talk") as person:
        person.send("hello")
        person.wait_for("12 tokens · context 2/20")
        person.wait_for_prompt()
        assert person.status is not None
        assert person.status.startswith("openai:fake · hello")
        person.send("/title A good name")
        person.send("/system Be brief.")
        person.send("/model openai:echo")
        person.send("/file notes.txt")
        person.send("read it")
        person.wait_for("openai:echo · A good name")
        person.wait_for("context 4/20")
        person.send("/retry")
        person.wait_for("took back the last turn · as it was: /switch ")
        person.wait_for_prompt()
        person.send("/edit")
        person.wait_for(lambda: person.written[-2] == "  ```")  # the file came with the prompt
        person.type(CTRL_C)
        person.send("/undo")
        person.wait_for("context 2/20")
        person.send("/usage")
        person.wait_for("turn    12 tokens: 7 in, 5 out")
        person.send("/threads")
        person.wait_for("A good name (bef")
        person.send("/save out.md")
        person.wait_for("wrote 1 turn to out.md")
        person.send("/model nobody:x")
        person.wait_for("there is no provider 'nobody'")
        person.wait_for_prompt()
        person.type(CTRL_D)
        assert person.finish() == 0
    assert prompts(remote, "talk") == ["hello"]
    assert "Hello from the fake provider." in (remote.home / "out.md").read_text()
    assert not remote.database.exists()
    heavy = set((remote.home / "imported").read_text().split())
    assert not heavy & {"langchain_core", "langgraph", "langsmith", "openai", "pydantic", "sqlite3.dbapi2"}


def test_tab_completes_what_the_server_has(remote: Chatcli) -> None:
    """Threads by their titles, and models that the server's provider offers."""
    assert remote("chat", "-t", "blue-thread", "all about blue").returncode == 0
    with Person(remote, "chat") as person:
        person.wait_for_prompt()
        for typed, shown in [
            ("/switch about b", "> /switch blue-thread"),
            ("/model offl", "> /model offline"),
        ]:
            person.type(typed + TAB)
            person.wait_for(shown)
            person.type(CTRL_C)
            person.wait_for_prompt()


def test_ctrl_c_stops_an_answer(remote: Chatcli, fake_provider: FakeProvider) -> None:
    """What arrived stays on the screen and in the thread as interrupted; then the prompt is back."""
    with Person(remote, "chat", "-t", "cut", "-m", "openai:slow-9") as person:
        person.send("count")
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        fake_provider.release(3)
        person.wait_for("w0 w1 w2")
        person.type(CTRL_C)
        person.wait_for("interrupted; what arrived is kept")
        person.wait_for_prompt()
        fake_provider.wait_for(lambda requests: requests[0]["client_gone"])
    (turn,) = turns(remote, "cut")
    assert (turn["state"], turn["messages"][1]["content"]) == ("interrupted", "w0 w1 w2 ")


def test_a_second_session_is_told_who_holds_the_thread(
    remote: Chatcli, server: Server, fake_provider: FakeProvider
) -> None:
    """It waits for the running turn and shows it; one that does not wait is read only."""
    with Person(remote, "chat", "-t", "held", "-m", "openai:slow-2") as first:
        first.send("the first question")
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        with Person(remote, "chat", "-t", "held") as third:
            third.wait_for("Wait for it? [Y/n]")
            assert "the first question" in third.text
            third.type("\r")
            eventually(lambda: server.metric("chatcli_open_streams") == 2 or None, seconds=60)
            third.type(CTRL_C)
            third.wait_for("read only: /switch")
        with Person(remote, "chat", "-t", "held") as second:
            second.wait_for("Wait for it? [Y/n]")
            second.type("\r")
            fake_provider.release(2)
            second.wait_for("w0 w1")
            second.send("now me")
            second.wait_for("Hello from the fake provider.")


def test_waiting_for_a_thread_can_be_given_up(remote: Chatcli, fake_provider: FakeProvider) -> None:
    """Ctrl-C while the server lets a prompt wait: nothing is stored of it, and it is there for editing."""
    with Person(remote, "chat", "-t", "queue") as person:
        person.send("first")
        person.wait_for("12 tokens")
        with remote.start("chat", "-t", "queue", "-m", "openai:slow-1", "other") as running:
            fake_provider.wait_for(lambda requests: len(requests) == 2)
            person.send("mine")
            person.wait_for("Ctrl-C gives up")
            person.type(CTRL_C)
            person.wait_for("stopped before the model was asked; nothing was stored")
            person.wait_for_prompt("mine")
            fake_provider.release()
            assert running.finish() == 0
    assert prompts(remote, "queue") == ["first", "other"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_keeps_what_arrived(
    number: signal.Signals, remote: Chatcli, fake_provider: FakeProvider
) -> None:
    """SIGHUP and SIGTERM end answer and session; the turn is there as interrupted."""
    name = f"ended-{number}"
    with Person(remote, "chat", "-t", name, "-m", "openai:slow-9") as person:
        person.send("count")
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        fake_provider.release(2)
        person.wait_for("w0 w1")
        person.process.send_signal(number)
        assert person.finish() == 128 + number
    (turn,) = turns(remote, name)
    assert (turn["state"], turn["messages"][1]["content"]) == ("interrupted", "w0 w1 ")


def test_a_lost_server_loses_no_answer(tmp_path: Path, chatcli: Chatcli, fake_provider: FakeProvider) -> None:
    """The answer stays on the screen; the session says what is not saved, and goes on when it can."""
    home = tmp_path / "mortal"
    with serving(home, provider=fake_provider) as server:
        remote = chatcli.with_environment(CHATCLI_SERVER=server.url, CHATCLI_API_TOKEN=TOKENS["local"])
        with Person(remote, "chat", "-t", "kept", "-m", "openai:slow-3") as person:
            person.send("hello")
            fake_provider.wait_for(lambda requests: len(requests) == 1)
            fake_provider.release(2)
            person.wait_for("w0 w1")
            server.process.kill()
            person.wait_for("the connection to the server was lost before the answer was complete")
            person.wait_for("Try to save it again? [Y/n]")
            assert "w0 w1" in person.lines
            assert "Not saved: this prompt and its answer" in person.text
            person.type("\r")
            person.wait_for(lambda: person.text.count("Try to save it again? [Y/n]") == 2)
            assert "can't be reached" in person.text
            server.process.wait(60)
            server.log.unlink()
            with serving(home, "--port", str(server.port), provider=fake_provider, uds=True):
                person.type("\r")
                person.wait_for("the server kept the turn as interrupted, without all of the answer")
                person.type("n\r")
                person.send("/model openai:fake")
                person.send("go on")
                person.wait_for("Hello from the fake provider.")
                assert [turn["state"] for turn in turns(remote, "kept")] == ["interrupted", "complete"]


def test_a_server_whose_store_is_lost_saves_it_later(
    tmp_path: Path, chatcli: Chatcli, fake_provider: FakeProvider
) -> None:
    """What the server could not store it stores when the session asks again."""
    with serving(tmp_path / "stuck", provider=fake_provider) as server:
        remote = chatcli.with_environment(CHATCLI_SERVER=server.url, CHATCLI_API_TOKEN=TOKENS["local"])
        with Person(remote, "chat", "-t", "kept", "-m", "openai:slow-2") as person:
            person.send("hello")
            fake_provider.wait_for(lambda requests: len(requests) == 1)
            writer = sqlite3.connect(server.program.database, isolation_level=None)
            writer.execute("BEGIN IMMEDIATE")
            fake_provider.release(2)
            person.wait_for("Try to save it again? [Y/n]")
            assert "w0 w1" in person.lines
            writer.execute("ROLLBACK")
            writer.close()
            person.type("\r")
            person.wait_for("saved\n\n>")
            (turn,) = turns(remote, "kept")
            assert (turn["state"], turn["messages"][1]["content"]) == ("complete", "w0 w1 ")


def test_no_save_and_no_store_are_told(remote: Chatcli, server: Server) -> None:
    """A session that nobody keeps needs a model of this machine: 2, and nothing is begun."""
    del server
    code, shown = remote.on_terminal("chat", "--no-save")
    assert code == 2
    assert "--no-save keeps its thread in this process" in shown
