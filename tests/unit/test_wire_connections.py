"""The connections of the fast engine: kept, used again, lost, secured; on both event loops."""

import asyncio
import json
import shutil
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chatcli.config import load_settings
from chatcli.errors import ChatcliError, ConfigError, ProviderUnavailable
from chatcli.models import Message, ModelOptions, Role, utc_now
from chatcli.providers import ModelSpec, open_provider
from chatcli.providers.base import Provider
from chatcli.providers.wire import connection
from chatcli.providers.wire.chat import DeltaReader

DONE = b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def event(text: str) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def framed(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


WHOLE = CHUNKED + framed(event("hi"), DONE) + b"0\r\n\r\n"


class Server:
    """A server that does what its script says for each request, and counts connections."""

    def __init__(self, *answers: bytes | Handler) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.requests: list[bytes] = []
        self.handlers: set[asyncio.Task[None] | None] = set()
        self.ended = asyncio.Event()
        """A client hung up."""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        self.handlers.add(asyncio.current_task())
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    self.requests.append(await read_request(reader))
                    answer = self.answers.pop(0)
                    if isinstance(answer, bytes):
                        writer.write(answer)
                        await writer.drain()
                    else:
                        await answer(reader, writer)
        finally:
            self.ended.set()
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head + await reader.readexactly(int(size.split(b":")[1]))


@asynccontextmanager
async def running(server: Server, tls: ssl.SSLContext | None = None) -> Any:
    """Run a server and yield its port; wait until it has seen the end of its clients."""
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=tls)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    async with asyncio.timeout(30):
        await asyncio.gather(*filter(None, server.handlers))


@asynccontextmanager
async def provider_at(url: str, **environ: str) -> Any:
    """Yield the fast engine for a server."""
    settings = load_settings(
        environ={"HOME": "/nowhere", "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": url, **environ}
    )
    provider = open_provider(settings, ModelSpec("openai", "m"))
    assert provider.engine == "wire"
    yield provider
    await provider.aclose()


async def answer_of(provider: Provider) -> str:
    messages = [Message("1", Role.HUMAN, "hi", utc_now())]
    asked = provider.stream(messages, ModelOptions())
    return "".join([delta.text async for deltas in asked for delta in deltas])


async def end_has_come(provider: Any) -> None:
    """Wait until the idle connection has all that the server sends."""
    _, kept, body = provider._connections._idle[-1]
    async with asyncio.timeout(30):
        while not body.done and not kept._size:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)


def on_loops(test: Callable[..., Awaitable[None]]) -> Any:
    """Run a test on asyncio's loop and on uvloop."""

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    def run(loop: str) -> None:
        if loop == "asyncio":
            asyncio.run(test())  # type: ignore[arg-type]
        else:
            factory = pytest.importorskip("uvloop").new_event_loop
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(test())  # type: ignore[arg-type]

    run.__doc__ = test.__doc__
    return run


@on_loops
async def test_a_connection_is_used_again() -> None:
    """Requests one after the other share a connection, those at the same time do not."""
    server = Server(*[WHOLE] * 5)
    async with running(server) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
        for _ in range(3):
            assert await answer_of(provider) == "hi"
        assert server.connections == 1
        assert set(await asyncio.gather(answer_of(provider), answer_of(provider))) == {"hi"}
        assert server.connections == 2


@on_loops
async def test_the_end_of_a_body_may_come_later() -> None:
    """An answer ends with its last event; what ends the body may come until the connection is needed."""
    rest = asyncio.Event()

    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + framed(event("hi"), DONE))
        await rest.wait()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    server = Server(slow, slow, WHOLE)
    async with running(server) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
        assert await answer_of(provider) == "hi"
        rest.set()
        await end_has_come(provider)
        assert await answer_of(provider) == "hi"
        assert server.connections == 1
        await end_has_come(provider)
        rest.clear()
        server.answers[:] = [slow, WHOLE]
        assert await answer_of(provider) == "hi"
        assert await answer_of(provider) == "hi"
        assert server.connections == 2, "the first one still waits for its body's end"
        rest.set()


