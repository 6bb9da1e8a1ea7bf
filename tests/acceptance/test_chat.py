"""The main job: ask, see the answer come, and find the thread again tomorrow."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from chatcli.models import LOCAL_OWNER, Message, Role, TurnState, utc_now
from chatcli.stores import open_store
from chatcli.stores.base import NewTurn, Outcome, message_id
from chatcli.text import new_id
from tests.acceptance.conftest import lines
from tests.fake_provider import FakeProvider
from tests.fake_provider.script import DEFAULT_ANSWER
from tests.program import Chatcli

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def sent(provider: FakeProvider) -> list[dict[str, Any]]:
    """Return the messages of the last request."""
    messages: list[dict[str, Any]] = provider.requests()[-1]["body"]["messages"]
    return messages


def test_what_was_piped_in_is_there_again_byte_for_byte(chatcli: Chatcli, history: Any) -> None:
    """A piped one-shot on a fresh machine makes one complete turn, with the exact bytes back."""
    done = chatcli("chat", "--model", "offline", "-t", "demo", "what did I pipe in?", input=b"hello\n")
    assert done.returncode == 0, done.stderr
    thread = history("demo")
    (turn,) = thread["turns"]
    assert (turn["index"], turn["state"]) == (1, "complete")
    human, answer = turn["messages"]
    assert human["content"] == "what did I pipe in?\n\n```\nhello\n```"
    assert answer["content"].encode() == done.stdout
    assert "hello" in answer["content"]


def test_tokens_come_one_by_one_while_the_provider_still_streams(
    online: Chatcli, fake_provider: FakeProvider
) -> None:
    """Each token is on standard output before the provider sends the next one."""
    with online.start("chat", "--model", "openai:slow-5", "count") as process:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        for number in range(5):
            fake_provider.release(1)
            assert process.read_until(f"w{number}".encode())
        fake_provider.release(100)
        assert process.finish() == 0


def test_the_second_turn_sends_the_first_as_context(online: Chatcli, fake_provider: FakeProvider) -> None:
    """`-c` continues the thread: prompt and answer of the first turn go before the new prompt."""
    assert online("chat", "--model", "openai:any", "first").returncode == 0
    assert online("chat", "--model", "openai:any", "-c", "second").returncode == 0
    system, *rest = sent(fake_provider)
    assert system["role"] == "system"
    assert [(message["role"], message["content"]) for message in rest] == [
        ("user", "first"),
        ("assistant", DEFAULT_ANSWER),
        ("user", "second"),
    ]


async def test_a_long_thread_sends_at_most_twenty_messages(
    online: Chatcli, fake_provider: FakeProvider, history: Any
) -> None:
    """On a thread of 200 turns the request holds the newest 20 messages at most, from a human one on."""
    store = open_store(f"sqlite:///{online.database}")
    for number in range(200):
        turn_id = new_id()
        prompt = (Message(message_id(turn_id, 0), Role.HUMAN, f"q{number}", utc_now()),)
        begun = await store.begin(NewTurn(LOCAL_OWNER, "long", turn_id, "openai:any", prompt, "long"))
        assert begun.lease is not None
        answer = Message(message_id(turn_id, 1), Role.AI, f"a{number}", utc_now())
        await store.commit(begun.lease, Outcome(TurnState.COMPLETE, (answer,), "stop"))
    await store.aclose()

    assert online("chat", "--model", "openai:any", "-t", "long", "the last one").returncode == 0
    system, *rest = sent(fake_provider)
    assert system["role"] == "system"
    assert len(rest) <= 20
    assert rest[0] == {"role": "user", "content": "q191"}
    assert rest[-1] == {"role": "user", "content": "the last one"}
    assert len(history("long")["turns"]) == 201


def test_continue_takes_the_thread_that_was_used_last(chatcli: Chatcli, history: Any) -> None:
    """After A, B, A the last used thread is A, although B is the newer one."""
    for thread in ("thread-a", "thread-b", "thread-a"):
        assert chatcli("chat", "--model", "offline", "-t", thread, "hello").returncode == 0
    assert chatcli("chat", "-c", "go on").returncode == 0
    assert len(history("thread-a")["turns"]) == 3
    assert len(history("thread-b")["turns"]) == 1


def test_nothing_to_continue_is_an_error(chatcli: Chatcli) -> None:
    """`-c` on an empty store makes nothing and exits with 66."""
    done = chatcli("chat", "--model", "offline", "-c", "hello")
    assert done.returncode == 66
    assert done.stderr.startswith(b"error: ")


def test_a_mistyped_id_is_never_another_thread(chatcli: Chatcli) -> None:
    """The beginning of a generated id makes no thread: the error lists the ids that begin like that."""
    started = lines(chatcli("chat", "--model", "offline", "--json", "hello"))
    thread_id = started[0]["thread_id"]
    done = chatcli("chat", "--model", "offline", "-t", thread_id[:8], "hello")
    assert done.returncode == 2
    assert thread_id in done.stderr.decode()
    assert chatcli("history", f"{thread_id[:-1]}x").returncode == 66
    assert chatcli("history", "nowhere").returncode == 66
    assert len(chatcli("history", "--json").stdout.splitlines()) == 1


def test_the_model_of_a_thread_is_kept_where_none_is_set(chatcli: Chatcli) -> None:
    """A thread goes on with its own model, so `-c` needs no `--model` again."""
    assert chatcli("chat", "--model", "offline", "hello").returncode == 0
    assert chatcli("chat", "-c", "again").returncode == 0


def test_no_key_and_no_model_names_every_way_to_get_one(chatcli: Chatcli) -> None:
    """Without any model the error tells how to get one, `--model offline` among them."""
    done = chatcli("chat", "hello")
    assert done.returncode == 78
    assert b"OPENAI_API_KEY" in done.stderr
    assert b"GROQ_API_KEY" in done.stderr
    assert b"--model offline" in done.stderr


def test_events_as_json_lines(online: Chatcli) -> None:
    """`--json` writes the events of the turn: metadata, tokens, metadata."""
    events = lines(online("chat", "--model", "openai:any", "-t", "abc-123", "--json", "hello"))
    assert events[0]["type"] == "metadata"
    assert events[0]["metadata"]["thread_created"] is True
    tokens = [event for event in events if event["type"] == "token"]
    assert len(tokens) > 1
    assert "".join(token["content"] for token in tokens) == DEFAULT_ANSWER
    assert {event["thread_id"] for event in events} == {"abc-123"}
    last = events[-1]["metadata"]
    assert (last["status"], last["state"], last["saved"]) == ("completed", "complete", True)
    assert last["usage"]["input_tokens"] == 7


def test_no_stream_prints_the_same_answer(online: Chatcli) -> None:
    """`--no-stream` gives the same bytes, and as JSON one token event."""
    assert online("chat", "--model", "openai:any", "--no-stream", "x").stdout.decode() == DEFAULT_ANSWER
    events = lines(online("chat", "--model", "openai:any", "--no-stream", "--json", "x"))
    assert [event["type"] for event in events] == ["metadata", "token", "metadata"]


def test_no_save_stores_nothing_and_still_reads(
    online: Chatcli, fake_provider: FakeProvider, history: Any
) -> None:
    """`--no-save` answers from the thread's context and leaves the thread as it was."""
    online("chat", "--model", "openai:any", "-t", "kept", "first")
    done = online("chat", "--model", "openai:any", "-t", "kept", "--no-save", "second")
    assert (done.returncode, done.stdout.decode()) == (0, DEFAULT_ANSWER)
    assert [message["content"] for message in sent(fake_provider)[1:]] == ["first", DEFAULT_ANSWER, "second"]
    assert len(history("kept")["turns"]) == 1
    online("chat", "--model", "openai:any", "--no-save", "alone")
    assert len(online("history", "--json").stdout.splitlines()) == 1


