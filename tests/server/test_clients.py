"""Clients that others wrote: curl, httpx and a browser, alone or on one thread, and the shell beside."""

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.fake_provider import FakeProvider
from tests.fake_provider.script import DEFAULT_ANSWER
from tests.server.peer import WAIT, Document, Server, serving

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
Lines: TypeAlias = Iterator[str]
Post: TypeAlias = Callable[[Server, str, Document, str], AbstractContextManager[Lines]]

CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGE = """<!doctype html><meta charset="utf-8"><title>A page of another origin</title>
<script type="module">
const api = "%s";
let told = Promise.resolve();
const tell = (who, what) => told = told.then(
    () => fetch("/seen", {method: "POST", body: JSON.stringify([who, what])}));
window.onunhandledrejection = (event) => tell("broken", String(event.reason));

function watch(event) {
    const path = `/threads/${event.thread_id}/turns/${event.metadata.turn_id}/stream`;
    const source = new EventSource(api + path);
    for (const type of ["metadata", "token"])
        source.addEventListener(
            type, (event) => tell("EventSource", [event.lastEventId, JSON.parse(event.data)]));
    source.onerror = () => {
        if (source.readyState === EventSource.CLOSED) tell("EventSource", null);
    };
}

const answer = await fetch(api + "/chat/stream", {
    method: "POST",
    headers: {"Content-Type": "application/json", "Authorization": "Bearer x", "Idempotency-Key": "page"},
    body: JSON.stringify({input: "from a page", thread_id: "page", model: "openai:slow-4"}),
});
tell("head", [answer.status, answer.headers.get("content-type"), answer.headers.has("x-request-id")]);
let rest = "";
for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + piece).split("\\n");
    rest = lines.pop();
    for (const event of lines.map((line) => JSON.parse(line))) {
        tell("fetch", event);
        if (event.metadata?.thread_created) watch(event);
    }
}
tell("fetch", null);
</script>
"""


