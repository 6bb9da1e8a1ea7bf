"""The end in good order, several workers, and a socket file."""

import json
import os
import signal
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

import httpx

from chatcli.server.options import ServeOptions
from chatcli.server.run import listen
from tests.fake_provider import FakeProvider
from tests.program import Chatcli
from tests.server.peer import TOKENS, WAIT, Server, eventually, serving


def test_a_server_that_stops_lets_turns_end(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """After SIGTERM the readiness is 503 and new turns are refused; the running one ends as it should."""
    with serving(tmp_path, provider=fake_provider) as server:
        with server.open_stream({"input": "x", "thread_id": "drain", "model": "openai:slow-2"}) as stream:
            fake_provider.release()
            lines = stream.documents()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            server.until_logged(lambda record: record["event"] == "stopping")
            assert server.call("GET", "/readyz", owner=None).status_code == 503
            assert server.call("GET", "/healthz", owner=None).status_code == 200
            refused = server.chat("y")
            assert (refused.status_code, refused.json()["type"]) == (503, "urn:chatcli:server-stopping")
            assert refused.headers["retry-after"] == "1"
            fake_provider.release()
            assert list(lines)[-1]["metadata"]["state"] == "complete"
        assert server.process.wait(WAIT) == 0
        assert server.program("history", "x").returncode == 66


def test_at_the_end_of_the_grace_period_turns_are_interrupted(
    tmp_path: Path, fake_provider: FakeProvider
) -> None:
    """Each stream gets its last line, an error that says what is saved; the text so far is in the store."""
    with serving(tmp_path, "--grace", "0.2", provider=fake_provider) as server:
        server.token = TOKENS["local"]
        streams = [
            server.open_stream({"input": "x", "thread_id": f"cut-{number}", "model": "openai:stall"})
            for number in range(3)
        ]
        for stream in streams:
            assert next(stream.documents())["type"] == "metadata"
        chat = server.open_stream({"input": "x", "model": "openai:silent"})
        fake_provider.wait_for(lambda requests: len(requests) == 4)
        assert server.stop() == 0
        for stream in streams:
            last = list(stream.documents())[-1]
            assert last["type"] == "error"
            assert last["error"]["type"] == "urn:chatcli:server-stopping"
            assert last["state"] == "interrupted"
            assert last["saved"] is True
            stream.hang_up()
        assert chat.read_head() == 503
        chat.hang_up()
        shown = json.loads(server.program("history", "cut-0", "--json").stdout)
        assert shown["turns"][0]["state"] == "interrupted"
        assert shown["turns"][0]["messages"][-1]["content"] == "Hello from"
        assert "Traceback" not in server.log.read_text()
        assert not [record for record in server.records() if record["level"] == "error"]


def test_a_second_interrupt_does_not_wait(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """Ctrl-C twice ends the turns at once; they are stored all the same."""
    with serving(tmp_path, provider=fake_provider) as server:
        server.token = TOKENS["local"]
        with server.open_stream({"input": "x", "thread_id": "twice", "model": "openai:slow-9"}) as stream:
            fake_provider.release()
            lines = stream.documents()
            next(lines)
            next(lines)
            server.process.send_signal(signal.SIGINT)
            server.until_logged(lambda record: record["event"] == "stopping")
            server.process.send_signal(signal.SIGINT)
            assert list(lines)[-1]["type"] == "error"
        assert server.process.wait(WAIT) == 0


def test_a_killed_server_leaves_whole_turns(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """After SIGKILL the orphan is interrupted, and the thread is free at once for the next server."""
    with serving(tmp_path, provider=fake_provider) as server:
        server.chat("one", thread_id="killed")
        with server.open_stream({"input": "two", "thread_id": "killed", "model": "openai:slow-9"}) as stream:
            fake_provider.release()
            next(stream.documents())
            server.process.kill()
            server.process.wait(WAIT)
    (tmp_path / "serve.log").unlink()
    with serving(tmp_path, provider=fake_provider) as server:
        assert [turn["state"] for turn in server.history("killed")] == ["complete", "interrupted"]
        assert server.chat("three", thread_id="killed", on_busy="reject").status_code == 200


def test_workers_share_threads_keys_and_counts(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """Whichever process answers, it is the same server; one that dies is replaced; all stop together."""
    with serving(tmp_path, "--workers", "2", provider=fake_provider) as server:
        pids = set(eventually(lambda: found if len(found := listening(server)) == 2 else None))
        key = {"Idempotency-Key": "workers"}
        turns = {
            server.call("POST", "/chat", json={"message": "x"}, headers=key).json()["turn_id"]
            for _ in range(12)
        }
        assert len(turns) == 1
        assert [r["method"] for r in fake_provider.requests()].count("POST") == 1
        first, second = (server.metric("chatcli_turns_total", state="complete") for _ in range(2))
        assert first == second == 12
        os.kill(min(pids), signal.SIGKILL)
        eventually(lambda: True if len(listening(server)) == 3 else None)
        assert server.call("GET", "/readyz", owner=None).status_code == 200
        assert server.stop() == 0
        for pid in listening(server):
            assert not Path(f"/proc/{pid}").exists()


def listening(server: Server) -> list[int]:
    return [record["pid"] for record in server.records() if record["event"] == "listening"]


def test_a_turn_of_another_worker_is_waited_for_or_refused(
    tmp_path: Path, fake_provider: FakeProvider
) -> None:
    """A thread is busy whichever process runs its turn, and a retry of its key gets its answer."""
    with (
        serving(tmp_path, provider=fake_provider) as one,
        serving(
            tmp_path / "second", "--store", f"sqlite:///{one.program.database}", provider=fake_provider
        ) as two,
    ):
        key = {"Idempotency-Key": "elsewhere"}
        body = {"input": "x", "thread_id": "elsewhere", "model": "openai:slow-1"}
        with one.open_stream(body, headers=key) as stream:
            fake_provider.wait_for(lambda requests: any(r["method"] == "POST" for r in requests))
            turn_id = eventually(lambda: two.history("elsewhere")[0]["turn_id"])
            refused = two.call("POST", "/chat/stream", json={**body, "on_busy": "reject"})
            assert refused.status_code == 409
            path = f"/threads/elsewhere/turns/{turn_id}/stream"
            assert two.call("GET", path).status_code == 409
            with two.open_stream(body, headers=key) as retry:
                fake_provider.release()
                assert list(stream.documents())[-1]["metadata"]["state"] == "complete"
                assert list(retry.documents())[-1]["metadata"]["replayed"] is True


def test_a_socket_file_is_the_owners_alone(tmp_path: Path) -> None:
    """It needs no token, has mode 0600 whatever the umask, replaces a stale one, and goes with the server."""
    path = tmp_path / "chat.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    words = ("--uds", str(path), "-m", "offline", "--store", "memory://")
    with serving(tmp_path, *words, uds=True, CHATCLI_API_TOKENS_FILE="") as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost"
        ) as client:
            assert client.post("/chat", json={"message": "x"}).json()["state"] == "complete"
        second = server.program("serve", *words)
        assert (second.returncode, b"somebody else" in second.stderr) == (78, True)
        assert server.stop() == 0
    assert not path.exists()
    path.write_text("notes")
    third = Chatcli.at(tmp_path)("serve", *words)
    assert (third.returncode, b"no socket" in third.stderr, path.read_text()) == (78, True, "notes")


def test_a_server_that_stops_leaves_the_file_of_its_successor(tmp_path: Path) -> None:
    """One that has closed its socket, and still has readers, does not take away what came in its place."""
    path = tmp_path / "chat.sock"
    options = ServeOptions(uds=path)
    with ExitStack() as successor:
        with listen(options) as first:
            first.close()  # as a server does that waits for its last readers
            successor.enter_context(listen(options))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not path.exists()