def test_system_prompt_and_language_stay_with_the_thread(
    online: Chatcli, fake_provider: FakeProvider, tmp_path: Path
) -> None:
    """What `-s` and `-l` say holds for the thread's later turns, too; `@` reads a file."""
    (tmp_path / "pirate.txt").write_text("You are a pirate.")
    online("chat", "-m", "openai:any", "-t", "sea", "-s", "@pirate.txt", "-l", "Danish", "ahoy")
    online("chat", "-m", "openai:any", "-t", "sea", "again")
    system = sent(fake_provider)[0]
    assert "You are a pirate." in system["content"]
    assert "Danish" in system["content"]
    (thread,) = lines(online("history", "--json"))
    assert thread["language"] == "Danish"


def test_options_reach_the_provider(online: Chatcli, fake_provider: FakeProvider) -> None:
    """Temperature and the limit on tokens are in the request."""
    online("chat", "-m", "openai:any", "--temperature", "0.25", "--max-tokens", "17", "x")
    body = fake_provider.requests()[-1]["body"]
    assert body["temperature"] == 0.25
    assert 17 in (body.get("max_tokens"), body.get("max_completion_tokens"))


def test_title_is_the_first_line_until_it_is_named(chatcli: Chatcli) -> None:
    """A thread is called by its first prompt's first line, cut to 60 characters, or by `--title`."""
    chatcli("chat", "-m", "offline", "-t", "one", f"short line\n{'x' * 100}")
    chatcli("chat", "-m", "offline", "-t", "two", "y" * 100)
    chatcli("chat", "-m", "offline", "-t", "one", "--title", "My thread", "more")
    titles = {thread["id"]: thread["title"] for thread in lines(chatcli("history", "--json"))}
    assert titles["one"] == "My thread"
    assert len(titles["two"]) == 60


