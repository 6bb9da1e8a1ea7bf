"""Streams that live: hung up on, stalled, read again, read by several, and never mixed up."""

import json
import socket
from pathlib import Path

import pytest

from tests.fake_provider import FakeProvider
from tests.fake_provider.script import DEFAULT_ANSWER
from tests.server.peer import Server, Stream, eventually, serving


def test_the_first_token_does_not_wait_for_the_second(server: Server, fake_provider: FakeProvider) -> None:
    """Each token is sent when it comes."""
    with server.open_stream({"input": "x", "model": "openai:slow-3"}) as stream:
        fake_provider.release()
        lines = stream.documents()
        assert next(lines)["type"] == "metadata"
        assert next(lines)["content"] == "w0 "
        fake_provider.release()
        assert next(lines)["content"] == "w1 "
        fake_provider.release(2)
        assert [line["type"] for line in lines] == ["token", "metadata"]


def test_whatever_the_model_says_one_event_is_one_line(server: Server, fake_provider: FakeProvider) -> None:
    """Line ends of all kinds, control characters and halves of pairs stay inside their line."""
    text = 'a\nb\r\nc\u2028d\u2029e\x85f\x0bg\x1b[31m"h\\ \U0001f680'
    answer = server.call("POST", "/chat/stream", json={"input": text, "model": "openai:echo"})
    assert answer.content.isascii()
    documents = [json.loads(line) for line in answer.content.split(b"\n")[:-1]]
    assert len(answer.text.splitlines()) == len(documents)
    assert "".join(document.get("content", "") for document in documents) == text
    broken = server.lines(model="openai:surrogates")
    assert "".join(document.get("content", "") for document in broken) == "a\U0001f600b\U0001f680c\ufffdd"
    del fake_provider


@pytest.mark.parametrize("manner", ["close", "reset", "half"])
def test_a_client_that_hangs_up_ends_the_turn(
    each_parser: Server, fake_provider: FakeProvider, manner: str
) -> None:
    """The provider's call is cancelled, and the text so far is kept as interrupted."""
    server, thread = each_parser, f"hang-up-{manner}"
    with server.open_stream({"input": "x", "thread_id": thread, "model": "openai:slow-9"}) as stream:
        fake_provider.release(2)
        lines = stream.documents()
        assert [next(lines)["type"] for _ in range(3)] == ["metadata", "token", "token"]
        if manner == "half":
            stream.socket.shutdown(socket.SHUT_WR)
        elif manner == "reset":
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            stream._file.close()
            stream.socket.close()
        else:
            stream.hang_up()
        fake_provider.wait_for(lambda requests: requests[-1]["client_gone"], seconds=30)
        turn = server.until_state(thread, "interrupted")
    assert turn["messages"][-1] == {"type": "ai", "content": "w0 w1 "}
    assert server.chat("next", thread_id=thread, on_busy="reject").status_code == 200


def test_a_client_that_hangs_up_before_the_first_token_ends_the_turn(
    server: Server, fake_provider: FakeProvider
) -> None:
    """A model that is silent is not waited for by anybody."""
    for path, field in (("/chat/stream", "input"), ("/chat", "message")):
        thread = f"silent-{field}"
        fake_provider.reset()
        with Stream(server, "POST", path, {field: "x", "thread_id": thread, "model": "openai:silent"}, {}):
            fake_provider.wait_for(lambda requests: len(requests) == 1)
        fake_provider.wait_for(lambda requests: requests[0]["client_gone"], seconds=30)
        server.until_state(thread, "interrupted")


def test_a_turn_that_is_to_continue_does(server: Server, fake_provider: FakeProvider) -> None:
    """With on_disconnect "continue" the whole answer is stored although nobody reads it."""
    body = {"input": "x", "thread_id": "continue", "model": "openai:slow-4", "on_disconnect": "continue"}
    with server.open_stream(body) as stream:
        fake_provider.release()
        lines = stream.documents()
        next(lines)
        next(lines)
    server.until_logged(lambda record: record.get("thread_id") == "continue" and record.get("cut", False))
    fake_provider.release(3)
    turn = server.until_state("continue", "complete")
    assert turn["messages"][-1]["content"] == "w0 w1 w2 w3 "
    assert not fake_provider.requests()[-1]["client_gone"]


