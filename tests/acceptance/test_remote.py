"""The commands over a running server: the same output and exit codes, with next to nothing imported."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from chatcli.models import utc_now
from tests.acceptance.conftest import lines
from tests.cli.seed import insert
from tests.fake_provider import FakeProvider
from tests.program import Chatcli
from tests.server.peer import TOKENS, Server, serving

Run = CompletedProcess[bytes]
TIME = re.compile(rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def summary(done: Run) -> tuple[int, bytes, bytes]:
    """Return all that a run shows, but for the time that it was."""
    return done.returncode, TIME.sub(b"TIME", done.stdout), done.stderr


# The same as without a server ------------------------------------------------------------------


def test_a_life_over_a_server_looks_like_one_without(chatcli: Chatcli, remote: Chatcli) -> None:
    """Each command writes the same bytes and ends with the same code."""
    remote = remote.with_environment(CHATCLI_API_TOKEN=TOKENS["alice"])  # no other test is alice
    data = "Größe\r\n`x`\u2028 \x1b[31mred\n".encode()
    runs: list[tuple[tuple[str, ...], bytes]] = [
        (("chat", "-m", "offline", "-t", "tour", "look at", "this"), data),
        (("chat", "-m", "offline", "-c", "--system", "Be brief.", "-l", "German", "and", "now?"), b""),
        (("chat", "-m", "offline", "-t", "tour", "--no-save", "not kept"), b""),
        (("chat", "-m", "offline", "-t", "second", "--no-stream", "--title", "A tour", "third"), b""),
        (("chat", "-t", "../x", "hello"), b""),
        (("chat", "-m", "nobody:x", "--json", "hello"), b""),
        (("history", "tour"), b""),
        (("history", "tour", "--tail", "1"), b""),
        (("history", "seco"), b""),
        (("history", "nothing", "--json"), b""),
        (("history", "--search", "Größe"), b""),
        (("archive", "second", "--json", "--quiet"), b""),
        (("chat", "-m", "offline", "-t", "second", "hello"), b""),
        (("clear", "tour", "nothing", "--yes"), b""),
        (("delete", "-", "--yes"), b"tour\nsecond\n"),
        (("history",), b""),
        (("chat", "-c", "hello"), b""),
    ]
    for words, given in runs:
        here, there = chatcli(*words, input=given), remote(*words, input=given)
        assert summary(there) == summary(here), words


def test_a_socket_file_is_as_good(chatcli: Chatcli, servers: Callable[[str], tuple[Server, str]]) -> None:
    """Over a Unix socket everything is as over TCP."""
    _, url = servers("unix")
    for words in (
        ("chat", "-m", "offline", "-t", "local", "hello"),
        ("history", "local"),
        ("delete", "local", "--yes"),
        ("history",),
    ):
        there = chatcli(*words, "--server", url, env={"CHATCLI_API_TOKEN": TOKENS["local"]})
        assert summary(there) == summary(chatcli(*words)), words


def test_a_key_is_for_one_request(remote: Chatcli, fake_provider: FakeProvider) -> None:
    """The same key with another prompt is refused; with no thread it finds the thread that it began."""
    once = ("chat", "--json", "--idempotency-key", "key-of-one")
    first, again = remote(*once, "hello"), remote(*once, "hello")
    assert lines(first)[0]["thread_id"] == lines(again)[0]["thread_id"]
    assert lines(again)[-1]["metadata"]["replayed"] is True
    assert remote(*once, "other").returncode == 2
    assert len(fake_provider.requests()) == 1


def test_documents_are_the_same(remote: Chatcli, server: Server) -> None:
    """`--json` over the server is what the command says beside its store, to the last microsecond."""
    remote("chat", "-t", "same", "-m", "openai:reason", "hello")
    remote("chat", "-t", "same", "-m", "openai:err-401", "again")
    remote("chat", "-t", "same", "-m", "openai:length", "and again")
    for words in (("history", "same", "--json"), ("history", "--json"), ("history", "--search", "again")):
        here, there = server.program(*words), remote(*words)
        assert here.stdout
        assert summary(there) == summary(here)


def test_events_are_the_same(remote: Chatcli, online: Chatcli) -> None:
    """`chat --json` writes the same events: reasoning, tokens, usage, and the error in the end."""
    for model in ("reason", "error-mid", "err-400"):
        words = ("chat", "-t", f"events-{model}", "-m", f"openai:{model}", "--json", "hello")
        here, there = online(*words), remote(*words)
        assert there.returncode == here.returncode
        assert [told(line) for line in lines(there)] == [told(line) for line in lines(here)]
        assert there.stderr == here.stderr


def told(event: dict[str, object]) -> str:
    """Return an event without what is never the same."""
    if isinstance(event.get("metadata"), dict):
        event = {**event, "metadata": {**event["metadata"], "turn_id": ""}}  # type: ignore[dict-item]
    return json.dumps({**event, "turn_id": ""})


def test_options_reach_the_model(remote: Chatcli, fake_provider: FakeProvider) -> None:
    """What the command line says of the answer is in the provider's request."""
    done = remote(
        "chat", "--temperature", "0.5", "--max-tokens", "7", "-s", "Be brief.", "-l", "German", "hi"
    )
    assert done.returncode == 0, done.stderr
    body = fake_provider.requests()[0]["body"]
    assert (body["temperature"], body.get("max_completion_tokens") or body.get("max_tokens")) == (0.5, 7)
    assert "Be brief." in body["messages"][0]["content"]
    assert "German" in body["messages"][0]["content"]