def test_files_are_fenced_and_images_are_images(
    online: Chatcli, fake_provider: FakeProvider, tmp_path: Path, history: Any
) -> None:
    """A text file arrives in a named block whose fence it can't break, a picture as a picture."""
    (tmp_path / "notes.md").write_bytes(b"```\ncode\n```")
    (tmp_path / "dot.png").write_bytes(PIXEL)
    done = online("chat", "-m", "openai:any", "-t", "f", "-f", "notes.md", "-f", "dot.png", "what is this?")
    assert done.returncode == 0, done.stderr
    text, image = sent(fake_provider)[-1]["content"]
    assert text["text"] == "what is this?\n\nnotes.md:\n````\n```\ncode\n```\n````"
    assert image["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
    human = history("f")["turns"][0]["messages"][0]
    assert human["content"] == [text, image]
    # The picture is part of the context of the next turn.
    online("chat", "-m", "openai:any", "-t", "f", "and?")
    assert sent(fake_provider)[1]["content"][1]["type"] == "image_url"


def test_idempotency_key_asks_once(online: Chatcli, fake_provider: FakeProvider, history: Any) -> None:
    """A second run with the same key prints the stored answer and makes no request."""
    words = ("chat", "-m", "openai:any", "-t", "job", "--idempotency-key", "k1", "hello")
    first, second = online(*words), online(*words)
    assert first.stdout == second.stdout == DEFAULT_ANSWER.encode()
    assert len(fake_provider.requests()) == 1
    assert len(history("job")["turns"]) == 1
    other = online(*words[:-1], "something else")
    assert other.returncode == 2


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_errors_are_two_lines_or_one_object(chatcli: Chatcli, options: tuple[str, ...]) -> None:
    """An error is one line and a hint on standard error; with `--json` one JSON object."""
    done = chatcli("chat", "-m", "nosuch:model", *options, "x")
    assert done.stdout == b""
    if options:
        error = json.loads(done.stderr)["error"]
        assert error["type"].startswith("urn:chatcli:")
    else:
        first, second = done.stderr.decode().splitlines()
        assert first.startswith("error: ")
        assert second.startswith("hint: ")


def test_archived_and_case_rules(chatcli: Chatcli) -> None:
    """An id that differs only in case from another thread's makes no second thread."""
    chatcli("chat", "-m", "offline", "-t", "Demo", "x")
    done = chatcli("chat", "-m", "offline", "-t", "demo", "x")
    assert done.returncode == 2
    assert b"Demo" in done.stderr
