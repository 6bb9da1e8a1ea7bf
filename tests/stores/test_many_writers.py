"""Writers in several processes on one thread and on many: nothing lost, doubled or out of order.

uv run pytest tests/stores/test_many_writers.py --writers 32 --turns 50 -s
"""

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from chatcli.models import LOCAL_OWNER, Turn, TurnState
from chatcli.stores.base import ThreadStore
from tests.stores.conftest import Kind
from tests.stores.talk import texts
from tests.stores.writers import Entry, Plan

PROCESSES = 2


@pytest.fixture
def writers(pytestconfig: pytest.Config) -> int:
    """How many write at once."""
    count: int = pytestconfig.getoption("--writers")
    return count


def run(plans: list[Plan]) -> list[Entry]:
    """Carry out plans, each in a process of its own, and return all that their writers have noted."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.stores.writers", json.dumps(asdict(plan))],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        for plan in plans
    ]
    journal: list[Entry] = []
    with ExitStack() as stack:
        for process in processes:
            stack.enter_context(process)
            stack.callback(process.kill)
        for process in processes:
            said, _ = process.communicate()
            assert process.returncode == 0
            journal += [Entry(**json.loads(line)) for line in said.splitlines()]
    return journal


def check(journal: list[Entry], turns: tuple[Turn, ...]) -> None:
    """Compare what the writers of one thread were told with what the store has."""
    noted = sorted(journal, key=lambda entry: entry.index)
    assert [turn.index for turn in turns] == list(range(1, len(turns) + 1))
    assert [turn.id for turn in turns] == [entry.turn for entry in noted], "lost, doubled, or out of order"
    assert {turn.state for turn in turns} == {TurnState.COMPLETE}
    for entry, (asked, told) in zip(noted, texts(turns), strict=True):
        assert (asked.split()[0], told.split()[0]) == (entry.writer, entry.writer)
        assert asked.split()[-1] == told.split()[-1]
    for earlier, later in pairwise(noted):
        assert earlier.ending < later.began, "two turns ran at once"
        assert later.before == turns[earlier.index - 1].answer, "a turn did not see the one before it"
    for _, own in groupby(sorted(journal, key=lambda entry: (entry.writer, entry.asked)), lambda e: e.writer):
        indexes = [entry.index for entry in own]
        assert indexes == sorted(indexes), "a writer's turns changed places"


@pytest.fixture
def turns(pytestconfig: pytest.Config) -> int:
    """How many turns each of them runs."""
    count: int = pytestconfig.getoption("--turns")
    return count


async def test_many_writers(store: ThreadStore, kind: Kind, url: str, writers: int, turns: int) -> None:
    """What each writer was told happened, in an order in which one turn ran at a time, and nothing else."""
    processes = max(PROCESSES, writers // 4)
    plans = [
        Plan(url, list(kind.keys or ()), f"p{number}", writers // processes, turns, max(2, writers // 2))
        for number in range(processes)
    ]
    journal = run(plans)

    assert len(journal) == processes * (writers // processes) * turns
    threads = (await store.threads(LOCAL_OWNER, limit=1000)).threads
    assert {thread.id for thread in threads} == {entry.thread for entry in journal}
    for thread in threads:
        own = [entry for entry in journal if entry.thread == thread.id]
        check(own, await store.turns(LOCAL_OWNER, thread.id))
        assert thread.turn_count == len(own)
    waits = sorted((entry.began - entry.asked) / 1e9 for entry in journal)
    print(
        f"{writers} writers: {len(journal)} turns on {len(threads)} threads kept in order, 0 lost; "
        f"found busy {sum(entry.refused for entry in journal)} times, waited {waits[len(waits) // 2]:.2f} s "
        f"in the middle, {waits[-1]:.2f} s at most"
    )
