"""Threads changed over HTTP: named, forked, taken back, cleaned up, moved; always the owner's alone."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chatcli.models import format_time, utc_now
from chatcli.text import new_id
from tests.cli.seed import insert
from tests.fake_provider import FakeProvider
from tests.server.peer import Server, serving

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
NO_THREAD = "nobodys"


@pytest.fixture
def tea(server: Server) -> str:
    """A thread of alice with three turns."""
    thread = f"tea-{new_id()}"
    for prompt in ("one", "two", "three"):
        assert server.chat(prompt, thread_id=thread, model="offline").status_code == 200
    return thread


def lines(text: str) -> list[dict[str, Any]]:
    """Return the documents of an answer that is lines."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_thread_is_named(server: Server, tea: str) -> None:
    """PATCH takes a title and nothing else; what can't be one is refused."""
    answer = server.call("PATCH", f"/threads/{tea}", json={"title": "Grüner Tee"})
    assert (answer.status_code, answer.json()["title"]) == (200, "Grüner Tee")
    assert server.call("GET", f"/threads/{tea}?tail=0").json()["title"] == "Grüner Tee"
    for body in ({"title": ""}, {"title": "a\0"}, {}, {"title": "x", "language": "French"}):
        assert server.call("PATCH", f"/threads/{tea}", json=body).status_code == 422
    form = server.call("PATCH", f"/threads/{tea}", data={"title": "x"})
    assert form.status_code == 415


def test_forks_and_undone_turns(server: Server, tea: str) -> None:
    """A fork has the first turns, an undo keeps all of them; the same fork is not made twice."""
    fork = server.call("POST", f"/threads/{tea}/fork", json={"turns": 1, "title": "B"})
    assert (fork.status_code, fork.json()["turn_count"], fork.json()["title"]) == (201, 1, "B")
    body = {"turns": 2, "fork_id": f"kept-{new_id()}"}
    kept = server.call("POST", f"/threads/{tea}/undo", json=body)
    assert (kept.status_code, kept.json()["id"], kept.json()["turn_count"]) == (201, body["fork_id"], 3)
    assert len(server.history(tea)) == 1
    assert server.call("POST", f"/threads/{tea}/undo", json={**body, "turns": 1}).status_code == 422
    assert len(server.history(tea)) == 1
    for path, given in (("fork", {"turns": 9}), ("undo", {"turns": 9}), ("fork", {"fork_id": "a..b"})):
        assert server.call("POST", f"/threads/{tea}/{path}", json=given).status_code == 422


def test_turns_are_read_from_a_place_on(server: Server, tea: str) -> None:
    """`after` and `limit` choose turns by their index; with `tail` they make no sense."""
    shown = server.call("GET", f"/threads/{tea}", params={"after": 1, "limit": 1}).json()
    assert [turn["index"] for turn in shown["turns"]] == [2]
    assert shown["model"] == "offline"
    for query in ({"limit": 1}, {"after": 1, "tail": 1}, {"after": -1}):
        assert server.call("GET", f"/threads/{tea}", params=query).status_code == 422


def test_nobody_changes_what_is_another_s(server: Server, tea: str) -> None:
    """To bob the threads of alice are not there: nothing he sends changes, removes or shows them."""
    before = server.call("GET", f"/threads/{tea}").json()
    turn = before["turns"][0]["id"]
    for method, path, body in (
        ("PATCH", f"/threads/{tea}", {"title": "x"}),
        ("POST", f"/threads/{tea}/fork", {}),
        ("POST", f"/threads/{tea}/undo", {}),
        ("PUT", f"/threads/{tea}/turns/{turn}/save", None),
        ("GET", f"/models?thread_id={tea}", None),
    ):
        assert server.call(method, path, owner="bob", json=body).status_code == 404
    now = format_time(utc_now())
    cleaned = server.call("POST", "/cleanup", owner="bob", json={"before": now, "force_clock": True})
    assert lines(cleaned.text)[-1]["type"] == "receipt"
    assert tea not in server.call("GET", "/export", owner="bob").text
    assert server.call("GET", f"/threads/{tea}").json() == before
    for method, path in (("POST", "/cleanup"), ("GET", "/export"), ("POST", "/import"), ("GET", "/models")):
        assert server.call(method, path, owner=None, json={}).status_code == 401


def test_a_cleanup_tells_each_step(server: Server) -> None:
    """A dry run tells what the real one removes; a moment that has not been is refused."""
    then = utc_now() - timedelta(days=90)
    names = [f"old-{number}" for number in range(3)]
    insert(server.program, *[(name, then) for name in names], owner="bob")
    body = {"before": format_time(utc_now() - timedelta(days=80)), "keep": 0}
    seen = []
    for dry in (True, False):
        answer = server.call("POST", "/cleanup", owner="bob", json={**body, "dry_run": dry})
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        *steps, receipt = lines(answer.text)
        seen.append([thread["id"] for step in steps for thread in step["removed"]])
        assert (receipt["type"], receipt["removed"], receipt["dry_run"]) == ("receipt", 3, dry)
    assert seen == [names, names]
    tomorrow = format_time(utc_now() + timedelta(days=1))
    for moment in (tomorrow, "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+12:00", "yesterday", 0):
        assert server.call("POST", "/cleanup", json={"before": moment}).status_code == 422


