"""The stores that the contract is checked on. A new one joins by one line in `KINDS`."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from chatcli.stores import open_store
from chatcli.stores.base import ThreadStore
from tests.stores.keys import KEY, protected
from tests.stores.rival import Rival, rival_of

OpenStore: TypeAlias = Callable[[], ThreadStore]
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
    always: bool = True
    """False for a mixture of two kinds that are both tested anyway: with ``--every-store`` only."""

    def open(self, url: str) -> ThreadStore:
        """Return a store object on the place at `url`."""
        store = open_store(url, threaded=self.threaded)
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
    return KINDS[request.param]


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
