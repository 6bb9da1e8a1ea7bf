"""The stores that checkpoints are tested on."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatcli.stores import open_store
from chatcli.stores.base import ThreadStore
from tests.checkpoint.factories import StoreFactory
from tests.stores.keys import KEY, protected

SERVERS = {"postgres", "s3"}


@pytest.fixture(params=["memory", "sqlite-inline", "sqlite-threaded", "postgres", "s3", "sqlite-encrypted"])
def store_factory(request: pytest.FixtureRequest, tmp_path: Path) -> StoreFactory:
    """A maker of empty stores, once for each kind."""
    kind, _, runner = request.param.partition("-")
    numbers = itertools.count()

    def make() -> ThreadStore:
        if kind in SERVERS:
            return open_store(request.getfixturevalue(f"{kind}_server").url())
        url = "memory://" if kind == "memory" else f"sqlite:///{tmp_path}/{next(numbers)}.db"
        store = open_store(url, threaded=runner == "threaded")
        return protected(store, KEY) if runner == "encrypted" else store

    waits = kind in SERVERS or runner == "threaded"
    return StoreFactory(request.param, make, waits=waits, folder=tmp_path)


@pytest.fixture
async def store(store_factory: StoreFactory) -> AsyncIterator[ThreadStore]:
    """An empty store."""
    store = store_factory.make()
    yield store
    await store.aclose()
