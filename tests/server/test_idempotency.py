"""A retry with the same key never asks the model twice for the same answer."""

from pathlib import Path

import pytest

from tests.fake_provider import FakeProvider
from tests.server.peer import Server, eventually, serving


@pytest.mark.parametrize("thread", [None, "idem"])
def test_the_retry_of_a_finished_turn_is_its_answer(
    server: Server, fake_provider: FakeProvider, thread: str | None
) -> None:
    """On both doors, whichever came first, with a thread or without; one request reaches the provider."""
    key = {"Idempotency-Key": f"retry-{thread}"}
    where = {} if thread is None else {"thread_id": thread}
    lines = server.lines("hello", headers=key, **where)
    again = server.lines("hello", headers=key, **where)
    assert again[0]["thread_id"] == lines[0]["thread_id"]
    assert again[0]["metadata"]["turn_id"] == lines[0]["metadata"]["turn_id"]
    assert "".join(line.get("content", "") for line in again) == "".join(
        line.get("content", "") for line in lines
    )
    assert again[-1]["metadata"]["replayed"] is True
    whole = server.call("POST", "/chat", json={"message": "hello", **where}, headers=key)
    assert whole.json()["turn_id"] == lines[0]["metadata"]["turn_id"]
    assert len(fake_provider.requests()) == 1
    assert len(server.history(lines[0]["thread_id"])) == 1


def test_the_retry_of_a_running_turn_joins_it(server: Server, fake_provider: FakeProvider) -> None:
    """Both clients get the whole stream; a hung-up first one does not end it for the second."""
    key = {"Idempotency-Key": "join"}
    body = {"input": "x", "model": "openai:slow-3"}
    with server.open_stream(body, headers=key) as first:
        fake_provider.release()
        turn_id = next(first.documents())["metadata"]["turn_id"]
        with server.open_stream(body, headers=key) as second:
            lines = second.documents()
            assert next(lines)["metadata"]["turn_id"] == turn_id
            first.hang_up()
            fake_provider.release(2)
            rest = list(lines)
    assert [line.get("content") for line in rest[:-1]] == ["w0 ", "w1 ", "w2 "]
    assert rest[-1]["metadata"]["state"] == "complete"
    assert len(fake_provider.requests()) == 1


def test_the_same_key_with_another_body_is_refused(server: Server, fake_provider: FakeProvider) -> None:
    """422, and nothing is asked or stored, whether its turn has ended or still runs."""
    key = {"Idempotency-Key": "other-body"}
    server.lines("one", thread_id="other-1", headers=key)
    _refuse(server, key, {"input": "two", "thread_id": "other-1"})
    body = {"input": "one", "thread_id": "other-2", "model": "openai:slow-2"}
    with server.open_stream(body, headers=key) as stream:
        fake_provider.release()
        next(stream.documents())
        _refuse(server, key, {**body, "input": "two"})
    assert len(fake_provider.requests()) == 2


def _refuse(server: Server, key: dict[str, str], body: dict[str, str]) -> None:
    answer = server.call("POST", "/chat/stream", json=body, headers=key)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:chatcli:invalid-request")


def test_a_key_counts_on_its_thread(server: Server, fake_provider: FakeProvider) -> None:
    """On another thread it is another key, and once its turn is gone it is a new one."""
    key = {"Idempotency-Key": "day"}
    first = server.lines("one", thread_id="key-a", headers=key)
    assert server.lines("two", thread_id="key-b", headers=key)[-1]["metadata"]["state"] == "complete"
    assert server.call("PUT", "/threads/key-a/clear").status_code == 200
    again = server.lines("three", thread_id="key-a", headers=key)
    assert again[0]["metadata"]["turn_id"] != first[0]["metadata"]["turn_id"]
    assert server.call("DELETE", "/threads/key-b").status_code == 204
    assert server.lines("four", thread_id="key-b", headers=key)[0]["metadata"]["thread_created"]
    assert len(fake_provider.requests()) == 4


