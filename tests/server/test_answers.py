"""Every row of the API's table: what goes in, what comes out."""

import json
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.fake_provider.script import DEFAULT_ANSWER
from tests.server.peer import TOKENS, Server

if TYPE_CHECKING:
    from tests.program import Chatcli


def test_a_stream_is_metadata_tokens_metadata(server: Server) -> None:
    """The lines come in this order and have these fields."""
    first, *tokens, last = server.lines("hello", thread_id="stream-1")
    assert first["type"] == "metadata"
    assert first["thread_id"] == "stream-1"
    assert first["metadata"]["thread_created"] is True
    assert {"turn_id", "model"} <= set(first["metadata"])
    assert "".join(token["content"] for token in tokens) == DEFAULT_ANSWER
    assert {(token["type"], token["thread_id"]) for token in tokens} == {("token", "stream-1")}
    assert set(tokens[0]) == {"type", "content", "thread_id"}
    assert last["type"] == "metadata"
    assert {"status": "completed", "state": "complete", "saved": True}.items() <= last["metadata"].items()
    assert last["metadata"]["usage"] == {"input_tokens": 7, "output_tokens": 5}


def test_the_head_of_a_stream_keeps_proxies_from_holding_it_back(server: Server) -> None:
    """No cache and no buffer stands between a token and its reader."""
    answer = server.call("POST", "/chat/stream", json={"input": "hello"})
    assert answer.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"


def test_server_sent_events_are_the_same_documents_with_numbers(server: Server) -> None:
    """A client that accepts server-sent events gets them, numbered from 1."""
    answer = server.call(
        "POST", "/chat/stream", json={"input": "hello"}, headers={"Accept": "text/event-stream"}
    )
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [
        dict(line.split(": ", 1) for line in block.splitlines()) for block in answer.text.split("\n\n")[:-1]
    ]
    assert [event["id"] for event in events] == [str(number) for number in range(1, len(events) + 1)]
    documents = [json.loads(event["data"]) for event in events]
    assert [event["event"] for event in events] == [document["type"] for document in documents]
    assert documents[-1]["metadata"]["state"] == "complete"


def test_chat_answers_in_one_piece(server: Server) -> None:
    """The answer has the text, the language, where it is stored, and how it ended."""
    answer = server.chat("hello", thread_id="chat-1", language="French")
    assert answer.status_code == 200
    document = answer.json()
    assert document.pop("turn_id")
    assert document.pop("usage") == {"input_tokens": 7, "output_tokens": 5}
    assert document == {
        "response": DEFAULT_ANSWER,
        "language": "French",
        "thread_id": "chat-1",
        "state": "complete",
        "saved": True,
    }
    assert server.chat("again", thread_id="chat-1").json()["language"] == "French"


def test_a_new_thread_by_default(server: Server) -> None:
    """Without a thread each request begins one."""
    assert server.chat().json()["thread_id"] != server.chat().json()["thread_id"]


def test_both_shapes_of_a_history(server: Server) -> None:
    """Messages for chat programs, turns for everybody else."""
    server.chat("one", thread_id="shapes")
    server.chat("two", thread_id="shapes", model="openai:echo")
    messages = server.call("GET", "/chat/history/shapes").json()["messages"]
    assert [(message["role"], message["content"]) for message in messages] == [
        ("human", "one"),
        ("assistant", DEFAULT_ANSWER),
        ("human", "two"),
        ("assistant", "two"),
    ]
    assert all(message["timestamp"].endswith("Z") for message in messages)
    document = server.call("GET", "/threads/shapes/history").json()
    assert (document["thread_id"], document["total_messages"], document["message_count"]) == ("shapes", 2, 4)
    first, second = document["history"]
    assert first["messages"] == [
        {"type": "human", "content": "one"},
        {"type": "ai", "content": DEFAULT_ANSWER},
    ]
    assert first["state"] == second["state"] == "complete"
    assert first["turn_id"] != second["turn_id"]