def test_a_long_list_comes_page_by_page(remote: Chatcli, server: Server) -> None:
    """More threads than the server lists at a time are all listed, once."""
    now = utc_now()
    insert(server.program, *[(f"n{number}", now) for number in range(105)], owner="bob")
    found = remote("history", "-n", "0", env={"CHATCLI_API_TOKEN": TOKENS["bob"]})
    assert sorted(row.split(b"\t")[0] for row in found.stdout.splitlines()) == sorted(
        f"n{number}".encode() for number in range(105)
    )


# Ends of a turn --------------------------------------------------------------------------------


def test_ctrl_c_keeps_what_arrived(remote: Chatcli, fake_provider: FakeProvider) -> None:
    """The server ends the turn as interrupted, and it is stored when the command has ended with 130."""
    with remote.start("chat", "-t", "stopped", "-m", "openai:slow", "hello") as running:
        fake_provider.release()
        assert running.read_until(b"Hello")
        running.send(signal.SIGINT)
        assert running.finish() == 130
    assert b"interrupted; what arrived is kept as interrupted" in running.errors
    turn = json.loads(remote("history", "stopped", "--json").stdout)["turns"][0]
    assert turn["state"] == "interrupted"
    assert turn["messages"][-1]["content"].encode() == running.seen.rstrip(b"\n")


def test_ctrl_c_before_the_first_token(remote: Chatcli, fake_provider: FakeProvider) -> None:
    """What the command says of the turn is what the server made of it."""
    with remote.start("chat", "-t", "early", "-m", "openai:hang", "hello") as running:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        running.send(signal.SIGTERM)
        assert running.finish() == 143
    assert b"interrupted; what arrived is kept as interrupted" in running.errors
    turns = json.loads(remote("history", "early", "--json").stdout)["turns"]
    assert [turn["state"] for turn in turns] == ["interrupted"]


def test_a_busy_thread_is_waited_for(remote: Chatcli, fake_provider: FakeProvider) -> None:
    """With --wait 0 it is 75 at once; else the command says that it waits, and then answers."""
    with remote.start("chat", "-t", "busy", "-m", "openai:slow-1", "one") as first:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        refused = remote("chat", "-t", "busy", "--wait", "0", "two")
        assert refused.returncode == 75
        assert b"another turn is running" in refused.stderr
        assert remote("clear", "busy", "--yes").returncode == 75
        with remote.start("chat", "-t", "busy", "two") as second:
            assert second.process.stderr is not None
            assert b"waiting for the thread" in second.process.stderr.readline()
            fake_provider.release()
            assert first.finish() == 0
            assert second.finish() == 0
    assert second.seen.startswith(b"Hello")


def test_a_server_that_dies_is_told(tmp_path: Path, chatcli: Chatcli, fake_provider: FakeProvider) -> None:
    """A stream without its last line is 76, with what arrived on standard output; then nobody answers: 69."""
    with serving(tmp_path / "mortal", "--insecure-no-auth", provider=fake_provider) as server:
        remote = chatcli.with_environment(CHATCLI_SERVER=server.url, CHATCLI_API_TOKEN=TOKENS["local"])
        with remote.start("chat", "-t", "mortal", "-m", "openai:slow", "hello") as running:
            fake_provider.release()
            assert running.read_until(b"Hello")
            server.process.kill()
            assert running.finish() == 76
        assert b"chatcli history mortal --tail 1" in running.errors
    for words in (("history",), ("chat", "hello")):
        gone = remote(*words)
        assert (gone.returncode, gone.stdout) == (69, b"")
        assert f"the server at {server.url} can't be reached".encode() in gone.stderr


