"""The stores that checkpoints are tested on."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatcli.stores import open_store
from chatcli.stores.base import ThreadStore
from tests.checkpoint.factories import StoreFactory

SERVERS = {"postgres", "s3"}


@pytest.fixture(params=["memory", "sqlite-inline", "sqlite-threaded", "postgres", "s3"])
def store_factory(request: pytest.FixtureRequest, tmp_path: Path) -> StoreFactory:
    """A maker of empty stores, once for each kind."""
    kind, _, runner = request.param.partition("-")
    numbers = itertools.count()

    def make() -> ThreadStore:
        if kind in SERVERS:
            return open_store(request.getfixturevalue(f"{kind}_server").url())
        url = "memory://" if kind == "memory" else f"sqlite:///{tmp_path}/{next(numbers)}.db"
        return open_store(url, threaded=runner == "threaded")

    waits = kind in SERVERS or runner == "threaded"
    return StoreFactory(request.param, make, waits=waits, folder=tmp_path)


@pytest.fixture
async def store(store_factory: StoreFactory) -> AsyncIterator[ThreadStore]:
    """An empty store."""
    store = store_factory.make()
    yield store
    await store.aclose()
