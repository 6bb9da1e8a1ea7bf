"""Bodies that may be large: how much of them a server holds at once."""

import json
import socket
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

from tests.fake_provider import FakeProvider
from tests.server.peer import TOKENS, Server, eventually, serving

MIB = 1024 * 1024


def test_large_bodies_share_what_there_is(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """256 MiB of them are held, while they arrive and while turns run on them; more is 429, small ones pass.

    On both parsers it is refused before it is sent, or as soon as it is over a mebibyte.
    """
    for parser in ("httptools", "h11"):
        words = ("--max-body", "64", "--receive-timeout", "120", "--http", parser)
        (tmp_path / parser).mkdir()
        with serving(tmp_path / parser, *words, provider=fake_provider) as server:
            fill_and_free(server, fake_provider)


def fill_and_free(server: Server, provider: FakeProvider) -> None:
    """Take all of the room, see what passes, and see it come back."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (3 * MIB)}}
    asked = {"input": [picture], "thread_id": "held", "model": "openai:slow-1", "hold": False}
    with server.open_stream(asked) as stream, ExitStack() as open_ones:
        stream.read_head()
        for size in (64, 64, 64):
            open_ones.enter_context(begin(server, size * MIB))
        with begin(server, 60 * MIB):
            refuse(server, f"Content-Length: {2 * MIB}")
            pieces = b"%x\r\n" % (2 * MIB) + b" " * (2 * MIB)
            refuse(server, "Transfer-Encoding: chunked", pieces)
            assert server.chat("small").status_code == 200
            assert server.call("POST", "/import", json={"threads": []}).status_code == 200
        open_ones.enter_context(begin(server, 60 * MIB))  # whoever has left has left its room, too
        refuse(server, f"Content-Length: {2 * MIB}")
        provider.release()
        assert list(stream.documents())[-1]["metadata"]["state"] == "complete"
        open_ones.enter_context(begin(server, 3 * MIB))
    begin(server, 64 * MIB).close()


def begin(server: Server, size: int) -> socket.socket:
    """Begin a request with so large a body, as soon as the server lets it be sent."""

    def ask() -> socket.socket | None:
        connection = open_request(server, f"Expect: 100-continue\r\nContent-Length: {size}")
        answer = connection.recv(65536)
        if answer.startswith(b"HTTP/1.1 100 "):
            return connection
        connection.close()
        assert answer.startswith(b"HTTP/1.1 429 "), answer
        return None

    return eventually(ask)


def refuse(server: Server, length: str, body: bytes = b"") -> None:
    """Check that a body is refused before its end has come."""
    with open_request(server, length) as connection:
        connection.sendall(body)
        answer = HTTPResponse(connection)
        answer.begin()
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "5"
        assert json.load(answer)["type"] == "urn:chatcli:rate-limited"


def open_request(server: Server, length: str) -> socket.socket:
    """Send the head of a request."""
    fields = f"Host: localhost\r\nAuthorization: Bearer {TOKENS['bob']}\r\nContent-Type: application/json"
    connection = server.connect()
    connection.sendall(f"POST /import HTTP/1.1\r\nConnection: close\r\n{fields}\r\n{length}\r\n\r\n".encode())
    return connection
