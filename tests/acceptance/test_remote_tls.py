"""The commands over https: a chain of certificates is checked, and what is wrong with it is told."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from tests.program import Chatcli
from tests.server.peer import TOKENS, Server


class Doors(NamedTuple):
    """Ports at which one server is reached over TLS, and the authority that vouches for it."""

    good: int
    """Its certificate is for localhost, by an authority below the root."""
    other: int
    """Its certificate is for another name."""
    authority: Path


@pytest.fixture(scope="module")
def doors(tls_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """TLS in front of a server, as a proxy brings it."""
    root = trustme.CA()
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    root.cert_pem.write_to_path(str(path))
    below = root.create_child_ca()
    names = ("localhost", "chat.example.com")
    with _terminating([_context(below, name) for name in names], tls_server.port) as (good, other):
        yield Doors(good, other, path)


@pytest.fixture(scope="module")
def tls_server(servers: Callable[[str], tuple[Server, str]]) -> Server:
    """The server behind the doors."""
    return servers("tcp")[0]


def _context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@contextmanager
def _terminating(contexts: list[ssl.SSLContext], port: int) -> Iterator[list[int]]:
    """Listen with each context, and pass on to a port what comes, until the block is left."""
    loop = asyncio.new_event_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ssl.SSLError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        for one in (pump(reader, inner_writer), pump(inner_reader, writer)):
            task = loop.create_task(one)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def listen() -> list[asyncio.Server]:
        return [await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) for context in contexts]

    async def end(listening: list[asyncio.Server]) -> None:
        for server in listening:
            server.close()
        for task in [*tasks]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    loop.set_exception_handler(lambda _loop, _context: None)  # handshakes that clients break off
    listening = loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield [server.sockets[0].getsockname()[1] for server in listening]
    finally:
        asyncio.run_coroutine_threadsafe(end(listening), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def far(chatcli: Chatcli, doors: Doors) -> Chatcli:
    """The program, with the server behind TLS and its authority in its environment."""
    return chatcli.with_environment(
        CHATCLI_SERVER=f"https://localhost:{doors.good}",
        CHATCLI_API_TOKEN=TOKENS["local"],
        SSL_CERT_FILE=str(doors.authority),
    )


def test_the_commands_work_over_tls(far: Chatcli) -> None:
    """With the authority in SSL_CERT_FILE everything is as over http."""
    assert far("chat", "-t", "sealed", "-m", "offline", "hello").returncode == 0
    assert far("title", "sealed", "Under", "seal").returncode == 0
    assert far("history").stdout.startswith(b"sealed\tUnder seal\t")
    assert far("export", "sealed").stdout.count(b"\n") == 3
    assert far("info", "--check", "-m", "offline").returncode == 0
    assert far("delete", "sealed", "-y").returncode == 0


def test_a_stranger_s_certificate_is_refused(far: Chatcli) -> None:
    """Without the authority nothing is sent, and the error says how to name one: 69."""
    for words in (("history",), ("chat", "hello")):
        refused = far(*words, env={"SSL_CERT_FILE": ""})
        assert (refused.returncode, refused.stdout) == (69, b"")
        assert b"is not trusted, or is for another name" in refused.stderr
        assert b"SSL_CERT_FILE" in refused.stderr


def test_a_certificate_for_another_name_is_refused(far: Chatcli, doors: Doors) -> None:
    """A trusted authority is not enough: the name has to be right."""
    refused = far("history", env={"CHATCLI_SERVER": f"https://localhost:{doors.other}"})
    assert (refused.returncode, refused.stdout) == (69, b"")
    assert b"is not trusted, or is for another name" in refused.stderr


def test_certificates_that_can_not_be_read_are_told(far: Chatcli) -> None:
    """An SSL_CERT_FILE that is not there is a wrong setting: 78."""
    refused = far("history", env={"SSL_CERT_FILE": str(far.home / "missing.pem")})
    assert refused.returncode == 78
    assert b"SSL_CERT_FILE" in refused.stderr


def test_http_is_not_https(far: Chatcli, doors: Doors, tls_server: Server) -> None:
    """A server without TLS is not talked to in the clear, nor one with TLS."""
    plain = far("history", env={"CHATCLI_SERVER": f"https://localhost:{tls_server.port}"})
    assert plain.returncode == 69
    sealed = far("history", env={"CHATCLI_SERVER": f"http://localhost:{doors.good}"})
    assert sealed.returncode == 69