@pytest.mark.parametrize(
    "answer",
    [
        HEAD
        + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        + framed(event("hi"), DONE)
        + b"0\r\n\r\n",
        HEAD.replace(b"1.1", b"1.0")
        + b"Content-Length: %d\r\n\r\n" % len(event("hi") + DONE)
        + event("hi")
        + DONE,
        WHOLE + b"more",
    ],
    ids=["close", "http-1.0", "surplus"],
)
async def test_connections_that_are_not_kept(answer: bytes) -> None:
    """The server says so, its HTTP is too old, or it sent more than it should."""
    server = Server(answer, WHOLE)
    async with running(server) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
        assert await answer_of(provider) == "hi"
        assert await answer_of(provider) == "hi"
    assert server.connections == 2


async def test_idle_connections_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was idle for too long is not trusted, and no more are kept than the limit."""
    server = Server(*[WHOLE] * 6)
    async with running(server) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
        assert await answer_of(provider) == "hi"
        monkeypatch.setattr(connection, "IDLE_SECONDS", -1.0)
        assert await answer_of(provider) == "hi"
        assert server.connections == 2
        monkeypatch.setattr(connection, "IDLE_LIMIT", 1)
        await asyncio.gather(answer_of(provider), answer_of(provider))
        assert len(provider._connections._idle) == 1


async def test_idle_connections_are_closed_though_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that is not used any more leaves no sockets behind, whether it was closed or not."""
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.05)
    server = Server(WHOLE)
    async with running(server) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
        assert await answer_of(provider) == "hi"
        async with asyncio.timeout(30):
            await server.ended.wait()
        assert not provider._connections._idle


def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter, *, data: bytes = b"") -> Awaitable[None]:
    writer.write(data)
    writer.close()
    return asyncio.sleep(0)


@on_loops
async def test_a_lost_idle_connection_is_not_noticed() -> None:
    """The server hung up while nobody asked, or just as somebody did: the request is sent again."""
    server = Server(WHOLE, hang_up, WHOLE)
    async with running(server) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
        assert await answer_of(provider) == "hi"
        assert await answer_of(provider) == "hi"
        assert server.connections == 2
        assert len(server.requests) == 3


async def test_a_new_connection_that_is_lost_is_an_error() -> None:
    """Only what may be the fault of an idle connection is tried again here, once."""
    server = Server(WHOLE, hang_up, hang_up)
    async with running(server) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
        assert await answer_of(provider) == "hi"
        with pytest.raises(ProviderUnavailable):
            await answer_of(provider)
    assert len(server.requests) == 3


@pytest.mark.parametrize("data", [b"HTTP/1.1 2", CHUNKED, CHUNKED + framed(event("hi"))])
async def test_a_connection_lost_after_the_first_byte_is_an_error(data: bytes) -> None:
    """The server had the request then: it is not sent again behind the caller's back."""
    server = Server(WHOLE, partial(hang_up, data=data), WHOLE)
    async with running(server) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
        assert await answer_of(provider) == "hi"
        with pytest.raises(ProviderUnavailable):
            await answer_of(provider)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"\r\n" + event("hi") + DONE,
        HEAD + b"\r\n" + event("hi"),
        HEAD + b"Content-Length: %d\r\n\r\n" % len(event("hi")) + event("hi"),
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + WHOLE,
        CHUNKED + b"".join(framed(bytes([byte])) for byte in event("hi") + DONE) + b"0\r\n\r\n",
    ],
    ids=["until-close", "until-close-no-done", "sized", "interim", "byte-by-byte"],
)
async def test_other_ways_to_send_an_answer(data: bytes) -> None:
    """Bodies with and without a size, interim responses, chunks of one byte."""
    server = Server(partial(hang_up, data=data))
    async with running(server) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
        assert await answer_of(provider) == "hi"


async def test_a_reset_is_not_the_end_of_a_body() -> None:
    """A body that ends with its connection ends with an orderly one."""

    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"\r\n" + event("hi"))
        await writer.drain()
        await asyncio.sleep(0.02)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with running(Server(reset)) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
        with pytest.raises(ProviderUnavailable):
            await answer_of(provider)


async def test_something_else_on_the_port() -> None:
    """A server that does not speak HTTP is as good as none."""
    server = Server(b"SSH-2.0-OpenSSH\r\n\r\n")
    async with running(server) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
        with pytest.raises(ProviderUnavailable):
            await answer_of(provider)


@on_loops
async def test_cancelling_hangs_up() -> None:
    """Before the head and in the middle of the body: the server sees the end at once."""
    for before in (b"", CHUNKED + framed(event("hi"))):
        asked = asyncio.Event()

        async def hang(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            before: bytes = before,
            asked: asyncio.Event = asked,
        ) -> None:
            writer.write(before)
            asked.set()
            await reader.read(1)

        server = Server(hang)
        async with running(server) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
            task = asyncio.create_task(answer_of(provider))
            await asked.wait()
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(30):
                await server.ended.wait()


