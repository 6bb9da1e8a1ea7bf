"""The interactive session, by somebody at a real terminal, against a provider over real HTTP."""

import base64
import signal
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatcli.cli.session.table import COMMANDS, nearest, prompt_of, split_command
from chatcli.models import TurnState
from tests.cli.answers import long_answer
from tests.cli.seed import keep
from tests.fake_provider import FakeProvider
from tests.program import Chatcli
from tests.screen import Person

History = Callable[[str], dict[str, Any]]
CTRL_C, CTRL_D, TAB, ESCAPE = "\x03", "\x04", "\t", "\x1b"


@pytest.fixture
def chatcli(tmp_path: Path, fake_provider: FakeProvider) -> Chatcli:
    """The program, with a home of its own and the fake provider behind ``openai:``."""
    return Chatcli.at(tmp_path).with_environment(
        OPENAI_API_KEY="sk-canary-0123456789abcdef",
        OPENAI_BASE_URL=fake_provider.url,
        RATE_LIMIT_CALLS="10000",
        CHATCLI_MODEL="openai:any",
    )


@pytest.fixture
def history(chatcli: Chatcli) -> History:
    """Return a thread as ``history --json`` shows it."""
    import json

    def read(thread: str) -> dict[str, Any]:
        done = chatcli("history", thread, "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    return read


def prompts(document: dict[str, Any]) -> list[str]:
    """Return what was asked on a thread."""
    return [turn["messages"][0]["content"] for turn in document["turns"]]


def test_a_conversation(chatcli: Chatcli, history: History) -> None:
    """Prompts are answered on one thread, the line below knows it, and Ctrl-D ends with 0."""
    with Person(chatcli, "chat", "-t", "talk") as person:
        person.send("hello")
        person.wait_for("Hello from the fake provider.")
        person.wait_for_prompt()
        assert person.status is not None
        assert person.status.startswith("openai:any · hello")
        assert person.status.endswith("12 tokens · context 2/20")
        person.send("and again")
        person.wait_for("24 tokens · context 4/20")
        person.wait_for_prompt()
        person.type(CTRL_D)
        assert person.finish() == 0
    assert prompts(history("talk")) == ["hello", "and again"]


def test_reasoning_is_shown_and_not_stored(chatcli: Chatcli, history: History) -> None:
    """What a model says to itself stands before the answer, and is not in the thread."""
    with Person(chatcli, "chat", "-t", "one", "-m", "openai:reason") as person:
        person.send("think")
        person.wait_for("12 tokens")
        assert "Let me think." in person.text
    assert history("one")["turns"][0]["messages"][1]["content"] == "Hello from the fake provider."


def test_a_pasted_block_is_one_message(chatcli: Chatcli, history: History) -> None:
    """200 pasted lines are one prompt, sent by Enter and not before."""
    block = "\n".join(f"line {n}" for n in range(200))
    with Person(chatcli, "chat", "-t", "paste") as person:
        person.wait_for_prompt()
        person.paste(block.replace("\n", "\r"))
        person.wait_for("line 199")
        person.type("\r")
        person.wait_for("12 tokens")
    assert prompts(history("paste")) == [block]


def test_alt_enter_begins_a_line(chatcli: Chatcli, history: History) -> None:
    """Alt-Enter is a new line, Enter sends."""
    with Person(chatcli, "chat", "-t", "lines") as person:
        person.wait_for_prompt()
        person.type(f"one{ESCAPE}\rtwo\r")
        person.wait_for("12 tokens")
    assert prompts(history("lines")) == ["one\ntwo"]


def test_an_editor_writes_the_prompt(chatcli: Chatcli, history: History) -> None:
    """Ctrl-X Ctrl-E opens $EDITOR on what is typed, and takes what it leaves."""
    editor = chatcli.home / "editor"
    editor.write_text('#!/bin/sh\nprintf "%s, edited" "$(cat "$1")" > "$1"\n')
    editor.chmod(0o755)
    with Person(chatcli, "chat", "-t", "edited", EDITOR=str(editor)) as person:
        person.wait_for_prompt()
        person.type("draft\x18\x05")
        person.wait_for("draft, edited")
        person.type("\r")
        person.wait_for("12 tokens")
    assert prompts(history("edited")) == ["draft, edited"]


def test_prompts_last_across_sessions(chatcli: Chatcli) -> None:
    """Earlier prompts are found by arrow and by search, in a file that only its owner reads."""
    with Person(chatcli, "chat") as person:
        person.send("a memorable question")
        person.wait_for("Hello from")
        person.send("another one")
        person.wait_for("24 tokens")
    past = chatcli.home / "data" / "chatcli" / "prompts"
    assert stat.S_IMODE(past.stat().st_mode) == 0o600
    with Person(chatcli, "chat") as person:
        person.wait_for_prompt()
        person.type("\x1b[A")
        person.wait_for("> another one")
        person.type(f"{CTRL_C}\x12memora")
        person.wait_for("> a memorable question")


def test_no_save_leaves_nothing(chatcli: Chatcli) -> None:
    """With --no-save there is a conversation, and afterwards neither threads nor prompts."""
    with Person(chatcli, "chat", "--no-save") as person:
        person.send("secret")
        person.wait_for("context 2/20")
        person.wait_for_prompt()
        person.type(CTRL_D)
        assert person.finish() == 0
    assert not (chatcli.home / "data" / "chatcli" / "prompts").exists()
    assert chatcli("history").stdout == b""


def test_ctrl_c_stops_an_answer(chatcli: Chatcli, fake_provider: FakeProvider, history: History) -> None:
    """What arrived stays on the screen and in the thread as interrupted; then the prompt is back."""
    with Person(chatcli, "chat", "-t", "cut", "-m", "openai:slow-9") as person:
        person.send("count")
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        fake_provider.release(3)
        person.wait_for("w0 w1 w2")
        person.type(CTRL_C)
        person.wait_for("interrupted; what arrived is kept")
        person.wait_for_prompt()
        fake_provider.wait_for(lambda requests: requests[0]["client_gone"])
    (turn,) = history("cut")["turns"]
    assert (turn["state"], turn["messages"][1]["content"]) == ("interrupted", "w0 w1 w2 ")


def test_ctrl_c_clears_the_line(chatcli: Chatcli) -> None:
    """At the prompt Ctrl-C clears the line, and on an empty one says how to leave."""
    with Person(chatcli, "chat") as person:
        person.wait_for_prompt()
        person.type("never sent")
        person.wait_for("> never sent")
        person.type(CTRL_C)
        person.wait_for_prompt()
        person.type(CTRL_C)
        person.wait_for(lambda: person.written[-1] == "Ctrl-D ends the session")
        assert person.process.poll() is None


def test_what_is_typed_meanwhile_is_not_lost(chatcli: Chatcli, fake_provider: FakeProvider) -> None:
    """Keys pressed while an answer comes don't disturb it, and stand at the next prompt, unsent."""
    with Person(chatcli, "chat", "-m", "openai:slow-2") as person:
        person.send("count")
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        fake_provider.release(1)
        person.wait_for("w0")
        person.type("next\rline")
        fake_provider.release(1)
        person.wait_for("> next\n  line")
        assert "w0 w1" in person.lines
        assert person.text.count("next") == 1
    assert len(fake_provider.requests()) == 1


def test_an_error_brings_the_prompt_back(chatcli: Chatcli) -> None:
    """A provider's error is two lines; the prompt is there again for editing, and the session goes on."""
    with Person(chatcli, "chat", "-m", "openai:err-401") as person:
        person.send("my question")
        person.wait_for("error: ")
        person.wait_for("hint: ")
        person.wait_for_prompt("my question")
        person.type(CTRL_C)
        person.send("/model openai:any")
        person.send("my question")
        person.wait_for("Hello from the fake provider.")
    assert "sk-canary" not in person.bytes.decode()


def test_unknown_commands_suggest_the_nearest(chatcli: Chatcli) -> None:
    """A mistyped command is no prompt: the nearest is named, and the text is there for editing."""
    with Person(chatcli, "chat") as person:
        person.send("/histroy")
        person.wait_for("did you mean /history?")
        person.wait_for_prompt("/histroy")
    assert chatcli("history").stdout == b""


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/help", ("/help", "")),
        ("/title  My thread ", ("/title", "My thread")),
        ("/nonsense", ("/nonsense", "")),
        ("/etc/passwd what is this?", None),
        ("/help\nis a command", None),
        ("//help", None),
        ("a /help", None),
        ("/ 2", None),
    ],
)
def test_what_is_a_command(text: str, command: tuple[str, str] | None) -> None:
    """A word behind one slash is a command; paths, longer texts and two slashes are prompts."""
    assert split_command(text) == command
    assert prompt_of("//help") == "/help"


