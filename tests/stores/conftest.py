"""The stores that the contract is checked on. A new one joins by one line in `KINDS`."""

import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import pytest

from chatcli.config import load_settings
from chatcli.stores import open_store
from chatcli.stores.base import ThreadStore
from chatcli.stores.encrypted import protect
from tests.redis import RedisServer, running
from tests.stores.keys import KEY, protected
from tests.stores.rival import Rival, rival_of

OpenStore: TypeAlias = Callable[[], ThreadStore]
OpenMachine: TypeAlias = Callable[..., ThreadStore]
OpenRival: TypeAlias = Callable[[], Rival]


@dataclass(frozen=True)
class Kind:
    """A kind of store: its URL, under a test's own folder or on a server, and who else reaches it.

    `server` names the fixture of a server of which each test has a place of its own.
    """

    url: Callable[[Path], str] = str
    server: str | None = None
    threaded: bool = True
    shared: bool = True
    keys: tuple[str, ...] | None = None
    """Keys of the store around the store; None for no such store, () for one without keys."""
    has_redis: bool = False
    """Whether there are copies in Redis."""
    redis_url: str | None = None
    always: bool = True
    """False for a mixture of two kinds that are both tested anyway: with ``--every-store`` only."""

    def open(self, url: str) -> ThreadStore:
        """Return a store object on the place at `url`."""
        settings = None
        if self.redis_url is not None:
            settings = load_settings(environ={"HOME": "/nonexistent", "CHATCLI_REDIS_URL": self.redis_url})
        store = open_store(url, threaded=self.threaded, settings=settings)
        return store if self.keys is None else protected(store, *self.keys)


KINDS = {
    "memory": Kind(lambda _: "memory://", shared=False),
    "sqlite": Kind(lambda folder: f"sqlite:///{folder}/data/chatcli.db"),
    "sqlite-inline": Kind(lambda folder: f"sqlite:///{folder}/data/chatcli.db", threaded=False),
    "postgres": Kind(server="postgres_server"),
    "s3": Kind(server="s3_server"),
    "memory+encryption": Kind(lambda _: "memory://", shared=False, keys=(KEY,)),
    "memory+no-key": Kind(lambda _: "memory://", shared=False, keys=(), always=False),
    "sqlite+encryption": Kind(lambda folder: f"sqlite:///{folder}/data/chatcli.db", keys=(KEY,)),
    "postgres+encryption": Kind(server="postgres_server", keys=(KEY,), always=False),
    "s3+encryption": Kind(server="s3_server", keys=(KEY,), always=False),
    "postgres+redis": Kind(server="postgres_server", has_redis=True, always=False),
    "s3+redis": Kind(server="s3_server", has_redis=True, always=False),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on all stores, or on those that processes can share, or that protect no other one."""
    if "kind" in metafunc.fixturenames:
        shared = "url" in metafunc.fixturenames
        plain = "plain_store" in metafunc.fixturenames
        names = [
            name
            for name, kind in KINDS.items()
            if (kind.shared or not shared)
            and (kind.keys is None or not plain)
            and (kind.always or metafunc.config.getoption("--every-store"))
        ]
        metafunc.parametrize("kind", names, indirect=True)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Kind:
    """The kind of store under test."""
    found = KINDS[request.param]
    if found.has_redis:
        return replace(found, redis_url=request.getfixturevalue("redis_server").url)
    return found


@pytest.fixture
def place(kind: Kind, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of `store`."""
    if kind.server is None:
        return kind.url(tmp_path)
    url: str = request.getfixturevalue(kind.server).url()
    return url


@pytest.fixture
async def store(kind: Kind, place: str) -> AsyncIterator[ThreadStore]:
    """An empty store."""
    store = kind.open(place)
    yield store
    await store.aclose()


@pytest.fixture
def plain_store(store: ThreadStore) -> ThreadStore:
    """An empty store that is not protected: tests put it into another one themselves."""
    return store


@pytest.fixture
def url(place: str) -> str:
    """The URL of `store`; asking for it keeps a test to the stores that can be shared."""
    return place


@pytest.fixture
async def open_again(kind: Kind, url: str) -> AsyncIterator[OpenStore]:
    """Opens one more store object on the same place, in this process."""
    opened: list[ThreadStore] = []

    def open_one() -> ThreadStore:
        opened.append(kind.open(url))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.aclose()


@pytest.fixture
def open_rival(kind: Kind, url: str) -> Iterator[OpenRival]:
    """Runs one more process on the same place."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(rival_of(url, *(kind.keys or ())))


@pytest.fixture(scope="session")
def one_redis() -> Iterator[RedisServer]:
    """One Redis for all; its socket's path has to be short."""
    with tempfile.TemporaryDirectory(prefix="redis", dir="/tmp") as folder, running(Path(folder)) as server:
        yield server


@pytest.fixture
def redis_server(one_redis: RedisServer) -> Iterator[RedisServer]:
    """The Redis, empty, and running when the test is over."""
    one_redis.call("FLUSHALL")
    yield one_redis
    process = one_redis.process
    if process is not None and process.poll() is None:
        os.kill(process.pid, signal.SIGCONT)
        one_redis.call("CONFIG", "SET", "maxmemory", "0")
    else:
        one_redis.start()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that runs answers, however busy the machine is; the tests of a mute one shorten the wait."""
    monkeypatch.setattr("chatcli.stores.entries.SECONDS", 30.0)


FAULTS = ("dead", "hanging", "garbage", "full", "flushed")


@pytest.fixture
def harm_redis(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets the Redis have one of `FAULTS`."""

    def harm(fault: str) -> None:
        process = redis_server.process
        assert process is not None
        match fault:
            case "dead":
                redis_server.stop()
            case "hanging":
                os.kill(process.pid, signal.SIGSTOP)
                monkeypatch.setattr("chatcli.stores.entries.SECONDS", 0.1)
            case "garbage":
                for name in redis_server.names():
                    redis_server.call("DEL", name)
                    redis_server.call("RPUSH", name, "garbage")
            case "full":
                redis_server.call("CONFIG", "SET", "maxmemory", "1")
            case "flushed":
                redis_server.call("FLUSHALL")

    return harm


@pytest.fixture
async def machine(redis_server: RedisServer, url: str) -> AsyncIterator[OpenMachine]:
    """Opens the store of another machine, on the same place and the same Redis unless told otherwise."""
    async with AsyncExitStack() as stack:

        def open_one(at: str = "", *, redis: str = "", key: str = "") -> ThreadStore:
            settings = load_settings(
                environ={
                    "HOME": "/nonexistent",
                    "CHATCLI_REDIS_URL": redis or redis_server.url,
                    "CHATCLI_ENCRYPTION_KEY": key,
                }
            )
            store = protect(open_store(at or url, settings=settings), settings.encryption_key)
            stack.push_async_callback(store.aclose)
            return store

        yield open_one
