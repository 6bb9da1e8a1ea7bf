"""SIGKILL of one of two workers on one PostgreSQL, while clients ask without a pause."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from chatcli.stores.base import LEASE_SECONDS
from tests.fake_provider import FakeProvider
from tests.server.peer import Document, Server, Stream, eventually, serving

if TYPE_CHECKING:
    from tests.stores.postgres import Server as PostgresServer

CLIENTS = 4
HELD = [f"held-{number}" for number in range(6)]


@dataclass
class Client:
    """One who asks again and again, and asks once more with the same key where no answer came."""

    server: Server
    name: str
    thread_id: str
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    """The turn and the prompt of each answer that this client was told to be stored, in order."""

    def ask_until(self, over: threading.Event) -> None:
        """Send prompts until `over` is set."""
        with self.server.client() as client:
            while not over.is_set():
                prompt = f"{self.name}-{len(self.acknowledged)}"
                document = self._ask(client, prompt)
                assert document["state"] == "complete"
                assert document["saved"] is True
                self.acknowledged.append((document["turn_id"], prompt))

    def _ask(self, client: httpx.Client, prompt: str) -> Document:
        body = {"message": prompt, "thread_id": self.thread_id, "model": "openai:paced-50-20-3"}
        while True:
            try:
                answer = client.post("/chat", json=body, headers={"Idempotency-Key": prompt})
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                continue
            assert answer.status_code == 200, answer.text
            document: Document = answer.json()
            return document


@contextlib.contextmanager
def asking(clients: list[Client]) -> Iterator[None]:
    """Let the clients ask for the time of the block; what goes wrong with one of them is raised."""
    over = threading.Event()
    failures: list[BaseException] = []

    def run(client: Client) -> None:
        try:
            client.ask_until(over)
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failures, failures


def test_a_worker_that_is_killed_takes_nothing_with_it(
    tmp_path: Path, fake_provider: FakeProvider, postgres_server: "PostgresServer"
) -> None:
    """Each acknowledged turn is in the history, once; those of the dead worker end, and their threads go on.

    The streams of the other worker do not notice, nobody waits for the leases of the dead one to run
    out, and a new worker takes its place.
    """
    words = ("--workers", "2", "--store", postgres_server.url())
    with serving(tmp_path, *words, provider=fake_provider) as server, contextlib.ExitStack() as stack:
        pids = eventually(lambda: found if len(found := listening(server)) == 2 else None)
        clients = [Client(server, f"c{number}", f"t{number % 3}") for number in range(CLIENTS)]
        with asking(clients):
            held = {name: stack.enter_context(hold(server, name)) for name in HELD}
            fake_provider.wait_for(
                lambda requests: [model_of(r) for r in requests].count("slow-1") == len(HELD)
            )
            workers = {name: worker_of(server, stream, pids) for name, stream in held.items()}
            victim = workers[HELD[0]]
            os.kill(victim, signal.SIGKILL)
            for name in (name for name in HELD if workers[name] == victim):
                eventually(partial(ask_again, server, name), seconds=LEASE_SECONDS / 3)
                assert [turn["state"] for turn in server.history(name)] == ["interrupted", "complete"]
            fake_provider.release(len(HELD))
            for name in (name for name in HELD if workers[name] != victim):
                assert list(held[name].documents())[-1]["metadata"]["state"] == "complete"
            eventually(lambda: True if len(listening(server)) == 3 else None)
            enough = min(len(client.acknowledged) for client in clients) + CLIENTS
            eventually(lambda: min(len(client.acknowledged) for client in clients) >= enough or None)
        for thread_id in {client.thread_id for client in clients}:
            turns = server.history(thread_id)
            assert {turn["state"] for turn in turns} <= {"complete", "interrupted"}
            kept = [
                (turn["turn_id"], turn["messages"][0]["content"])
                for turn in turns
                if turn["state"] == "complete"
            ]
            for client in clients:
                if client.thread_id == thread_id:
                    assert [one for one in kept if one[1].startswith(client.name)] == client.acknowledged
        assert server.stop() == 0


def listening(server: Server) -> list[int]:
    return [record["pid"] for record in server.records() if record["event"] == "listening"]


def model_of(request: Document) -> str:
    return str((request["body"] or {}).get("model", ""))


def ask_again(server: Server, thread_id: str) -> Document | None:
    """Return the answer, None while the thread is busy: PostgreSQL takes a moment to see a process end."""
    answer = server.chat("again", thread_id=thread_id, on_busy="reject")
    assert answer.status_code in {200, 409}, answer.text
    return answer.json() if answer.status_code == 200 else None


def hold(server: Server, thread_id: str) -> Stream:
    """Begin a turn that waits for the test."""
    return server.open_stream({"input": "x", "thread_id": thread_id, "model": "openai:slow-1"})


def worker_of(server: Server, stream: Stream, pids: list[int]) -> int:
    """Return the process that has accepted the connection of a stream."""
    ports = [f":{port:04X}" for port in (server.port, stream.socket.getsockname()[1])]
    for line in Path("/proc/net/tcp").read_text().splitlines():
        fields = line.split()
        if [field[-5:] for field in fields[1:3]] == ports:
            name = f"socket:[{fields[9]}]"
            return next(pid for pid in pids if name in sockets_of(pid))
    raise AssertionError("nobody has accepted the connection")


def sockets_of(pid: int) -> set[str]:
    return {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
