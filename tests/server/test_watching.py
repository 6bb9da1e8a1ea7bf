"""What the server tells those who watch it: logs and metrics, and never a secret."""

import json
from pathlib import Path

from tests.fake_provider import FakeProvider
from tests.server.peer import KEY, TOKENS, Server, serving


def test_each_request_is_one_record(server: Server) -> None:
    """With id, owner, route template, status, bytes, tokens and the time to the first token."""
    answer = server.call("POST", "/chat", json={"message": "x"}, headers={"X-Request-ID": "record-1"})
    record = server.until_logged(lambda found: found.get("request_id") == "record-1")
    assert {
        "event": "request",
        "owner": "alice",
        "method": "POST",
        "route": "/chat",
        "status": 200,
        "bytes": len(answer.content),
        "input_tokens": 7,
        "output_tokens": 5,
        "state": "complete",
    }.items() <= record.items()
    assert record["first_token_ms"] > 0
    assert record["ms"] >= record["first_token_ms"]


def test_a_route_is_logged_and_not_the_path(server: Server) -> None:
    """What clients choose is no label; a line end in a path makes no second record."""
    server.call("GET", "/threads/some-thread/history", headers={"X-Request-ID": "route-1"})
    server.call("GET", "/nothing%0a%7b%22forged%22:1%7d", headers={"X-Request-ID": "route-2"})
    known = server.until_logged(lambda found: found.get("request_id") == "route-1")
    unknown = server.until_logged(lambda found: found.get("request_id") == "route-2")
    assert (known["route"], unknown["route"]) == ("/threads/{thread_id}/history", "none")
    assert not any("forged" in record for record in server.records())


def test_no_secret_and_no_message_is_logged_or_counted(server: Server) -> None:
    """Whatever went wrong before: keys, tokens, prompts and answers are not in the log or the metrics."""
    for model in ("err-401", "err-500", "error-mid", "garbage", "fake"):
        server.chat("canary-prompt", model=f"openai:{model}")
    server.call("GET", "/info", owner=None, headers={"Authorization": "Bearer canary-wrong-token"})
    metrics = server.call("GET", "/metrics").text
    for place in (server.log.read_text(), metrics):
        for secret in (KEY, *TOKENS.values(), "canary-prompt", "canary-wrong-token", "Hello from"):
            assert secret not in place


def test_messages_are_logged_where_that_was_asked_for_twice(tmp_path: Path) -> None:
    """LOG_LEVEL=DEBUG alone is not enough."""
    words = ("--store", "memory://", "-m", "offline")
    shown = []
    for number, (options, level) in enumerate([((), "DEBUG"), (("--log-messages",), "DEBUG")]):
        home = tmp_path / str(number)
        home.mkdir()
        with serving(home, *words, *options, LOG_LEVEL=level) as server:
            server.chat("canary-prompt")
            server.stop()
            shown.append("canary-prompt" in server.log.read_text())
    assert shown == [False, True]


def test_turns_tokens_and_streams_are_counted(server: Server, fake_provider: FakeProvider) -> None:
    """States, tokens, times and open streams; an open one is seen while it is open."""
    before = server.metric("chatcli_turns_total", state="complete")
    tokens = server.metric("chatcli_tokens_total", direction="output")
    with server.open_stream({"input": "x", "model": "openai:slow-1"}) as stream:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        assert server.metric("chatcli_open_streams") >= 1
        fake_provider.release()
        list(stream.documents())
    assert server.metric("chatcli_turns_total", state="complete") == before + 1
    assert server.metric("chatcli_tokens_total", direction="output") == tokens + 1
    assert server.metric("chatcli_first_token_seconds_count") > 0
    assert server.metric("chatcli_store_seconds_count", call="begin") > 0
    assert server.metric("chatcli_requests_total", method="POST", route="/chat/stream", status="200") > 0
    server.call("PATCH", "/threads/nothing", json={"title": "x"})
    assert server.metric("chatcli_requests_total", method="PATCH", route="/threads/{thread_id}", status="404")


def test_labels_are_bounded(server: Server) -> None:
    """Methods, paths, threads and owners that clients make up are no new labels."""

    def series() -> int:
        return len(server.call("GET", "/metrics").text.splitlines())

    server.call("BREW", "/pot-0")
    server.call("GET", "/threads/unknown/history")
    before = series()
    for number in range(1, 20):
        server.call(f"BREW{number}", f"/pot-{number}")
        server.call("GET", f"/threads/made-up-{number}/history")
    assert series() <= before


def test_traces_say_how_a_turn_went_and_not_what_was_said(
    tmp_path: Path, fake_provider: FakeProvider
) -> None:
    """With a collector named, each turn is a span, and in it what it waits for; no message is sent there."""
    from tests.server.collector import collecting

    with (
        collecting() as collector,
        serving(tmp_path, provider=fake_provider, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as server,
    ):
        server.lines("canary-prompt", session_metadata={"team": "blue"})
        assert server.stop() == 0
        sent = b"".join(collector.bodies)
    assert b"gen_ai.request.model" in sent
    assert b"chatcli.session.team" in sent
    for name in (b"store begin", b"provider call", b"store commit"):
        assert sent.count(name) == 1
    assert b"canary-prompt" not in sent
    assert b"Hello from" not in sent


def test_the_log_of_a_broken_client_is_json_too(server: Server) -> None:
    """What uvicorn says of bytes that are no HTTP is a record like any other."""
    server.raw(b"\x00\xff\r\n\r\n")
    for line in server.log.read_text().splitlines():
        assert isinstance(json.loads(line), dict)