# Who may, and who answers ----------------------------------------------------------------------


def test_a_wrong_token_is_told(remote: Chatcli) -> None:
    """77, with what to do; with no token, too."""
    wrong = remote("history", env={"CHATCLI_API_TOKEN": "wrong"})
    assert (wrong.returncode, wrong.stdout) == (77, b"")
    assert b"CHATCLI_API_TOKEN is none of the server's tokens" in wrong.stderr
    missing = remote("chat", "hello", env={"CHATCLI_API_TOKEN": ""})
    assert missing.returncode == 77
    assert b"set CHATCLI_API_TOKEN to a token of the server" in missing.stderr


def test_each_token_has_its_own_threads(remote: Chatcli) -> None:
    """The token decides whose threads the commands see."""
    assert remote("chat", "-t", "of-the-shell", "hi").returncode == 0
    other = remote("history", "of-the-shell", env={"CHATCLI_API_TOKEN": TOKENS["bob"]})
    assert (other.returncode, other.stdout) == (66, b"")


def test_a_token_goes_to_its_own_server_alone(chatcli: Chatcli, server: Server) -> None:
    """One of config.toml is for the server of config.toml; one of the environment for --server, too."""
    config = chatcli.home / "config" / "chatcli" / "config.toml"
    config.parent.mkdir(parents=True)
    token = f'api_token = "{TOKENS["local"]}"\n'
    config.write_text(token)
    for done in (
        chatcli("history", env={"CHATCLI_SERVER": server.url}),
        chatcli("history", "--server", server.url),
    ):
        assert done.returncode == 77
        assert b"was set for another server" in done.stderr
        assert TOKENS["local"].encode() not in done.stderr
    config.write_text(f'{token}server = "{server.url}"\n')
    assert chatcli("history").returncode == 0
    config.unlink()
    given = {"CHATCLI_API_TOKEN": TOKENS["local"]}
    assert chatcli("history", "--server", server.url, env=given).returncode == 0


def test_too_many_requests_are_75(tmp_path: Path, chatcli: Chatcli) -> None:
    """The server's limit ends the command as a provider's would."""
    words = ("--insecure-no-auth", "--store", "memory://")
    with serving(tmp_path / "few", *words, CHATCLI_CLIENT_RATE="1/day", CHATCLI_MODEL="offline") as server:
        remote = chatcli.with_environment(CHATCLI_SERVER=server.url, CHATCLI_API_TOKEN=TOKENS["local"])
        assert remote("history").returncode == 0
        limited = remote("chat", "--json", "hello")
    assert limited.returncode == 75
    assert json.loads(limited.stderr)["error"]["type"] == "urn:chatcli:rate-limited"


def test_a_stranger_is_no_server(chatcli: Chatcli, fake_provider: FakeProvider) -> None:
    """What speaks HTTP and is no chatcli server is named as that: 76."""
    for words in (("history",), ("chat", "hello")):
        done = chatcli(*words, "--server", fake_provider.url)
        assert (done.returncode, done.stdout) == (76, b"")
        assert b"is no chatcli server" in done.stderr


# What the server says ----------------------------------------------------------------------------


def test_info_tries_the_server(remote: Chatcli, server: Server) -> None:
    """Where threads are kept is the server, and `--check` asks it whether its store answers."""
    facts = json.loads(remote("info", "--check", "--json", "-m", "offline").stdout)
    assert facts["store"] == server.url
    assert facts["check"]["store"]["ok"] is True


def test_a_store_of_the_command_line_counts_over_the_server(remote: Chatcli) -> None:
    """--store means that store, whatever the environment says; with --server it makes no sense."""
    local = remote("chat", "--store", "sqlite:///own.db", "-m", "offline", "-t", "own", "hello")
    assert local.returncode == 0
    assert remote("history", "--store", "sqlite:///own.db").stdout.startswith(b"own\t")
    both = remote("history", "--store", "memory://", "--server", "http://127.0.0.1:1")
    assert both.returncode == 2


@pytest.mark.parametrize("url", ["chat.example", "ftp://x", "http://user:secret@x", "unix://relative"])
def test_a_url_that_is_none_is_refused(chatcli: Chatcli, url: str) -> None:
    """78, and a password in it is not shown."""
    refused = chatcli("history", "--server", url)
    assert refused.returncode == 78
    assert b"secret" not in refused.stderr