def test_any_client_of_a_turn_can_have_it_go_on(server: Server, fake_provider: FakeProvider) -> None:
    """Who joins with on_disconnect "continue" gets the whole answer stored, though both hang up."""
    key = {"Idempotency-Key": "go-on"}
    body = {"input": "x", "thread_id": "go-on", "model": "openai:slow-3", "hold": False}
    with server.open_stream(body, headers=key) as first:
        turn_id = next(first.documents())["metadata"]["turn_id"]
        with server.open_stream({**body, "on_disconnect": "continue"}, headers=key) as second:
            assert next(second.documents())["metadata"]["turn_id"] == turn_id
    eventually(lambda: [_is_cut(record, turn_id) for record in server.records()].count(True) == 2 or None)
    fake_provider.release(3)
    assert server.until_state("go-on", "complete")["messages"][-1]["content"] == "w0 w1 w2 "


def _is_cut(record: dict[str, object], turn_id: str) -> bool:
    return record.get("turn_id") == turn_id and record.get("cut") is True


def test_what_is_not_stored_has_no_key(server: Server, fake_provider: FakeProvider) -> None:
    """Such a retry could not be recognised: it is refused, and not asked twice."""
    answer = server.call(
        "POST", "/chat/stream", json={"input": "x", "save": False}, headers={"Idempotency-Key": "unsaved"}
    )
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:chatcli:invalid-request")
    assert fake_provider.requests() == []


def test_the_same_key_of_another_owner_is_another_key(server: Server) -> None:
    """Keys are private."""
    key = {"Idempotency-Key": "mine"}
    mine = server.call("POST", "/chat", json={"message": "one"}, headers=key)
    other = server.call("POST", "/chat", json={"message": "two"}, headers=key, owner="bob")
    assert mine.status_code == other.status_code == 200
    assert mine.json()["turn_id"] != other.json()["turn_id"]
    thread_id = mine.json()["thread_id"]
    assert [len(server.history(thread_id, owner=owner)) for owner in ("alice", "bob")] == [1, 1]


def test_a_refused_request_does_not_use_up_its_key(server: Server) -> None:
    """What never began can be put right and sent again with the same key."""
    key = {"Idempotency-Key": "mended"}
    wrong = server.call("POST", "/chat", json={"message": "x" * 10_001}, headers=key)
    assert wrong.status_code == 413
    assert server.call("POST", "/chat", json={"message": "x"}, headers=key).status_code == 200


def test_an_interrupted_turn_is_asked_again(server: Server, fake_provider: FakeProvider) -> None:
    """Half an answer is no answer: the retry asks the model, and both turns are in the history."""
    key = {"Idempotency-Key": "interrupted"}
    body = {"input": "x", "thread_id": "interrupted", "model": "openai:slow-2"}
    with server.open_stream(body, headers=key) as stream:
        fake_provider.release()
        lines = stream.documents()
        next(lines)
        next(lines)
    fake_provider.wait_for(lambda requests: requests[0]["client_gone"])
    fake_provider.release(4)
    answer = server.call("POST", "/chat/stream", json=body, headers=key)
    assert '"state": "complete"' in answer.text
    assert [entry["state"] for entry in server.history("interrupted")] == ["interrupted", "complete"]


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256])
def test_odd_keys_are_refused(server: Server, key: str) -> None:
    """A key is one word."""
    answer = server.call("POST", "/chat", json={"message": "x"}, headers={"Idempotency-Key": key.encode()})
    assert answer.status_code == 400


def test_keys_outlive_the_server(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """They are in the store: a new process replays, and refuses another body."""
    key = {"Idempotency-Key": "durable"}
    with serving(tmp_path, provider=fake_provider) as server:
        turn_id = server.lines("hello", headers=key)[0]["metadata"]["turn_id"]
        assert server.stop() == 0
    (tmp_path / "serve.log").unlink()
    with serving(tmp_path, provider=fake_provider) as server:
        again = server.lines("hello", headers=key)
        assert again[0]["metadata"]["turn_id"] == turn_id
        assert again[-1]["metadata"]["replayed"] is True
        refused = server.call("POST", "/chat", json={"message": "other"}, headers=key)
        assert refused.status_code == 422
    asked = [request for request in fake_provider.requests() if request["method"] == "POST"]
    assert len(asked) == 1
