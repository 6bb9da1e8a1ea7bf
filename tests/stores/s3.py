"""An S3 server for the tests: moto in a process of its own, behind a proxy that can do it harm.

With ``--s3-endpoint`` it is the server there, behind the same proxy (see `endpoint`). Each bucket has
its own `Traffic`: what was asked of it, which faults it suffers, and how far the clock of its server
is ahead.
"""

import asyncio
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from unittest import mock
from urllib.parse import quote, unquote, urlsplit

import pytest

from chatcli.stores.base import LEASE_SECONDS
from tests.stores.endpoint import KEY_ID, SECRET, Endpoint

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Request:
    """One request as the proxy saw it."""

    method: str
    key: str
    query: str
    headers: dict[str, str]


@dataclass
class Fault:
    """What happens to the next `times` requests that match.

    `status` (with `code` and `body`) is answered instead of asking the server, or with `after`
    once the server has done what it was asked; status 0 hangs up. `replace` changes what the server
    answers, and hangs up then. `wait` holds the request back until `released`.
    """

    method: str = ""
    key: str = ""
    times: int = 1
    status: int | None = None
    code: str = ""
    body: bytes | None = None
    after: bool = False
    replace: Callable[[bytes], bytes] | None = None
    wait: bool = False
    when: Callable[[Request], bool] = lambda _: True
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def matches(self, request: Request) -> bool:
        """Tell whether the request is one to harm."""
        right = self.method in ("", request.method) and self.key in request.key
        return self.times > 0 and right and self.when(request)


@dataclass
class Traffic:
    """What goes on between the stores and one bucket."""

    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    ahead: float = 0.0

    def add(self, fault: Fault) -> Fault:
        """Let a fault happen from now on."""
        self.faults.append(fault)
        return fault

    def counts(self) -> dict[str, int]:
        """Return how many requests of each method there were since the last call."""
        asked, self.requests = self.requests, []
        return {
            method: sum(request.method == method for request in asked)
            for method in {request.method for request in asked}
        }

    def take(self, request: Request) -> Fault | None:
        """Note a request, and return the fault that it suffers."""
        self.requests.append(request)
        fault = next((fault for fault in self.faults if fault.matches(request)), None)
        if fault is not None:
            fault.times -= 1
        return fault