def test_a_reader_that_takes_nothing_is_dropped(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """Once the buffers are full and nothing is taken for the stall time, the turn is ended and kept."""
    with (
        serving(tmp_path, "--stall-timeout", "0.5", provider=fake_provider) as server,
        server.connect() as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps({"input": "x", "thread_id": "stall", "model": "openai:tokens-100000"}).encode()
        connection.sendall(
            b"POST /chat/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            + f"Authorization: Bearer {server.token}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        record = server.until_logged(lambda found: found.get("thread_id") == "stall")
        assert record["cut"] is True
        turn = server.until_state("stall", "interrupted")
        fake_provider.wait_for(lambda requests: requests[-1]["client_gone"], seconds=30)
        assert not [found for found in server.records() if found["level"] == "error"]
    assert turn["messages"][-1]["content"].startswith("w0 w1 ")


def test_a_running_stream_is_read_again_from_any_number(server: Server, fake_provider: FakeProvider) -> None:
    """Several readers, each from its own place, get the same events with the same numbers."""
    body = {"input": "x", "thread_id": "again", "model": "openai:slow-4"}
    with server.open_stream(body) as first:
        fake_provider.release(2)
        lines = first.documents()
        turn_id = next(lines)["metadata"]["turn_id"]
        next(lines)
        next(lines)
        with (
            server.attach("again", turn_id) as whole,
            server.attach("again", turn_id, after=2) as rest,
            server.attach("again", turn_id, Accept="text/event-stream", Last_Event_ID="3") as events,
        ):
            numbered = whole.documents()
            assert [next(numbered)["seq"] for _ in range(3)] == [1, 2, 3]
            assert next(rest.documents())["content"] == "w1 "
            assert events.read_head() == 200
            fake_provider.release(2)
            tail = list(numbered)
            assert [line["seq"] for line in tail] == [4, 5, 6]
            assert tail[-1]["metadata"]["state"] == "complete"
            block = "\n".join(events.lines())
            assert [line for line in block.splitlines() if line.startswith("id:")] == [
                "id: 4",
                "id: 5",
                "id: 6",
            ]
        assert [line["type"] for line in lines] == ["token", "token", "metadata"]


def test_the_turn_goes_on_while_anybody_reads_it(server: Server, fake_provider: FakeProvider) -> None:
    """Only when the last reader leaves is a turn cancelled."""
    body = {"input": "x", "thread_id": "shared-turn", "model": "openai:slow-3"}
    with server.open_stream(body) as first:
        fake_provider.release()
        turn_id = next(first.documents())["metadata"]["turn_id"]
        with server.attach("shared-turn", turn_id) as second:
            assert second.read_head() == 200
            first.hang_up()
            server.until_logged(lambda record: record.get("turn_id") == turn_id and record.get("cut", False))
            fake_provider.release(2)
            assert [line["type"] for line in second.documents()][-1] == "metadata"
    assert server.history("shared-turn")[-1]["state"] == "complete"


def test_an_ended_turn_is_read_again(server: Server) -> None:
    """A reader who comes late gets what is left of it; one who had everything gets nothing (204)."""
    lines = server.lines(thread_id="ended", model="openai:tokens-3")
    turn_id = lines[0]["metadata"]["turn_id"]
    path = f"/threads/ended/turns/{turn_id}/stream"
    again = [json.loads(line) for line in server.call("GET", path).text.splitlines()]
    assert [{k: v for k, v in line.items() if k != "seq"} for line in again] == lines
    rest = server.call("GET", path, params={"after": 4}).text.splitlines()
    assert [json.loads(line)["seq"] for line in rest] == [5]
    assert server.call("GET", path, headers={"Last-Event-ID": "5"}).status_code == 204
    assert server.call("GET", path, params={"after": 99}).status_code == 410
    assert server.call("GET", "/threads/ended/turns/unknown/stream").status_code == 404
    assert server.call("GET", path, owner="bob").status_code == 404


def test_an_old_turn_is_read_again(server: Server) -> None:
    """It makes no difference how many turns came later."""
    turn_ids = [server.lines(thread_id="many")[0]["metadata"]["turn_id"] for _ in range(20)]
    for turn_id in (turn_ids[0], turn_ids[-1]):
        again = server.call("GET", f"/threads/many/turns/{turn_id}/stream").text.splitlines()
        assert json.loads(again[0])["metadata"]["turn_id"] == turn_id


def test_a_cleared_turn_can_not_be_read_again(server: Server) -> None:
    """What is deleted is gone from the memory of the server, too."""
    turn_id = server.lines(thread_id="cleared")[0]["metadata"]["turn_id"]
    server.call("PUT", "/threads/cleared/clear")
    assert server.call("GET", f"/threads/cleared/turns/{turn_id}/stream").status_code == 404


def test_one_turn_a_thread_at_a_time(server: Server, fake_provider: FakeProvider) -> None:
    """While a turn runs another one waits its time, or is refused with Retry-After; none is lost."""
    with server.open_stream({"input": "one", "thread_id": "busy", "model": "openai:slow-2"}) as first:
        fake_provider.release()
        assert next(first.documents())["type"] == "metadata"
        refused = server.call(
            "POST", "/chat/stream", json={"input": "two", "thread_id": "busy", "on_busy": "reject"}
        )
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:chatcli:thread-busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert server.call("PUT", "/threads/busy/clear").status_code == 409
        assert server.call("DELETE", "/threads/busy").status_code == 409
        with server.open_stream({"input": "three", "thread_id": "busy"}) as third:
            fake_provider.release()
            assert list(first.documents())[-1]["metadata"]["state"] == "complete"
            assert list(third.documents())[-1]["metadata"]["state"] == "complete"
    prompts = [entry["messages"][0]["content"] for entry in server.history("busy")]
    assert prompts == ["one", "three"]


def test_who_has_read_the_last_line_may_go_on_at_once(server: Server) -> None:
    """The thread is free before its last line is sent."""
    with server.client() as client:
        for _ in range(20):
            body = {"input": "x", "thread_id": "at-once", "on_busy": "reject"}
            assert client.post("/chat/stream", json=body).status_code == 200


def test_too_many_waiters_are_refused(server: Server, fake_provider: FakeProvider) -> None:
    """A thread has room for a few who wait, not for everybody."""
    with server.open_stream({"input": "x", "thread_id": "crowd", "model": "openai:slow-1"}) as running:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        waiting = [server.open_stream({"input": str(n), "thread_id": "crowd"}) for n in range(16)]
        refused = eventually(
            lambda: (
                answer
                if (answer := server.chat("x", thread_id="crowd", on_busy="reject")).status_code == 409
                and "too many" in answer.text
                else None
            )
        )
        assert refused.headers["retry-after"] == "1"
        for stream in waiting[1:]:
            stream.hang_up()
        fake_provider.release()
        assert list(running.documents())[-1]["metadata"]["saved"] is True
        assert list(waiting[0].documents())[-1]["metadata"]["saved"] is True
        waiting[0].hang_up()
    assert server.chat("y", thread_id="crowd").status_code == 200


def test_reasoning_is_shown_and_not_stored(server: Server) -> None:
    """A model's thoughts are events of their own."""
    lines = server.lines(thread_id="reason", model="openai:reason")
    assert [line["content"] for line in lines if line["type"] == "reasoning"] == ["Let me", " think."]
    assert server.history("reason")[0]["messages"][-1]["content"] == DEFAULT_ANSWER
