"""LangGraph's own suite for checkpointers, all of it, over every store."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability

from chatcli.checkpoint import ThreadSaver
from tests.checkpoint.factories import StoreFactory

TESTS = {
    Capability.PUT: 17,
    Capability.PUT_WRITES: 10,
    Capability.GET_TUPLE: 10,
    Capability.LIST: 16,
    Capability.DELETE_THREAD: 5,
    Capability.DELETE_FOR_RUNS: 7,
    Capability.COPY_THREAD: 8,
    Capability.PRUNE: 8,
}


async def test_every_capability_is_there_and_passes(
    store_factory: StoreFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """All 81 tests pass, those of the optional capabilities too, and none was skipped."""

    async def savers() -> AsyncGenerator[BaseCheckpointSaver[Any], None]:
        store = store_factory.make()
        yield ThreadSaver(store)
        await store.aclose()

    report = await validate(checkpointer_test(store_factory.name)(savers))

    failures = [failure for result in report.results.values() for failure in result.failures]
    assert failures == []
    passed = {name: result.tests_passed for name, result in report.results.items() if result.passed}
    assert passed == {capability.value: count for capability, count in TESTS.items()}
    with capsys.disabled():
        print(f"\n{store_factory.name}: {sum(passed.values())} of {sum(TESTS.values())} conformance tests")