class Server:
    """A running server, its proxy and its buckets."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.proxy_port = 0
        self._buckets: list[str] = []
        self._traffic: dict[str, Traffic] = {}
        self._writing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def url(self, options: str = "") -> str:
        """Return the URL of a store in a bucket that nobody used before."""
        return f"s3://{self.new_bucket()}/chats?endpoint_url=http://127.0.0.1:{self.proxy_port}{options}"

    def new_bucket(self) -> str:
        """Make a bucket."""
        bucket = f"bucket-{secrets.token_hex(6)}"
        assert self.ask("PUT", f"/{bucket}")[0] == 200
        self._buckets.append(bucket)
        return bucket

    def remove_buckets(self) -> None:
        """Remove all buckets that were made, with what is in them."""
        for bucket in self._buckets:
            while keys := re.findall(
                r"<Key>([^<]*)</Key>", self.ask("GET", f"/{bucket}?list-type=2")[2].decode()
            ):
                for key in keys:
                    self.ask("DELETE", f"/{bucket}/{quote(key)}")
            self.ask("DELETE", f"/{bucket}")

    def traffic(self, url: str) -> Traffic:
        """Return what goes on with the bucket of a store."""
        return self._traffic.setdefault(urlsplit(url).netloc, Traffic())

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Make a request of the test's own, past the proxy."""
        connection = self.endpoint.connect()
        try:
            connection.request(method, path, body, self.endpoint.signed(method, path, headers or {}, body))
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def read(self, url: str, key: str) -> bytes | None:
        """Return an object of a store, by its key under the store's prefix."""
        status, _, body = self.ask("GET", self._path(url, key))
        return body if status == 200 else None

    def write(self, url: str, key: str, body: bytes) -> None:
        """Put an object into the place of a store, as another program would."""
        assert self.ask("PUT", self._path(url, key), body)[0] == 200

    def takes(self, url: str, header: str, value: str) -> bool:
        """Tell whether the server takes a PUT with this header; `{etag}` is that of what is there."""
        path = self._path(url, "trial")
        etag = self.ask("PUT", path)[1]["etag"].strip('"')
        taken = self.ask("PUT", path, b"", {header: value.format(etag=etag)})[0] == 200
        self.ask("DELETE", path)
        return taken

    def keys(self, url: str) -> list[str]:
        """Return the keys of all objects of a store, the first thousand."""
        _, _, body = self.ask("GET", f"/{urlsplit(url).netloc}?list-type=2")
        found = re.findall(r"<Key>chats/([^<]*)</Key>", body.decode())
        return [key for key in found if key != "chat_proof"]

    @staticmethod
    def _path(url: str, key: str) -> str:
        return f"/{urlsplit(url).netloc}/chats/{quote(key)}"

    # The proxy -----------------------------------------------------------------------------------

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand the requests of one connection on."""
        try:
            while await self._hand_on(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): text for name, text in (one.split(": ", 1) for one in fields)}
        if "expect" in headers:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = line.split(" ")
        parts = urlsplit(target)
        bucket, _, key = unquote(parts.path).removeprefix("/").partition("/")
        traffic = self._traffic.setdefault(bucket, Traffic())
        fault = traffic.take(Request(method, key, parts.query, headers))
        if fault is not None and fault.wait:
            fault.reached.set()
            await asyncio.to_thread(fault.released.wait, _READY_SECONDS)
        if fault is None or fault.after or fault.status is None:
            async with self._alone(method, parts.path):
                answer = await self._ask_server(method, target, headers, body)
        else:
            answer = b""
        if fault is not None and fault.status is not None:
            if fault.status == 0:
                return False
            answer = _answer(fault, with_body=method != "HEAD")
        elif fault is not None and fault.replace is not None:
            answer = fault.replace(answer)
        writer.write(_at_time(answer, traffic.ahead))
        await writer.drain()
        return fault is None or fault.replace is None

    def _alone(self, method: str, path: str) -> AbstractAsyncContextManager[object]:
        """Let moto write an object for one client at a time.

        It looks at the condition first and writes then: of two who come at once, both may be told
        that they were the first, and one has lost its turn.
        """
        return self._writing[path] if method == "PUT" and self.endpoint.is_moto else nullcontext()

    async def _ask_server(self, method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
        signed = self.endpoint.signed(method, target, headers, body)
        fields = (f"{name}: {text}" for name, text in signed.items() if name not in ("connection", "expect"))
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *fields, "connection: close", "", ""])
        reader, writer = await asyncio.open_connection(
            self.endpoint.host, self.endpoint.port, ssl=self.endpoint.tls or None
        )
        try:
            writer.write(head.encode("latin-1") + body)
            return await reader.read()
        finally:
            writer.close()


def _answer(fault: Fault, *, with_body: bool) -> bytes:
    body = fault.body
    if body is None:
        body = f"<Error><Code>{fault.code}</Code><Message>canary</Message></Error>".encode()
    date = format_datetime(datetime.now(UTC), usegmt=True)
    return (
        f"HTTP/1.1 {fault.status} Fault\r\nDate: {date}\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + (body if with_body else b"")


def _at_time(answer: bytes, ahead: float) -> bytes:
    """Return an answer whose `Date` is so much later, and after which the connection stays open."""
    head, mark, body = answer.partition(b"\r\n\r\n")
    head = re.sub(rb"(?i)\r\nconnection: close", b"", head)

    def later(match: re.Match[bytes]) -> bytes:
        moment = parsedate_to_datetime(match[1].decode()) + timedelta(seconds=ahead)
        return b"\r\nDate: " + format_datetime(moment, usegmt=True).encode()

    return re.sub(rb"(?i)\r\ndate: ([^\r]*)", later, head) + mark + body


_running: list[Server] = []


def let_leases_end(url: str) -> None:
    """Put the clock of the server ahead until no lease that is held now holds any longer."""
    _running[-1].traffic(url).ahead += LEASE_SECONDS + 1


@contextmanager
def running(endpoint_url: str | None = None) -> Iterator[Server]:
    """Serve S3 for the block, with credentials in the environment: from `endpoint_url`, or from moto."""
    with ExitStack() as stack:
        if endpoint_url is None:
            server = Server(stack.enter_context(_moto()))
        else:
            server = Server(Endpoint.of(endpoint_url))
            stack.callback(server.remove_buckets)
        stack.enter_context(mock.patch.dict(os.environ, ENVIRONMENT))
        _check_conditions(server)
        stack.enter_context(_proxy(server))
        _running.append(server)
        stack.callback(_running.remove, server)
        yield server


@contextmanager
def _moto() -> Iterator[Endpoint]:
    """Run moto's server for the block."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield Endpoint("127.0.0.1", port)
        finally:
            process.kill()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the S3 server did not start")


def _check_conditions(server: Server) -> None:
    """See that the server refuses what the store relies on: else its tests would show nothing."""
    path = f"/{server.new_bucket()}/k"
    status, headers, _ = server.ask("PUT", path, b"1")
    assert status == 200
    etag = headers["etag"].strip('"')
    assert server.ask("PUT", path, b"2", {"If-Match": etag})[0] == 200
    assert server.ask("PUT", path, b"3", {"If-Match": etag})[0] == 412, "a stale If-Match is not refused"
    assert server.ask("PUT", path, b"3", {"If-None-Match": "*"})[0] == 412, "If-None-Match is ignored"
    assert server.ask("GET", path)[2] == b"2"


@contextmanager
def _proxy(server: Server) -> Iterator[None]:
    """Run the proxy on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=2**20)

    async def stop(listener: asyncio.Server) -> None:
        listener.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    listener = asyncio.run_coroutine_threadsafe(start(), loop).result()
    server.proxy_port = listener.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(stop(listener), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
