"""Several writers in one more process: ``python -m tests.stores.writers PLAN``, PLAN being JSON.

Each writes turns to a thread that all share and to some that few share, as fast as it gets them, and
each turn becomes a line on standard output: what was asked and answered when, by a clock that all
processes of the machine have in common.
"""

import asyncio
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from chatcli.errors import ThreadBusy
from chatcli.frozen import replace
from chatcli.stores import open_store
from chatcli.stores.base import ThreadStore
from tests.stores.keys import protected
from tests.stores.talk import answer, held, new_turn


@dataclass(frozen=True)
class Plan:
    """What the writers of one process do."""

    url: str
    keys: list[str]
    name: str
    writers: int
    turns: int
    """Turns of each writer."""
    threads: int
    """Threads beside the one that all share."""


@dataclass(frozen=True)
class Entry:
    """One turn in the journal of its writer; times are in nanoseconds."""

    writer: str
    thread: str
    turn: str
    index: int
    before: str
    """The last message of the context that came with begin."""
    refused: int
    """How often the thread was busy before it began."""
    asked: int
    began: int
    """When begin returned."""
    ending: int
    """When commit was called."""
    ended: int


async def write_turn(store: ThreadStore, writer: str, thread: str, number: int) -> Entry:
    """Write one turn, as soon as the thread is free."""
    asked = time.monotonic_ns()
    begun, refused = None, 0
    while begun is None:
        new = new_turn(thread, f"{writer} asks {number}")
        try:
            begun = await store.begin(replace(new, context_limit=2))
        except ThreadBusy:
            refused += 1
            await asyncio.sleep(0.003)
    began = time.monotonic_ns()
    await asyncio.sleep(0)
    ending = time.monotonic_ns()
    await store.commit(held(begun), answer(f"{writer} is told {number}", turn_id=begun.turn.id))
    before = begun.context[-1].text if begun.context else ""
    ended = time.monotonic_ns()
    return Entry(
        writer, thread, begun.turn.id, begun.turn.index, before, refused, asked, began, ending, ended
    )


async def write(store: ThreadStore, plan: Plan, writer: str) -> None:
    """Write the turns of one writer and tell of each when it is acknowledged."""
    dice = random.Random(writer)
    for number in range(plan.turns):
        thread = "all" if number % 2 == 0 else f"some-{dice.randrange(plan.threads)}"
        entry = await write_turn(store, writer, thread, number)
        print(json.dumps(asdict(entry)), flush=True)


async def main(options: dict[str, Any]) -> None:
    """Carry out a plan."""
    plan = Plan(**options)
    store = open_store(plan.url, threaded=True)
    if plan.keys:
        store = protected(store, *plan.keys)
    async with asyncio.TaskGroup() as writers:
        for number in range(plan.writers):
            writers.create_task(write(store, plan, f"{plan.name}.{number}"))
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