def test_every_command_has_help(chatcli: Chatcli) -> None:
    """/help has a line for each command and each key."""
    with Person(chatcli, "chat", lines=60, columns=120) as person:
        person.send("/help")
        person.wait_for("Ctrl-X Ctrl-E")
        for command in COMMANDS:
            assert any(line.startswith(command.usage) and command.help in line for line in person.lines)
        person.send("/help retry")
        person.wait_for("/retry    Ask the last prompt again")
    assert nearest("/exti") == "/exit"
    assert nearest("/hist") == "/history"


def test_completion(chatcli: Chatcli) -> None:
    """Tab completes commands, threads by their titles, models and files."""
    keep(chatcli, "blue-thread", [("hi", "ho", TurnState.COMPLETE)], title="all about blue")
    (chatcli.home / "notes.txt").write_text("x")
    with Person(chatcli, "chat") as person:
        person.wait_for_prompt()
        for typed, shown in [
            ("/mod", "> /model"),
            ("/switch about", "> /switch blue-thread"),
            ("/model offl", "> /model offline"),
            ("/file note", "> /file notes.txt"),
        ]:
            person.type(typed + TAB)
            person.wait_for(shown)
            person.type(CTRL_C)
            person.wait_for_prompt()


def test_settings_of_the_thread(chatcli: Chatcli, fake_provider: FakeProvider, history: History) -> None:
    """/title, /system, /language and /model hold for the prompts that follow."""
    with Person(chatcli, "chat", "-t", "set") as person:
        for line in ("/title A good name", "/system Be brief.", "/language Esperanto", "/model openai:other"):
            person.send(line)
        person.send("hello")
        person.wait_for("openai:other · A good name")
        person.send("/title Renamed")
        person.wait_for("openai:other · Renamed")
    body = fake_provider.requests()[-1]["body"]
    assert body["model"] == "other"
    assert "Be brief." in body["messages"][0]["content"]
    assert "Esperanto" in body["messages"][0]["content"]
    document = history("set")
    assert (document["title"], document["language"]) == ("Renamed", "Esperanto")


