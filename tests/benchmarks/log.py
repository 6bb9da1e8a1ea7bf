"""What a warm turn costs on SQLite: CPU on a long thread and beside no checkpointer, and bytes on the disk.

    uv run --group bench python -m tests.benchmarks.log [--rounds 100]

All run in one process and take turns; CPU is that of the process, the median of the rounds. No checkpointer
means a graph that hands on the same answer in the same pieces after ten turns of messages, and keeps
nothing. Bytes are those of the file with the text, beside a table with a row for the prompt and a row for
the answer and nothing else.
"""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph

from chatcli.config import load_settings
from chatcli.models import LOCAL_OWNER, ModelOptions
from chatcli.service.graph import TurnGraph
from tests.benchmarks.growth import TEXT, Files, FixedProvider, chat, seed
from tests.benchmarks.server import Row

SHORT, LONG, LONGEST = 10, 3000, 10_000
WRITTEN = 500
"""Turns over which bytes are counted."""


async def cpu_ms(step: Callable[[], Awaitable[object]]) -> float:
    """Return the milliseconds of CPU of one step."""
    start = time.process_time_ns()
    await step()
    return (time.process_time_ns() - start) / 1e6


def bare_graph() -> Any:
    """Return a graph without a checkpointer whose node streams the answer."""

    async def model(state: MessagesState) -> dict[str, list[BaseMessage]]:
        del state
        write, pieces = get_stream_writer(), []
        async for deltas in FixedProvider().stream((), ModelOptions()):
            for delta in deltas:
                pieces.append(delta.text)
                write(delta.text)
        return {"messages": [AIMessage("".join(pieces))]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    return graph.compile()


def raw_bytes(path: Path) -> float:
    """Return the bytes of a turn in a table that has nothing but texts."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE messages (thread TEXT, turn INTEGER, role TEXT, content TEXT)")
        before = path.stat().st_size
        for turn in range(WRITTEN):
            for role in ("human", "ai"):
                connection.execute("INSERT INTO messages VALUES ('growth', ?, ?, ?)", (turn, role, TEXT))
            connection.commit()
    return (path.stat().st_size - before) / WRITTEN


async def compare(folder: Path, rounds: int) -> list[Row]:
    """Run turns of all kinds, print what they took, and return the rows."""
    settings = load_settings(environ={"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)})
    places = {size: Files(folder) for size in (SHORT, LONG, LONGEST)}
    stores = {size: place.store() for size, place in places.items()}
    graphs = {size: TurnGraph(store, LOCAL_OWNER) for size, store in stores.items()}
    bare = bare_graph()
    past: list[BaseMessage] = [kind(TEXT) for _ in range(SHORT) for kind in (HumanMessage, AIMessage)]

    async def keep_nothing() -> None:
        async for _ in bare.astream({"messages": [*past, HumanMessage(TEXT)]}, stream_mode="custom"):
            pass

    steps: dict[str, Callable[[], Awaitable[object]]] = {
        **{str(size): partial(chat, stores[size], graphs[size], settings) for size in stores},
        "bare": keep_nothing,
    }
    for size, store in stores.items():
        await seed(store, size)
    found = [{name: await cpu_ms(step) for name, step in steps.items()} for _ in range(rounds + 5)][5:]
    before = places[LONG].size()
    for _ in range(WRITTEN):
        await steps[str(LONG)]()
    own = (places[LONG].size() - before) / WRITTEN
    raw = raw_bytes(folder / "raw.db")
    for store in stores.values():
        await store.aclose()
    medians = {name: statistics.median(one[name] for one in found) for name in steps}
    print(f"\na warm turn: {medians[str(SHORT)]:.2f} ms of CPU on a thread of {SHORT} turns,")
    for size in (LONG, LONGEST):
        print(f"{medians[str(size)]:.2f} on one of {size},")
    print(f"{medians['bare']:.2f} with no checkpointer;")
    print(f"bytes {own:.0f}, those of its texts alone {raw:.0f}")
    return [
        *(
            Row(
                f"CPU of a turn on a thread of {size} turns / of {SHORT}",
                medians[str(size)] / medians[str(SHORT)],
                "<= 1.1",
            )
            for size in (LONG, LONGEST)
        ),
        Row(
            "CPU of a turn / LangGraph without a checkpointer",
            medians[str(SHORT)] / medians["bare"],
            "<= 3",
        ),
        Row("bytes of a turn on the disk / two rows of text", own / raw, "<= 1.3"),
    ]


def measure(rounds: int = 100) -> list[Row]:
    """Measure in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(compare(Path(folder), rounds))


def main() -> None:
    """Print the figures, and the rows that have targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    print("", *measure(parser.parse_args().rounds), sep="\n")


if __name__ == "__main__":
    main()
