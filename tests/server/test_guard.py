"""Who may come in: tokens, owners, hosts, origins, and where the server may listen."""

import socket
from pathlib import Path

import pytest

from chatcli.server.operations import OPERATIONS
from tests.fake_provider import FakeProvider
from tests.program import Chatcli
from tests.server.peer import TOKENS, Server, serving

ROUTES = [
    (operation.method, operation.path.replace("{turn_id}", "u"))
    for operation in OPERATIONS
    if not operation.is_open
]
BODIES = {"PATCH": {"title": "x"}, "POST": {}}
"""Bodies that would do for the routes of a thread."""
HEAD = b"Host: localhost\r\nConnection: close\r\n"


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_wants_a_token(server: Server, method: str, path: str) -> None:
    """Without one, or with a wrong one, nothing is told but how to bring one."""
    path = path.replace("{thread_id}", "t")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": ""}):
        answer = server.call(method, path, owner=None, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (401, "urn:chatcli:unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header",
    [
        b"Authorization: Bearer",
        b"Authorization: Bearer \xff\xfe\xc3\xa4",
        b"Authorization: Bearer " + b"x" * 8000,
        b"Authorization: Basic " + TOKENS["alice"].encode(),
        b"Authorization: " + TOKENS["alice"].encode(),
        b"Authorization: Bearer " + TOKENS["alice"].encode() + b"\r\nAuthorization: Bearer wrong",
        b"Authorization: Bearer " + TOKENS["alice"].encode() + b"\r\nX-API-Key: wrong",
    ],
)
def test_odd_tokens_are_wrong_tokens(each_parser: Server, header: bytes) -> None:
    """Whatever bytes come, the answer is 401."""
    answer = each_parser.raw(b"GET /info HTTP/1.1\r\n" + HEAD + header + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401 "), answer


def test_the_body_of_a_stranger_is_not_read(each_parser: Server) -> None:
    """The answer comes before a body that is never sent, and no 100 Continue invites it."""
    with each_parser.connect() as connection:
        connection.sendall(
            b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_a_token_may_come_as_an_api_key(server: Server) -> None:
    """Some SDKs send X-API-Key and never Authorization."""
    assert server.call("GET", "/info", owner=None, headers={"X-API-Key": TOKENS["bob"]}).status_code == 200


def test_owners_never_see_each_others_threads(server: Server) -> None:
    """On every route another's thread is unknown: the answer does not differ from that for no thread."""
    server.chat("secret of alice", thread_id="private")
    for method, route in ROUTES:
        if "{thread_id}" not in route:
            continue
        foreign, unknown = (
            server.call(method, route.replace("{thread_id}", name), owner="bob", json=BODIES.get(method))
            for name in ("private", "missing")
        )
        assert foreign.status_code == unknown.status_code == 404, route
        ours, theirs = foreign.json(), unknown.json()
        assert ours["detail"].replace("private", "missing") == theirs["detail"]
        assert ours.get("hint", "").replace("private", "missing") == theirs.get("hint", "")
    assert server.history("private")[0]["messages"][0]["content"] == "secret of alice"
    assert server.chat("mine", thread_id="private", owner="bob").status_code == 200
    assert len(server.history("private")) == len(server.history("private", owner="bob")) == 1


@pytest.mark.parametrize(
    "hosts",
    [
        b"",
        b"Host: evil.example\r\n",
        b"Host: localhost.evil.example\r\n",
        b"Host: localhost:80@evil.example\r\n",
        b"Host: localhost\r\nHost: localhost\r\n",
        b"Host: localhost\r\nHost: evil.example\r\n",
        b"Host: \r\n",
    ],
)
def test_only_known_hosts_are_served(each_parser: Server, hosts: bytes) -> None:
    """A name that somebody pointed here by DNS is refused, and so are two names and none."""
    token = f"Authorization: Bearer {each_parser.token}\r\n".encode()
    answer = each_parser.raw(b"GET /info HTTP/1.1\r\nConnection: close\r\n" + hosts + token + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"problem+json" in answer


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1", "[::1]:8000"])
def test_loopback_names_are_served(server: Server, host: str) -> None:
    """With any port: a proxy or a tunnel may have another one."""
    assert server.call("GET", "/info", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "Cross-Site"},
        {"Origin": "http://localhost:1"},
    ],
)
def test_pages_of_other_origins_are_refused(server: Server, headers: dict[str, str]) -> None:
    """403 on every method, and no CORS header."""
    for method, path in (
        ("GET", "/threads"),
        ("POST", "/chat"),
        ("DELETE", "/threads/t"),
        ("OPTIONS", "/chat"),
    ):
        answer = server.call(method, path, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:chatcli:forbidden-origin")
        assert "access-control-allow-origin" not in answer.headers


def test_the_servers_own_page_is_no_other_origin(server: Server) -> None:
    """Its Origin is the host itself."""
    assert server.call("GET", "/info", headers={"Origin": server.url}).status_code == 200


def test_an_allowed_origin_is_let_in(each_parser: Server) -> None:
    """Preflight and answer have the CORS headers; the token is wanted all the same."""
    origin = {"Origin": "https://friend.example", "Sec-Fetch-Site": "cross-site"}
    ask = {**origin, "Access-Control-Request-Method": "POST"}
    preflight = each_parser.call("OPTIONS", "/chat", owner=None, headers=ask)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://friend.example"
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    answer = each_parser.call("GET", "/info", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "https://friend.example"
    assert answer.headers["vary"] == "Origin"
    refused = each_parser.call("GET", "/info", owner=None, headers=origin)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://friend.example"


def test_forwarded_addresses_are_not_believed(tmp_path: Path) -> None:
    """Whoever claims to be many is still one; behind a trusted proxy each is counted for itself."""

    def ask(server: Server, address: str) -> int:
        with server.client(None) as client:
            return client.get("/threads", headers={"X-Forwarded-For": address}).status_code

    memory = ("--store", "memory://", "-m", "offline")
    with serving(tmp_path, *memory, CHATCLI_API_TOKENS_FILE="", CHATCLI_CLIENT_RATE="3/day") as server:
        assert [ask(server, f"10.0.0.{n}") for n in range(5)] == [200, 200, 200, 429, 429]
    (tmp_path / "serve.log").unlink()
    with serving(
        tmp_path,
        *memory,
        "--trusted-proxy",
        "127.0.0.1",
        CHATCLI_API_TOKENS_FILE="",
        CHATCLI_CLIENT_RATE="3/day",
    ) as server:
        assert [ask(server, f"10.0.0.{n}") for n in range(5)] == [200] * 5


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "chat.example.com"])
def test_nobody_is_served_in_public_without_a_token(tmp_path: Path, host: str) -> None:
    """The server refuses to start, and says what to do."""
    done = Chatcli.at(tmp_path)("serve", "--host", host, "-m", "offline")
    assert done.returncode == 78
    assert b"CHATCLI_API_TOKEN" in done.stderr


def test_wrong_settings_refuse_to_start(tmp_path: Path) -> None:
    """No model, a store that can't be shared, a port that is taken: 78 and a hint, no traceback."""
    program = Chatcli.at(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, said in (
            (["--port", "0"], b"OPENAI_API_KEY"),
            (["--port", port, "-m", "offline"], b"can't listen"),
            (["--workers", "2", "--store", "memory://", "-m", "offline"], b"share"),
        ):
            done = program("serve", *words)
            assert done.returncode == 78, done.stderr
            assert said in done.stderr
            assert b"Traceback" not in done.stderr


def test_a_provider_that_is_away_does_not_keep_the_server_from_starting(tmp_path: Path) -> None:
    """It is warned of; it may come back."""
    provider = FakeProvider(9)
    with serving(tmp_path, provider=provider) as server:
        assert any(
            "openai" in record["event"] and record["level"] == "warning" for record in server.records()
        )
        assert server.call("GET", "/readyz", owner=None).status_code == 200
