"""The limit on calls of models that several servers share in Redis: never the reason why a turn fails."""

import os
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from chatcli.config import load_settings
from chatcli.errors import ConfigError, RateLimited
from chatcli.providers import shared
from chatcli.providers.limiter import FILE_NAME, Limiter
from chatcli.providers.shared import KEY
from tests.redis import RedisServer, running

CALLS = 3


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that runs answers, however busy the machine is; the tests of a mute one shorten the wait."""
    monkeypatch.setattr(shared, "SECONDS", 30.0)


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """An empty Redis; its socket's path has to be short."""
    with tempfile.TemporaryDirectory(prefix="redis", dir="/tmp") as folder, running(Path(folder)) as server:
        yield server


class Machines:
    """Limiters of machines of their own: each has a data directory that no other one sees."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def make(self, name: str, url: str, *, period: float = 600) -> Limiter:
        """Return the limiter of another machine."""
        settings = load_settings(
            environ={
                "HOME": str(self._folder),
                "XDG_DATA_HOME": str(self._folder / name),
                "CHATCLI_REDIS_URL": url,
                "RATE_LIMIT_CALLS": str(CALLS),
                "RATE_LIMIT_PERIOD": str(period),
            }
        )
        limiter = Limiter(settings)
        self._stack.push_async_callback(limiter.aclose)
        return limiter

    def counted_alone(self, name: str) -> bool:
        """Whether a machine has counted calls for itself."""
        return (self._folder / name / "chatcli" / FILE_NAME).exists()


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[Machines]:
    """Machines that share nothing but Redis."""
    async with AsyncExitStack() as stack:
        yield Machines(tmp_path, stack)


async def count(*limiters: Limiter, tries: int = 2 * CALLS) -> int:
    """Return how many calls of limiters in turn are allowed at once."""
    allowed = 0
    for number in range(tries):
        try:
            await limiters[number % len(limiters)].wait(at_most=0)
        except RateLimited:
            continue
        allowed += 1
    return allowed


async def test_machines_share_the_limit(redis_server: RedisServer, machines: Machines) -> None:
    """What one has used up, the other one has not; neither counts for itself besides."""
    one, two = (machines.make(name, redis_server.url) for name in ("one", "two"))
    assert await count(one, two) == CALLS
    assert not machines.counted_alone("one")
    assert not machines.counted_alone("two")
    with pytest.raises(RateLimited) as refusal:
        await one.wait(at_most=1)
    assert 0 < (refusal.value.retry_after or 0) <= 600


async def test_there_is_room_again(redis_server: RedisServer, machines: Machines) -> None:
    """A call over the limit waits until the period of an earlier one is over, and Redis keeps no more."""
    limiter = machines.make("one", redis_server.url, period=0.3)
    for _ in range(2 * CALLS):
        await limiter.wait(at_most=30)
    assert redis_server.call("ZCARD", KEY) == CALLS
    assert 0 < int(str(redis_server.call("PTTL", KEY))) <= 300


async def test_times_to_come_stop_nobody(redis_server: RedisServer, machines: Machines) -> None:
    """A clock that was set back leaves times to come: they do not count."""
    for number in range(CALLS):
        redis_server.call("ZADD", KEY, int((time.time() + 10**6) * 10**6), f"later{number}")
    assert await count(machines.make("one", redis_server.url)) == CALLS


@pytest.mark.parametrize(
    ("fault", "allowed", "alone"),
    [
        ("dead", CALLS, True),
        ("hanging", CALLS, True),
        ("garbage", CALLS, True),
        ("flushed", CALLS, False),
        ("full", CALLS - 1, False),  # a script that makes room first may write
    ],
)
async def test_whatever_redis_has_calls_go_on(
    redis_server: RedisServer,
    machines: Machines,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    allowed: int,
    *,
    alone: bool,
) -> None:
    """Dead, hanging, or with something else in the place: the machine counts for itself then."""
    limiter = machines.make("one", redis_server.url)
    assert await count(limiter, tries=1) == 1
    process = redis_server.process
    assert process is not None
    match fault:
        case "dead":
            redis_server.stop()
        case "hanging":
            os.kill(process.pid, signal.SIGSTOP)
            monkeypatch.setattr(shared, "SECONDS", 0.1)
        case "garbage":
            redis_server.call("SET", KEY, "garbage")
        case "full":
            redis_server.call("CONFIG", "SET", "maxmemory", "1")
        case "flushed":
            redis_server.call("FLUSHALL")
    assert await count(limiter) == allowed
    assert machines.counted_alone("one") == alone


async def test_a_redis_that_hangs_is_not_asked_each_time(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one attempt it is left alone for a while: of two calls, one connects."""
    monkeypatch.setattr(shared, "SECONDS", 0.1)
    with (
        tempfile.TemporaryDirectory(prefix="redis", dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX) as mute,
    ):
        mute.bind(f"{folder}/s")
        mute.listen()
        limiter = machines.make("one", f"unix://{folder}/s")
        assert await count(limiter, tries=CALLS) == CALLS
        mute.settimeout(5)
        mute.accept()[0].close()
        mute.setblocking(False)
        with pytest.raises(BlockingIOError):
            mute.accept()


async def test_it_is_asked_again_later(
    redis_server: RedisServer, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that comes back is used again."""
    monkeypatch.setattr(shared, "PAUSE", 0.0)
    limiter = machines.make("one", redis_server.url)
    redis_server.stop()
    assert await count(limiter, tries=1) == 1
    redis_server.start()
    assert await count(limiter) == CALLS
    assert redis_server.call("ZCARD", KEY) == CALLS


async def test_a_url_that_is_none_is_named(machines: Machines) -> None:
    """The setting is named, and its value, which may hold a password, is not."""
    limiter = machines.make("one", "redis://:canary@host:port/0")
    with pytest.raises(ConfigError, match="CHATCLI_REDIS_URL") as refusal:
        await limiter.wait(at_most=1)
    assert "canary" not in str(refusal.value)
    assert refusal.value.__context__ is None