def test_an_export_comes_back(server: Server, tea: str) -> None:
    """The lines of an export are what an import takes; one that is wrong does not keep others out."""
    head, *threads, last = lines(server.call("GET", "/export").text)
    assert (head, last["threads"]) == ({"chatcli_export": 1}, len(threads))
    thread = next(it for it in threads if it["id"] == tea)
    copy = {**thread, "id": f"copy-{new_id()}", "owner": "somebody"}
    wrong = {**copy, "id": "a..b"}
    other = {**thread, "turns": thread["turns"][:1]}
    body = {"threads": [copy, wrong, other, thread]}
    for dry, action in ((True, "import"), (False, "import"), (False, "keep")):
        answer = server.call("POST", "/import", owner="bob", json={"threads": [copy], "dry_run": dry})
        assert answer.json()["threads"] == [{"thread_id": copy["id"], "action": action, "error": None}]
    told = server.call("POST", "/import", json=body).json()["threads"]
    assert [it["action"] for it in told] == ["import", None, None, "keep"]
    assert told[1]["error"]["type"] == "urn:chatcli:invalid-request"
    shown = server.call("GET", f"/threads/{copy['id']}", owner="bob").json()
    assert (shown["owner"], shown["turns"]) == ("bob", thread["turns"])


@pytest.mark.parametrize(
    "change",
    [
        {"created_at": "soon"},
        {"updated_at": "9999-12-31T23:59:59-12:00"},
        {"turns": [{}]},
        {"turn_count": -1},
        {"title": 1},
        {"more": 1},
    ],
)
def test_what_is_no_thread_is_not_imported(server: Server, tea: str, change: dict[str, object]) -> None:
    """422, with the place of what is wrong."""
    thread = next(it for it in lines(server.call("GET", "/export").text) if it.get("id") == tea)
    answer = server.call("POST", "/import", json={"threads": [{**thread, "id": "changed", **change}]})
    assert answer.status_code == 422
    assert f"threads.0.{next(iter(change))}" in answer.json()["detail"]


def test_pictures_are_parts_of_the_input(server: Server, fake_provider: FakeProvider) -> None:
    """They reach the model and the thread as they are; only data is taken, and only of pictures."""
    content = [{"type": "text", "text": "what is this?"}, PICTURE]
    thread = f"look-{new_id()}"
    answer = server.call("POST", "/chat/stream", json={"input": content, "thread_id": thread})
    assert answer.status_code == 200
    assert fake_provider.requests()[0]["body"]["messages"][-1]["content"] == content
    stored = server.call("GET", f"/threads/{thread}").json()["turns"][0]["messages"][0]
    assert stored["content"] == content
    for url in ("https://example.com/x.png", "data:text/html;base64,AAAA", "file:///etc/passwd"):
        part = {"type": "image_url", "image_url": {"url": url}}
        assert server.call("POST", "/chat/stream", json={"input": [part]}).status_code == 422
    for parts in ([], [{"type": "text", "text": ""}], [{"type": "audio"}], ["text"]):
        assert server.call("POST", "/chat/stream", json={"input": parts}).status_code == 422


def test_only_what_may_be_large_is_read(server: Server, fake_provider: FakeProvider, tmp_path: Path) -> None:
    """A picture of megabytes is taken where the server was told to; all else keeps to a mebibyte."""
    url = "data:image/png;base64," + "A" * (3 * 1024 * 1024)
    body = {"input": [{"type": "image_url", "image_url": {"url": url}}], "model": "offline"}
    assert server.call("POST", "/chat/stream", json=body).status_code == 413
    with serving(tmp_path, "--max-body", "4", provider=fake_provider) as generous:
        assert generous.call("POST", "/chat/stream", json=body).status_code == 200
        assert generous.call("POST", "/threads/x/fork", json={"title": url}).status_code == 413
        assert generous.chat(url).status_code == 413


def test_models_are_told(server: Server) -> None:
    """Which would be asked, what there is to choose from, and what the provider offers."""
    told = server.call("GET", "/models").json()
    assert (told["model"], told["offered"], told["context_messages"]) == ("openai:fake", None, 20)
    assert {"offline", "openai:", "groq:"} <= {*told["names"]}
    offered = server.call("GET", "/models?model=openai:any&offered=true").json()
    assert offered["model"] == "openai:any"
    assert offered["offered"]
    assert server.call("GET", "/models?model=nobody:x").status_code == 422
    assert server.call("GET", f"/models?thread_id={NO_THREAD}").status_code == 404


def test_a_turn_that_is_stored_is_not_saved_again(server: Server, tea: str) -> None:
    """It is shown as it is; one that nobody knows is 404."""
    turn = server.call("GET", f"/threads/{tea}?tail=1").json()["turns"][0]
    saved = server.call("PUT", f"/threads/{tea}/turns/{turn['id']}/save")
    assert (saved.status_code, saved.json()) == (200, turn)
    assert server.call("PUT", f"/threads/{tea}/turns/unknown/save").status_code == 404


def test_a_turn_that_runs_is_not_saved(server: Server, fake_provider: FakeProvider) -> None:
    """409, and the turn goes on."""
    thread = f"slow-{new_id()}"
    with server.open_stream({"input": "hello", "thread_id": thread, "model": "openai:slow-1"}) as stream:
        turn = next(stream.documents())["metadata"]["turn_id"]
        assert server.call("PUT", f"/threads/{thread}/turns/{turn}/save").status_code == 409
        assert server.call("POST", f"/threads/{thread}/undo", json={}).status_code == 409
        fake_provider.release()
    server.until_state(thread, "complete")