def test_files_go_with_the_next_prompt(chatcli: Chatcli, history: History) -> None:
    """/file adds a file to one prompt; one that is not there is an error at once."""
    (chatcli.home / "notes.txt").write_text("from the file\n")
    with Person(chatcli, "chat", "-t", "files") as person:
        person.send("/file missing.txt")
        person.wait_for("missing.txt can't be read")
        person.send("/file notes.txt")
        person.wait_for("1 file")
        person.send("read it")
        person.wait_for("12 tokens")
        person.send("again")
        person.wait_for("24 tokens")
    assert prompts(history("files")) == ["read it\n\nnotes.txt:\n```\nfrom the file\n```", "again"]


def test_save_and_copy(chatcli: Chatcli, tmp_path: Path) -> None:
    """/save writes the thread, asks before it overwrites; /copy sends the answer to the clipboard."""
    with Person(chatcli, "chat", "-t", "kept", PATH=str(tmp_path)) as person:
        person.send("/copy")
        person.wait_for("there is no answer to copy")
        person.send("hello")
        person.wait_for("Hello from the fake provider.")
        person.send("/save out.md")
        person.wait_for("wrote 1 turn to out.md")
        person.send("/save out.md")
        person.wait_for("out.md exists. Overwrite it? [y/N]")
        person.type("n\r")
        person.wait_for("nothing was written")
        person.send("/copy")
        person.wait_for("copied 29 characters")
    assert "Hello from the fake provider." in (chatcli.home / "out.md").read_text()
    copied = base64.b64encode(b"Hello from the fake provider.").decode()
    assert f"\x1b]52;c;{copied}\x07" in person.bytes.decode()


def test_usage_knows_prices(chatcli: Chatcli) -> None:
    """/usage counts tokens of turn and thread, and what they cost if config.toml has the price."""
    config = chatcli.home / "config" / "chatcli" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[prices]\n"openai:any" = {input = 1000, output = 2000}\n')
    with Person(chatcli, "chat") as person:
        for _ in range(2):
            person.send("hello")
        person.send("/usage")
        person.wait_for("turn    12 tokens: 7 in, 5 out · $0.0170")
        person.wait_for("thread  24 tokens: 14 in, 10 out · $0.0340")
        person.send("/model openai:tokens-3")
        person.send("hello")
        person.send("/usage")
        person.wait_for("no price in config.toml for openai:tokens-3")