def test_what_came_before_a_fault_counts() -> None:
    """Although it came in the same piece."""
    reader = DeltaReader()
    found = reader.feed(event("a") + event("b") + b"data: {]\n\n" + event("c"))
    assert [delta.text for delta in found] == ["a", "b"]
    assert reader.over
    assert isinstance(reader.failure, ValueError)


@on_loops
async def test_a_reader_that_stops_stops_the_server() -> None:
    """What is not read is not taken in: memory stays bounded, and nothing is lost."""
    piece = event("x" * 50_000)
    count = 400
    sent = 0

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        for _ in range(count):
            writer.write(framed(piece))
            await writer.drain()
            sent += 1
        writer.write(framed(DONE) + b"0\r\n\r\n")

    async with running(Server(flood)) as port, provider_at(f"http://127.0.0.1:{port}/v1") as provider:
        stream = provider.stream([Message("1", Role.HUMAN, "hi", utc_now())], ModelOptions())
        size = sum(len(delta.text) for delta in await anext(stream))
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < count
        size += sum([len(delta.text) async for deltas in stream for delta in deltas])
        assert size == count * 50_000


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, and its key beside it."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=test"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-addext", "keyUsage=critical,digitalSignature,keyCertSign"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem"


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


def test_tls(certificate: Path) -> None:
    """SSL_CERT_FILE is trusted; the connection is kept as others are. Both loops."""

    async def test() -> None:
        server = Server(WHOLE, WHOLE)
        async with (
            running(server, server_context(certificate)) as port,
            provider_at(f"https://127.0.0.1:{port}/v1", SSL_CERT_FILE=str(certificate)) as provider,
        ):
            assert await answer_of(provider) == "hi"
            assert await answer_of(provider) == "hi"
            assert server.connections == 1

    asyncio.run(test())
    with asyncio.Runner(loop_factory=pytest.importorskip("uvloop").new_event_loop) as runner:
        runner.run(test())


async def test_tls_with_a_stranger(certificate: Path) -> None:
    """A server that nobody vouches for, or that has another name, gets no request."""
    server = Server(WHOLE)
    async with running(server, server_context(certificate)) as port:
        async with provider_at(f"https://127.0.0.1:{port}/v1") as provider:
            with pytest.raises(ProviderUnavailable):
                await answer_of(provider)
        async with provider_at(f"https://localhost:{port}/v1", SSL_CERT_FILE=str(certificate)) as provider:
            with pytest.raises(ProviderUnavailable):
                await answer_of(provider)
    assert not server.requests


async def test_tls_with_a_missing_certificate(tmp_path: Path) -> None:
    """A file that is not there is a matter of settings."""
    missing = str(tmp_path / "none.pem")
    async with provider_at("https://127.0.0.1:9/v1", SSL_CERT_FILE=missing) as provider:
        with pytest.raises(ConfigError, match="SSL_CERT_FILE") as caught:
            await answer_of(provider)
    assert caught.value.__context__ is None


async def test_a_handshake_that_never_ends() -> None:
    """TLS is part of connecting, and of its limit."""
    gone = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        gone.set()

    listener = await asyncio.start_server(deaf, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        async with provider_at(f"https://127.0.0.1:{port}/v1", CHATCLI_TIMEOUT_CONNECT="0.2") as provider:
            with pytest.raises(ChatcliError) as caught:
                await answer_of(provider)
            await gone.wait()
    assert "CHATCLI_TIMEOUT_CONNECT" in str(caught.value.hint)


def test_nothing_heavy_is_imported() -> None:
    """An answer costs the event loop and little else: no HTTP library, no SDK, no LangChain."""
    heavy = {
        *("certifi", "email", "h11", "http", "httpx", "httpx2", "groq", "langchain_core", "openai"),
        *("pydantic", "requests", "urllib.request", "tomllib"),
    }
    code = (
        "import asyncio, sys; before = set(sys.modules)\n"
        "from chatcli.config import load_settings\n"
        "from chatcli.providers import ModelSpec, open_provider\n"
        "settings = load_settings(environ={'HOME': '/nowhere', 'OPENAI_API_KEY': 'k'})\n"
        "provider = open_provider(settings, ModelSpec('openai', 'm'))\n"
        "assert provider.engine == 'wire'\n"
        "print(*(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())
