"""Requests that are too large, too slow, or not what they should be, on both HTTP parsers."""

import socket
import time
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.fake_provider import FakeProvider
from tests.server.peer import TOKENS, Server, read_all

HEAD = b"Host: localhost\r\nConnection: close\r\n"
JSON = b"Content-Type: application/json\r\n"


def post(
    server: Server, body: bytes, *, path: str = "/chat", headers: bytes = b"", method: str = "POST"
) -> tuple[int, str]:
    """Post bytes as they are; return status and body."""
    fields = HEAD + f"Authorization: Bearer {server.token}\r\nContent-Length: {len(body)}\r\n".encode()
    if b"ontent-" not in headers:
        headers += b"Content-Type: application/json\r\n"
    answer = server.raw(f"{method} {path} HTTP/1.1\r\n".encode() + fields + headers + b"\r\n" + body)
    head, _, text = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), text.decode()


@pytest.mark.parametrize(
    "kind",
    [
        b"Content-Type: text/plain\r\n",
        b"Content-Type: application/x-www-form-urlencoded\r\n",
        b"Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        b"Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
        b"X-ontent-Type: none\r\n",
    ],
)
def test_only_plain_json_is_read(each_parser: Server, kind: bytes) -> None:
    """A form of another site can't be sent here; an encoded body might be a bomb."""
    assert post(each_parser, b'{"message": "x"}', headers=kind)[0] == 415
    assert post(each_parser, b'{"title": "x"}', headers=kind, method="PATCH", path="/threads/x")[0] == 415