def test_clear_archive_delete(chatcli: Chatcli, history: History) -> None:
    """What can't be taken back is asked first; afterwards the session goes on elsewhere."""
    with Person(chatcli, "chat", "-t", "short") as person:
        person.send("hello")
        person.wait_for("12 tokens")
        person.send("/clear")
        person.wait_for("Remove 1 turn of this thread for good? [y/N]")
        person.type("y\r")
        person.wait_for("cleared")
        assert history("short")["turns"] == []
        person.send("/archive")
        person.wait_for("archived short")
        person.send("hello")
        person.wait_for("12 tokens")
        person.send("/delete")
        person.wait_for("Delete “hello” with 1 turn for good? [y/N]")
        person.type(CTRL_C)
        person.send("/delete")
        person.wait_for(lambda: person.text.count("for good? [y/N]") == 3)
        person.type("y\r")
        person.wait_for("deleted; the next prompt begins a new thread")
    assert chatcli("history", "--json").stdout == b""
    assert history("short")["archived_at"] is not None


def test_resuming_shows_where_it_was_left(chatcli: Chatcli) -> None:
    """The last turns of a thread are shown as they looked, and how many there are before."""
    keep(chatcli, "long", [(f"question {n}", f"answer **{n}**", TurnState.COMPLETE) for n in range(5)])
    with Person(chatcli, "chat", "-t", "long") as person:
        person.wait_for_prompt()
        assert "question 1" not in person.text.partition("\n")[2]
        for number in (2, 3, 4):
            assert f"> question {number}" in person.lines
        assert "2 earlier turns: /history" in person.text
        assert person.status is not None
        assert person.status.endswith("context 10/20")
        assert "answer 4" in person.lines


def test_turns_from_elsewhere_are_shown(chatcli: Chatcli) -> None:
    """What another session adds to the thread is shown before the next prompt."""
    with Person(chatcli, "chat", "-t", "shared") as person:
        person.send("mine")
        person.wait_for("12 tokens")
        chatcli("chat", "-t", "shared", "theirs")
        person.send("/usage")
        person.wait_for("meanwhile, from elsewhere:")
        person.wait_for_prompt()
        assert "> theirs" in person.lines
        assert person.text.count("> mine") == 1


def test_a_second_session_is_told_who_holds_the_thread(chatcli: Chatcli, fake_provider: FakeProvider) -> None:
    """It waits for the running turn and shows it, or opens read only."""
    with Person(chatcli, "chat", "-t", "held", "-m", "openai:slow-2") as first:
        first.send("the first question")
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        with Person(chatcli, "chat", "-t", "held") as third:
            third.wait_for("turn 1 is being answered by another session")
            third.wait_for("Wait for it? [Y/n]")
            assert "the first question" in third.text
            third.type("n\r")
            third.send("me too")
            third.wait_for("the thread is open read only")
        with Person(chatcli, "chat", "-t", "held") as second:
            second.wait_for("Wait for it? [Y/n]")
            second.type("\r")
            fake_provider.release(2)
            second.wait_for("w0 w1")
            second.send("now me")
            second.wait_for("Hello from the fake provider.")