@contextmanager
def post_with_curl(server: Server, path: str, body: Document, accept: str = NDJSON) -> Iterator[Lines]:
    """Post with curl, as somebody would in a terminal."""
    command = shutil.which("curl")
    if command is None:
        pytest.skip("curl is not installed here")
    words = ["--silent", "--show-error", "--fail", "--no-buffer", "--max-time", str(WAIT)]
    fields = {**server.headers, "Accept": accept}
    headers = [word for name, value in fields.items() for word in ("--header", f"{name}: {value}")]
    whole = [command, *words, *headers, "--json", json.dumps(body), server.url + path]
    with subprocess.Popen(whole, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield (line.decode().removesuffix("\n") for line in process.stdout)
    assert process.returncode == 0


@contextmanager
def post_with_httpx(server: Server, path: str, body: Document, accept: str = NDJSON) -> Iterator[Lines]:
    """Post with httpx, as a Python program would."""
    with (
        server.client() as client,
        client.stream("POST", path, json=body, headers={"Accept": accept}) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(accept)
        yield answer.iter_lines()


def documents(lines: Lines) -> Iterator[Document]:
    """Yield the events of a stream of either kind."""
    for line in lines:
        if line.startswith(("{", "data: ")):
            yield json.loads(line.removeprefix("data: "))


@pytest.mark.parametrize("accept", [NDJSON, SSE])
@pytest.mark.parametrize("post", [post_with_curl, post_with_httpx])
def test_a_token_arrives_before_the_next_one_is_made(
    server: Server, fake_provider: FakeProvider, post: Post, accept: str
) -> None:
    """Neither the server nor the client's own library holds a token back."""
    fake_provider.release()
    with post(server, "/chat/stream", {"input": "x", "model": "openai:slow-4"}, accept) as lines:
        events = documents(lines)
        assert next(events)["metadata"]["thread_created"] is True
        for number in range(3):
            assert next(events)["content"] == f"w{number} "
            assert not fake_provider.requests()[-1]["finished"]
            fake_provider.release()
        assert next(events)["content"] == "w3 "
        assert next(events)["metadata"]["state"] == "complete"
        assert next(events, None) is None


def test_two_clients_share_a_thread(server: Server, fake_provider: FakeProvider) -> None:
    """One waits for the turn of the other, and its model is sent what the other one said."""
    fake_provider.release()
    first = {"input": "from curl", "thread_id": "two", "model": "openai:slow-2"}
    second = {"input": "from httpx", "thread_id": "two"}
    found: list[Document] = []

    def ask_second() -> None:
        with post_with_httpx(server, "/chat/stream", second) as lines:
            found.extend(documents(lines))

    with post_with_curl(server, "/chat/stream", first) as lines:
        events = documents(lines)
        assert [next(events)["type"] for _ in range(2)] == ["metadata", "token"]
        other = threading.Thread(target=ask_second)
        other.start()
        fake_provider.release()
        assert list(events)[-1]["metadata"]["state"] == "complete"
        other.join(WAIT)
    assert found[0]["metadata"]["thread_created"] is False
    sent = fake_provider.requests()[-1]["body"]["messages"]
    assert [message["content"] for message in sent[1:]] == ["from curl", "w0 w1 ", "from httpx"]
    assert [[message["content"] for message in entry["messages"]] for entry in server.history("two")] == [
        ["from curl", "w0 w1 "],
        ["from httpx", DEFAULT_ANSWER],
    ]


def test_a_thread_of_the_shell_goes_on_over_http(server: Server, fake_provider: FakeProvider) -> None:
    """What is begun in the shell is sent to the model over HTTP, and the shell shows all of it."""
    shell = server.program
    done = shell("chat", "-t", "from-the-shell", "-m", "openai:echo", "one")
    assert done.returncode == 0, done.stderr
    answer = server.chat("two", thread_id="from-the-shell", owner="local")
    assert answer.json()["thread_id"] == "from-the-shell"
    sent = fake_provider.requests()[-1]["body"]["messages"]
    assert [message["content"] for message in sent[1:]] == ["one", "one", "two"]
    shown = json.loads(shell("history", "from-the-shell", "--json").stdout)
    assert [(turn["index"], turn["state"]) for turn in shown["turns"]] == [(1, "complete"), (2, "complete")]
    said = [[message["content"] for message in turn["messages"]] for turn in shown["turns"]]
    assert said == [["one", "one"], ["two", DEFAULT_ANSWER]]
    assert shown["turns"][1]["id"] == answer.json()["turn_id"]


def test_a_page_of_an_allowed_origin_streams(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """In a browser `fetch` gets each token when it comes, and `EventSource` the same ones beside it.

    When the stream is over, `EventSource` asks once more for what is behind the last event, learns
    that there is nothing, and closes.
    """
    with hosting() as site:
        words = ("--cors-origin", site.origin)
        with (
            serving(tmp_path, *words, provider=fake_provider, CHATCLI_API_TOKENS_FILE="") as server,
            browsing(tmp_path, site, server.url),
        ):
            fake_provider.release()
            assert site.take("head") == [200, f"{NDJSON}; charset=utf-8", True]
            turn_id = site.take("fetch")["metadata"]["turn_id"]
            number, first = site.take("EventSource")
            assert (number, first["metadata"]["turn_id"]) == ("1", turn_id)
            for index in range(3):
                token = {"type": "token", "content": f"w{index} ", "thread_id": "page"}
                assert site.take("fetch") == token
                assert site.take("EventSource") == [str(index + 2), token]
                assert not fake_provider.requests()[-1]["finished"]
                fake_provider.release()
            assert site.take("fetch")["content"] == site.take("EventSource")[1]["content"] == "w3 "
            last = site.take("fetch")
            assert last["metadata"]["state"] == "complete"
            assert site.take("EventSource") == ["6", last]
            assert site.take("fetch") is None
            assert site.take("EventSource") is None
            assert server.history("page")[0]["messages"][-1]["content"] == "w0 w1 w2 w3 "


class Site:
    """A site with one page, which tells what it sees."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://localhost:{port}"
        self.page = b""
        self._seen: dict[str, queue.Queue[Any]] = {
            who: queue.Queue() for who in ("head", "fetch", "EventSource")
        }

    def put(self, who: str, what: object) -> None:
        """Keep what a part of the page has seen; what breaks the page is for all to see."""
        for one in [self._seen[who]] if who in self._seen else self._seen.values():
            one.put(what)

    def take(self, who: str) -> Any:
        """Wait for the next thing that a part of the page sees."""
        return self._seen[who].get(timeout=WAIT)


@contextmanager
def hosting() -> Iterator[Site]:
    """Run a site on a free port; for the browser it is another one than 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/"
            self._answer(200 if found else 404, site.page if found else b"")

        def do_POST(self) -> None:
            site.put(*json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(200, b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = Site(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browsing(home: Path, site: Site, api: str) -> Iterator[None]:
    """Show the page in Chromium for the block; where there is none, skip by name."""
    command = shutil.which("chromium")
    if command is None:
        pytest.skip("chromium is not installed here")
    site.page = (PAGE % api).encode()
    words = [*CHROMIUM, f"--user-data-dir={home / 'profile'}", f"{site.origin}/"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    with (
        (home / "chromium.log").open("wb") as log,
        subprocess.Popen(
            [command, *words], env=environment, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