def test_threads_are_listed_page_by_page(server: Server) -> None:
    """The last used ones come first; the cursor of a page leads to the next."""
    for name in ("page-1", "page-2", "page-3"):
        server.chat("hello", thread_id=name, owner="bob")
    with server.client("bob") as client:
        first = client.get("/threads", params={"limit": 2}).json()
        second = client.get("/threads", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [thread["id"] for thread in first["threads"] + second["threads"]][:3] == [
        "page-3",
        "page-2",
        "page-1",
    ]
    assert {
        "id",
        "title",
        "turn_count",
        "created_at",
        "updated_at",
        "archived_at",
        "language",
        "owner",
    } <= set(first["threads"][0])
    assert first["threads"][0]["owner"] == "bob"


def test_a_thread_is_shown_in_full(server: Server) -> None:
    """As `history --json` shows it, with all its turns or the newest of them; a prefix finds it."""
    for number in range(3):
        server.chat(f"prompt {number}", thread_id="in-full")
    whole = server.call("GET", "/threads/in-full").json()
    assert (whole["id"], whole["turn_count"]) == ("in-full", 3)
    assert [turn["messages"][0]["content"] for turn in whole["turns"]] == ["prompt 0", "prompt 1", "prompt 2"]
    assert {"model", "usage", "finish_reason", "state", "index", "id", "error"} < set(whole["turns"][0])
    last = server.call("GET", "/threads/in-full", params={"tail": 1}).json()
    assert last["turns"] == whole["turns"][2:]
    assert server.call("GET", "/threads/in-full", params={"tail": 0}).json() == {**whole, "turns": []}
    assert server.call("GET", "/threads/in-full", owner="bob").status_code == 404
    found = server.call("GET", "/threads", params={"prefix": "in-f"}).json()["threads"]
    assert [thread["id"] for thread in found] == ["in-full"]


def test_a_stream_that_is_not_held_begins_at_once(server: Server) -> None:
    """With `hold` false an error of the model is the last line, where else it is a status."""
    body = {"input": "x", "model": "openai:err-400"}
    assert server.call("POST", "/chat/stream", json=body).status_code != 200
    lines = server.lines("x", model="openai:err-400", hold=False)
    assert [line["type"] for line in lines] == ["metadata", "error"]


def test_threads_are_searched(server: Server) -> None:
    """A search finds the words in prompts and answers, and shows the line."""
    server.chat("where do pelicans sleep?", thread_id="birds")
    server.chat("where do cats sleep?", thread_id="cats")
    found = server.call("GET", "/threads", params={"search": "pelicans"}).json()
    assert [(hit["id"], hit["match"]) for hit in found["threads"]] == [
        ("birds", {"turn_index": 1, "line": "where do pelicans sleep?", "marks": [[9, 17]]})
    ]
    assert server.call("GET", "/threads", params={"search": "pelicans"}, owner="bob").json()["threads"] == []


def test_clear_keeps_the_thread_and_nothing_of_what_was_said(server: Server) -> None:
    """The answer is an empty history."""
    server.chat("hello", thread_id="clear-1")
    empty = {"thread_id": "clear-1", "history": [], "total_messages": 0, "message_count": 0}
    assert server.call("PUT", "/threads/clear-1/clear").json() == empty
    assert server.call("GET", "/threads/clear-1/history").json() == empty


def test_an_archived_thread_is_hidden_and_takes_no_turns_until_restored(server: Server) -> None:
    """Both answers have the shape of a history; a turn on an archived thread is 409."""
    server.chat("hello", thread_id="archive-1")
    archived = server.call("PUT", "/threads/archive-1/archive")
    assert archived.json()["total_messages"] == 1

    def ids(which: str) -> set[str]:
        listed = server.call("GET", "/threads", params={"archived": which, "limit": 100}).json()["threads"]
        return {thread["id"] for thread in listed}

    assert "archive-1" not in ids("false")
    assert "archive-1" in ids("true") & ids("all")
    refused = server.chat("more", thread_id="archive-1")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:chatcli:thread-archived")
    assert server.call("DELETE", "/threads/archive-1/archive").json() == archived.json()
    assert server.chat("more", thread_id="archive-1").status_code == 200


def test_a_deleted_thread_is_gone(server: Server) -> None:
    """204 without a body; afterwards the thread is unknown everywhere."""
    server.chat("hello", thread_id="delete-1")
    gone = server.call("DELETE", "/threads/delete-1")
    assert (gone.status_code, gone.content) == (204, b"")
    assert server.call("GET", "/threads/delete-1/history").status_code == 404
    assert server.call("DELETE", "/threads/delete-1").status_code == 404


def test_info_names_service_features_and_endpoints(server: Server) -> None:
    """A client learns what it may do, and where; no secret is in it."""
    answer = server.call("GET", "/info")
    document = answer.json()
    assert set(document["service"]) == {"name", "description", "version"}
    assert {"streaming", "persistence", "thread_management"} <= set(document["features"])
    assert {"stream", "thread_history", "delete_thread", "clear_thread", "archive_thread"} <= set(
        document["endpoints"]
    )
    assert not any(secret in answer.text for secret in TOKENS.values())


def test_health_and_readiness_need_no_token(server: Server) -> None:
    """Whoever watches the server has no account."""
    assert server.call("GET", "/healthz", owner=None).json() == {"status": "ok"}
    assert server.call("GET", "/readyz", owner=None).json() == {"status": "ready"}


def test_docs_come_from_the_server_itself(server: Server) -> None:
    """The page and all that it names are served here; nothing is loaded from elsewhere."""
    page = server.call("GET", "/docs", owner=None)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in ("/docs/page.js", "/docs/page.css", "/openapi.json"):
        assert path in page.text
        assert server.call("GET", path, owner=None).status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_the_commands_show_the_same_threads(server: Server) -> None:
    """The token of the shell opens the shell's own threads."""
    server.chat("from HTTP", thread_id="shared", owner="local")
    shell: Chatcli = server.program
    done = shell("chat", "-t", "shared", "-m", "openai:echo", "from the shell")
    assert done.returncode == 0, done.stderr
    messages = server.call("GET", "/chat/history/shared", owner="local").json()["messages"]
    assert [message["content"] for message in messages if message["role"] == "human"] == [
        "from HTTP",
        "from the shell",
    ]


def test_a_request_id_is_echoed_or_made(server: Server) -> None:
    """A sensible one is used; any other is replaced."""
    assert server.call("GET", "/info", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    for odd in ("a b", "x" * 129, 'a"b'):
        made = server.call("GET", "/info", headers={"X-Request-ID": odd}).headers["x-request-id"]
        assert made not in ("", odd)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/threads/", 404),
        ("PATCH", "/threads", 405),
        ("GET", "/chat", 405),
        ("GET", "/threads/unknown-thread/history", 404),
        ("GET", "/threads/..%2f..%2fetc/history", 404),
        ("GET", "/threads/a..b/history", 422),
        ("GET", "/threads?limit=0", 422),
        ("GET", "/threads?limit=1&limit=2", 400),
        ("GET", "/threads?unknown=1", 422),
        ("GET", "/threads?cursor=foreign", 422),
    ],
)
def test_errors_are_problems(server: Server, method: str, path: str, status: int) -> None:
    """Whatever is wrong is told in the same form, with the request's id."""
    answer = server.call(method, path)
    assert answer.status_code == status, answer.text
    check_problem(answer)
    if status == 405:
        assert answer.headers["allow"]


def check_problem(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["type"].startswith("urn:chatcli:")
    assert document["status"] == answer.status_code
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == answer.headers["x-request-id"]


def test_what_is_wrong_is_said_as_it_is_meant(server: Server) -> None:
    """A pattern is quoted as it stands: letters of either kind may be in the id of a thread."""
    detail = server.chat("x", thread_id="-").json()["detail"]
    assert detail.startswith("thread_id: string should match pattern '^[A-Za-z0-9]")