def test_a_lost_store_loses_no_answer(
    chatcli: Chatcli, fake_provider: FakeProvider, history: History
) -> None:
    """The answer stays on the screen; the session says what is not saved, and saves it when it can."""
    with Person(chatcli, "chat", "-t", "kept", "-m", "openai:slow-2") as person:
        person.send("hello")
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        writer = sqlite3.connect(chatcli.database, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        fake_provider.release(2)
        person.wait_for("Try to save it again? [Y/n]")
        assert "w0 w1" in person.lines
        assert "Not saved: this prompt and its answer" in person.text
        writer.execute("ROLLBACK")
        writer.close()
        person.type("\r")
        person.wait_for("saved\n\n>")
        (turn,) = history("kept")["turns"]
        assert (turn["state"], turn["messages"][1]["content"]) == ("complete", "w0 w1 ")
        person.send("/model openai:any")
        person.send("go on")
        person.wait_for("Hello from")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_keeps_what_arrived(
    number: signal.Signals, chatcli: Chatcli, fake_provider: FakeProvider, history: History
) -> None:
    """SIGHUP and SIGTERM end answer and session; the turn is there as interrupted."""
    with Person(chatcli, "chat", "-t", "cut", "-m", "openai:slow-9") as person:
        person.send("count")
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        fake_provider.release(2)
        person.wait_for("w0 w1")
        person.process.send_signal(number)
        assert person.finish() == 128 + number
    (turn,) = history("cut")["turns"]
    assert (turn["state"], turn["messages"][1]["content"]) == ("interrupted", "w0 w1 ")


def test_a_closed_window_keeps_what_arrived(
    chatcli: Chatcli, fake_provider: FakeProvider, history: History
) -> None:
    """When the terminal goes in the middle of an answer, the turn is there as interrupted."""
    with Person(chatcli, "chat", "-t", "gone", "-m", "openai:slow-9") as person:
        person.send("count")
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        fake_provider.release(2)
        person.wait_for("w0 w1")
        person.hang_up()
        assert person.process.wait(60) == 129
    (turn,) = history("gone")["turns"]
    assert (turn["state"], turn["messages"][1]["content"]) == ("interrupted", "w0 w1 ")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_ends_the_prompt(number: signal.Signals, chatcli: Chatcli) -> None:
    """At the prompt SIGHUP and SIGTERM end the session with their codes."""
    with Person(chatcli, "chat") as person:
        person.wait_for_prompt()
        person.process.send_signal(number)
        assert person.finish() == 128 + number


def test_a_long_answer_in_a_session(chatcli: Chatcli) -> None:
    """An answer longer than the screen is in the scrollback once, line by line."""
    answer = long_answer(3)
    with Person(chatcli, "chat", "-m", "openai:echo") as person:
        person.wait_for_prompt()
        person.paste(answer)
        person.type("\r")
        person.wait_for("context 2/20")
        person.wait_for_prompt()
        for number in range(3):
            assert person.text.count(f"• nested under {number}") == 1
            assert person.text.count(f"Paragraph {number} says that nothing is lost") == 1


def test_a_dumb_terminal_has_no_session(chatcli: Chatcli) -> None:
    """Without a terminal that can move its cursor, chat without a prompt is a usage error."""
    with Person(chatcli, "chat", TERM="dumb") as person:
        assert person.finish() == 2
        assert "there is nothing to send" in person.text


def test_hostile_text_in_a_session(chatcli: Chatcli) -> None:
    """A title, a prompt and an answer full of control sequences ask nothing of the terminal."""
    evil = "\x1b]0;owned\x07\x1b[6n\x9b6n\u202e"
    chatcli("chat", "-t", "evil", "-m", "openai:esc", evil)
    with Person(chatcli, "chat", "-t", "evil", "-m", "openai:esc") as person:
        person.send("again")
        person.wait_for("context 4/20")
        person.send("/threads")
        person.send("/history")
        person.send("/exit")
        assert person.finish() == 0
        assert not [asked for asked in person.terminal.screen.asked if "title" in asked]
    shown = person.bytes.decode()
    assert "\x1b]" not in shown
    assert "\u202e" not in shown
    assert "\x9b" not in shown


def test_retry_undo_and_edit_lose_nothing(chatcli: Chatcli, history: History) -> None:
    """They change the thread, and each leaves a fork that has everything."""
    with Person(chatcli, "chat", "-t", "tree") as person:
        person.send("one")
        person.wait_for("12 tokens")
        person.send("two")
        person.wait_for("24 tokens")
        person.send("/retry")
        person.wait_for("took back the last turn · as it was: /switch ")
        person.wait_for_prompt()
        assert prompts(history("tree")) == ["one", "two"]
        person.send("/undo 2")
        person.wait_for("took back the last 2 turns")
        assert prompts(history("tree")) == []
        person.send("three")
        person.wait_for("12 tokens")
        person.send("/edit")
        person.wait_for_prompt("three")
        person.type(" and a half\r")
        person.wait_for_prompt()
        assert prompts(history("tree")) == ["three and a half"]
        person.send("/edit")
        person.wait_for_prompt("three and a half")
        person.type(CTRL_C)
        person.send("/usage")
        person.send("four")
        person.wait_for("24 tokens")
        assert prompts(history("tree")) == ["three and a half", "four"]
    done = chatcli("history", "--json")
    assert len(done.stdout.splitlines()) == 4


def test_only_the_session_knows_of_line_editing() -> None:
    """prompt_toolkit is imported by nothing outside the session: the other commands don't pay for it."""
    source = Path(__file__).parents[2] / "chatcli"
    importing = {path for path in source.rglob("*.py") if "prompt_toolkit" in path.read_text()}
    assert importing
    assert all(path.is_relative_to(source / "cli" / "session") for path in importing)