@pytest.mark.parametrize(
    ("body", "status", "place"),
    [
        (b"", 400, "line 1"),
        (b"{", 400, "column 2"),
        (b'{"message": "x"} x', 400, "column 18"),
        (b"\xef\xbb\xbf{}", 400, "byte order mark"),
        (b'{"message": "\xff"}', 400, "position 13"),
        (b'{"message": "\\ud800"}', 400, "message"),
        (b'{"message": "a\\u0000"}', 422, "message"),
        (b'{"message": NaN}', 400, "NaN"),
        (b'{"message": 1e999}', 400, "number"),
        (b'{"message": ' + b"9" * 5000 + b"}", 400, "number"),
        (b'{"message": "x", "message": "y"}', 400, "message"),
        (b'{"message": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "64"),
        (b"[" * 500_000, 400, "64"),
        (b'{"message": "x", "more": 1}', 422, "more"),
        (b'{"message": 1}', 422, "message"),
        (b'{"message": ""}', 422, "message"),
        (b"{}", 422, "message"),
        (b"[]", 422, "the body"),
        (b'"x"', 422, "the body"),
        (b'{"message": "x", "thread_id": "../../etc"}', 422, "thread_id"),
        (b'{"message": "x", "thread_id": "a..b"}', 422, "thread id"),
        (b'{"message": "x", "on_busy": "maybe"}', 422, "on_busy"),
        (b'{"message": "' + b"x" * 10_001 + b'"}', 413, "10001"),
    ],
)
def test_what_is_wrong_with_a_body_is_named(server: Server, body: bytes, status: int, place: str) -> None:
    """The place is named, and nothing is asked of a model."""
    found, text = post(server, body)
    assert found == status, text
    assert place in text


def test_a_deep_body_is_no_trouble(server: Server) -> None:
    """64 levels pass the parser; brackets in text do not count."""
    metadata = b'{"a":' * 60 + b"1" + b"}" * 60
    body = b'{"input": "' + b"[{" * 100 + b'", "session_metadata": ' + metadata + b"}"
    assert post(server, body, path="/chat/stream")[0] == 200


@pytest.mark.parametrize("path", [b"/chat", b"/chat/stream"])
def test_large_bodies_are_refused_in_flat_memory(each_parser: Server, path: bytes) -> None:
    """Declared, or in pieces: 413 after a mebibyte; what more comes is not kept."""
    fields = HEAD + f"Authorization: Bearer {each_parser.token}\r\n".encode()
    fields += b"Content-Type: application/json\r\n"
    start = b"POST " + path + b" HTTP/1.1\r\n"
    declared = start + fields + b"Content-Length: 100000000\r\n\r\n"
    before = memory_of(each_parser)
    with each_parser.connect() as connection:
        connection.sendall(declared)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    with each_parser.connect() as connection:
        connection.sendall(start + fields + b"Transfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        try:
            for _ in range(1600):
                connection.sendall(piece)
        except OSError:
            pass  # it had enough
        assert read_all(connection).startswith((b"HTTP/1.1 413 ", b""))
    assert memory_of(each_parser) - before < 32 * 1024


FLOODS = {
    "trailers of a stranger": (
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"X-Flood: water\r\n" * 4000,
    ),
    "trailers": (b"0\r\n", b"X-Flood: water\r\n" * 4000),
    "one trailer": (b"0\r\nX-Flood: ", b"w" * 64_000),
    "the extension of a chunk": (b"10;", b"w" * 64_000),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_what_stands_beside_a_body_is_small(each_parser: Server, flood: str) -> None:
    """Trailers and the like are not kept however many come: the connection is closed."""
    start, piece = FLOODS[flood]
    fields = (
        HEAD + f"Authorization: Bearer {each_parser.token}\r\nContent-Type: application/json\r\n".encode()
    )
    if not start.startswith(b"POST"):
        start = b"POST /chat HTTP/1.1\r\n" + fields + b"Transfer-Encoding: chunked\r\n\r\n" + start
    before = memory_of(each_parser)
    with each_parser.connect() as connection:
        connection.sendall(start)
        assert is_cut(connection, piece)
    assert memory_of(each_parser) - before < 32 * 1024


def test_a_head_behind_a_running_stream_is_small(each_parser: Server, fake_provider: FakeProvider) -> None:
    """What comes while a turn is answered does not fill the memory either."""
    asked = {"input": "x", "model": "openai:slow-1", "hold": False}
    before = memory_of(each_parser)
    with each_parser.open_stream(asked, headers={"Connection": "keep-alive"}) as stream:
        stream.read_head()
        stream.socket.settimeout(0.3)
        stream.socket.sendall(b"GET /info HTTP/1.1\r\nHost: localhost\r\n")
        is_cut(stream.socket, b"X-Flood: water\r\n" * 4000)  # or is not read any more
        assert memory_of(each_parser) - before < 32 * 1024
    fake_provider.release()


def is_cut(connection: socket.socket, piece: bytes) -> bool:
    """Send 100 MB; tell whether the server closed the connection before it had them all."""
    try:
        for _ in range(100_000_000 // len(piece)):
            connection.sendall(piece)
    except OSError as error:
        return not isinstance(error, TimeoutError)
    return False


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 16\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
    ],
)
def test_where_a_body_ends_is_certain(each_parser: Server, fields: bytes) -> None:
    """What another server could cut elsewhere is refused, and nothing behind it is taken for a request."""
    token = f"Host: localhost\r\nAuthorization: Bearer {each_parser.token}\r\n".encode()
    first = b"POST /chat HTTP/1.1\r\n" + token + JSON + fields
    answer = each_parser.raw(first + b"\r\n0\r\n\r\nGET /info HTTP/1.1\r\n" + token + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1


def test_trailers_are_no_headers(each_parser: Server) -> None:
    """They come after who is there was decided, and change nothing."""
    head = (
        b"POST /chat HTTP/1.1\r\n"
        + HEAD
        + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    )
    token = f"Authorization: Bearer {each_parser.token}\r\n".encode()
    body = b'\r\n10\r\n{"message": "x"}\r\n0\r\n'
    assert each_parser.raw(head + body + token + b"\r\n").startswith(b"HTTP/1.1 401 ")
    assert each_parser.raw(head + token + body + b"Host: x\r\n\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_another_protocol_is_not_spoken(each_parser: Server, protocol: bytes) -> None:
    """Who asks for one, as some clients always do, is answered as if it had not; so is what follows."""
    token = f"Host: localhost\r\nAuthorization: Bearer {each_parser.token}\r\n".encode()
    body = b'{"message": "x"}'
    ask = b"POST /chat HTTP/1.1\r\n" + token + b"Content-Type: application/json\r\nContent-Length: 16\r\n"
    upgrade = (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + protocol + b"\r\nHTTP2-Settings: AAMAAABk\r\n"
    )
    with each_parser.connect() as connection:
        for request in (ask + upgrade, ask + upgrade, ask + b"Connection: close\r\n"):
            connection.sendall(request + b"\r\n" + body)
            answer = HTTPResponse(connection)
            answer.begin()
            assert answer.status == 200
            answer.read()


def memory_of(server: Server) -> int:
    """Return the resident memory of the server in KiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET /in",
        b"GET /info HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + TOKENS["alice"].encode() + b"\r\nContent-Length: 20\r\n\r\n{",
    ],
)
def test_slow_requests_are_not_waited_for(impatient: Server, start: bytes) -> None:
    """A head or a body that trickles in closes the connection at its deadline, however often a byte comes."""
    with impatient.connect() as connection:
        connection.sendall(start)
        connection.settimeout(0.1)
        began, found = time.monotonic(), b""
        while time.monotonic() < began + 30:
            try:
                if not (piece := connection.recv(65536)):
                    break
                found += piece
            except TimeoutError:
                try:
                    connection.sendall(b"x" if start else b"")
                except OSError:
                    break
            except ConnectionResetError:
                break
        else:
            pytest.fail("it waits")
    if b"POST" in start:
        assert found.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nconnection: close\r\n" in found
    else:
        assert found == b""


@pytest.mark.parametrize("whole", [True, False])
def test_large_heads_are_refused(each_parser: Server, *, whole: bool) -> None:
    """431 from 16 KiB on, whether the head ends or not."""
    head = b"GET /info HTTP/1.1\r\nHost: localhost\r\n" + b"X-More: " + b"x" * 17_000
    assert each_parser.raw(head + (b"\r\n\r\n" if whole else b"")).startswith(b"HTTP/1.1 431 ")
    many = b"GET /info HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 6_000
    assert each_parser.raw(many).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"HELO x\r\n\r\n"])
def test_what_is_no_http_is_told_so(each_parser: Server, junk: bytes) -> None:
    """400 as a problem, and the connection is closed."""
    answer = each_parser.raw(junk)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"urn:chatcli:invalid-request" in answer


def test_requests_follow_each_other_on_a_connection(each_parser: Server) -> None:
    """Kept alive, one by one or pipelined, each gets its answer, also after a refused body."""
    one = f"GET /info HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {each_parser.token}\r\n".encode()
    last = one + b"Connection: close\r\n\r\n"
    assert each_parser.raw((one + b"\r\n") * 3 + last).count(b"HTTP/1.1 200 ") == 4
    refused = b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n" + b"x" * 40_000
    answer = each_parser.raw(refused + last)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.count(b"HTTP/1.1 200 ") == 1
