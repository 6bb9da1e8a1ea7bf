"""How often a client may ask: counted, told, and bounded whatever the clients are."""

import re
import tempfile
from pathlib import Path

import pytest

from chatcli.server import limiter
from chatcli.server.limiter import BUCKETS, ClientLimiter
from tests.redis import running
from tests.server.peer import serving


def test_the_limit_is_told_and_kept(tmp_path: Path) -> None:
    """Each answer says what is left; over the limit it is 429 with Retry-After, for this owner alone."""
    with serving(
        tmp_path, "--store", "memory://", CHATCLI_CLIENT_RATE="4/day", CHATCLI_MODEL="offline"
    ) as server:
        left = []
        for _ in range(4):
            answer = server.call("GET", "/threads")
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"client";q=4;w=86400'
            left.append(re.fullmatch(r'"client";r=(\d+);t=(\d+)', answer.headers["ratelimit"]))
        assert [found and found[1] for found in left] == ["3", "2", "1", "0"]
        refused = server.chat("x")
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:chatcli:rate-limited")
        assert int(refused.headers["retry-after"]) > 80_000
        assert server.call("GET", "/threads", owner="bob").status_code == 200
        assert server.call("GET", "/healthz", owner=None).status_code == 200
        assert server.metric("chatcli_refusals_total", error="rate-limited") == 1


def test_guessing_tokens_is_limited(tmp_path: Path) -> None:
    """Refused requests count for their address."""
    with serving(
        tmp_path, "--store", "memory://", CHATCLI_CLIENT_RATE="3/day", CHATCLI_MODEL="offline"
    ) as server:
        statuses = [
            server.call("GET", "/info", owner=None, headers={"X-API-Key": str(n)}).status_code
            for n in range(5)
        ]
        assert statuses == [401, 401, 401, 429, 429]


async def test_a_million_addresses_take_no_more_memory_than_a_few() -> None:
    """Addresses share a fixed number of counters."""
    one = ClientLimiter("10/minute")
    for number in range(3 * BUCKETS):
        one._bucket(f"2001:db8::{number:x}")
    names = {one._bucket(f"2001:db8::{number:x}") for number in range(20 * BUCKETS)}
    assert len(names) <= BUCKETS


async def test_redis_that_is_away_is_done_without() -> None:
    """The count goes on in memory; nobody waits for a dead Redis twice."""
    pytest.importorskip("redis")
    one = ClientLimiter("2/minute", "redis://127.0.0.1:9/0")
    verdicts = [await one.check(owner="alice", address="-", count=True) for _ in range(3)]
    await one.aclose()
    assert [verdict.allowed for verdict in verdicts] == [True, True, False]


@pytest.mark.parametrize("owner", ["alice", None])
async def test_servers_with_one_redis_count_together(
    monkeypatch: pytest.MonkeyPatch, owner: str | None
) -> None:
    """Whether clients are told apart by their tokens or by their addresses; others have their own count."""
    monkeypatch.setattr(limiter, "REDIS_SECONDS", 30.0)  # it answers, however busy the machine is
    with tempfile.TemporaryDirectory(prefix="redis", dir="/tmp") as folder, running(Path(folder)) as redis:
        servers = [ClientLimiter("4/day", redis.url) for _ in range(2)]
        allowed = [
            (await server.check(owner=owner, address="192.0.2.7", count=True)).allowed
            for _ in range(3)
            for server in servers
        ]
        assert allowed == [True] * 4 + [False] * 2
        other = None if owner is None else "bob"
        assert (await servers[0].check(owner=other, address="192.0.2.8", count=True)).allowed
        for server in servers:
            await server.aclose()
