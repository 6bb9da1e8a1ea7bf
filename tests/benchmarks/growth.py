"""What a turn costs as a thread grows: CPU, and bytes on disk, beside AsyncSqliteSaver in the same run.

    uv run python -m tests.benchmarks.growth [--sizes 10,100,1000,3000] [--turns 20]

Each message has about 400 characters, a turn two of them. CPU is that of the whole process, in
milliseconds, the median over the measured turns; bytes are what one more turn adds to the files
after a checkpoint of the write-ahead log, without the text itself.
"""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph

from chatcli.config import Settings, load_settings
from chatcli.models import LOCAL_OWNER, Message, Role, TurnState, Usage, utc_now
from chatcli.providers.base import Delta, ModelOptions
from chatcli.service.turn import RunningTurn, TurnPlan
from chatcli.stores import open_store
from chatcli.stores.base import NewTurn, Outcome, ThreadStore, message_id
from chatcli.text import new_id

TEXT = ("The quick brown fox jumps over the lazy dog. " * 9)[:400]
THREAD = "growth"


class FixedProvider:
    """A model that always gives the same 400 characters, in 20 pieces."""

    spec = "fixed:400"
    engine = "offline"
    sends_finish_reason = True

    async def stream(self, messages: Sequence[Message], options: ModelOptions) -> AsyncIterator[Delta]:
        """Yield the answer."""
        del messages, options
        for start in range(0, len(TEXT), 20):
            yield Delta(TEXT[start : start + 20])
        yield Delta(finish_reason="stop", usage=Usage(100, 100))

    async def models(self) -> Sequence[str]:
        """Return the one model."""
        return ("400",)

    async def aclose(self) -> None:
        """Close nothing."""


def new_turn() -> NewTurn:
    """Return the next turn of the thread."""
    turn_id = new_id()
    prompt = (Message(message_id(turn_id, 0), Role.HUMAN, TEXT, utc_now()),)
    return NewTurn(LOCAL_OWNER, THREAD, turn_id, FixedProvider.spec, prompt, title="growth", context_limit=20)


async def seed(store: ThreadStore, turns: int) -> None:
    """Bring the thread to `turns` turns, past the graph."""
    for _ in range(turns):
        new = new_turn()
        begun = await store.begin(new)
        assert begun.lease is not None
        answer = Message(message_id(new.turn_id, 1), Role.AI, TEXT, utc_now())
        await store.commit(begun.lease, Outcome(TurnState.COMPLETE, (answer,), "stop", Usage(100, 100)))


async def chat(store: ThreadStore, settings: Settings) -> None:
    """Run one whole turn: begin, graph, commit."""
    plan = TurnPlan(
        store=store,
        settings=settings,
        owner=LOCAL_OWNER,
        provider=FixedProvider(),
        limiter=None,
        options=ModelOptions(),
        begun=await store.begin(new_turn()),
    )
    turn = RunningTurn(plan)
    turn.start()
    async for _ in turn:
        pass
    await turn.aclose()


def stock_graph(saver: Any) -> Any:
    """Return the graph that most people write."""

    async def model(state: MessagesState) -> dict[str, list[BaseMessage]]:
        del state
        return {"messages": [AIMessage(TEXT)]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    return graph.compile(checkpointer=saver)


def bytes_of(path: Path) -> int:
    """Return the size of a database after its log was written back."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return sum(file.stat().st_size for file in path.parent.glob(path.name + "*"))


async def measure(step: Callable[[], Awaitable[object]], path: Path, turns: int) -> tuple[float, float]:
    """Return milliseconds of CPU (median) and bytes that a turn adds, beyond its text."""
    await step()
    before, times = bytes_of(path), []
    for _ in range(turns):
        start = time.process_time_ns()
        await step()
        times.append((time.process_time_ns() - start) / 1e6)
    return statistics.median(times), (bytes_of(path) - before) / turns - 2 * len(TEXT)


async def measure_chatcli(folder: Path, size: int, turns: int) -> tuple[float, float]:
    """Measure chatcli's own turn on a thread of `size` turns."""
    path = folder / f"chatcli-{size}.db"
    settings = load_settings(environ={"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)})
    store = open_store(f"sqlite:///{path}", threaded=True)
    await seed(store, size)
    try:
        return await measure(lambda: chat(store, settings), path, turns)
    finally:
        await store.aclose()


async def measure_stock(folder: Path, size: int, turns: int, durability: str) -> tuple[float, float]:
    """Measure the stock graph and saver on a thread of `size` turns."""
    path = folder / f"stock-{durability}-{size}.db"
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        graph = stock_graph(saver)
        config = {"configurable": {"thread_id": THREAD}}
        messages = [message for _ in range(size) for message in (HumanMessage(TEXT), AIMessage(TEXT))]
        await graph.aupdate_state(config, {"messages": messages}, as_node="model")
        prompt = {"messages": [HumanMessage(TEXT)]}
        return await measure(lambda: graph.ainvoke(prompt, config, durability=durability), path, turns)


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10,100,1000,3000")
    parser.add_argument("--turns", type=int, default=20)
    arguments = parser.parse_args()
    print(
        f"{'turns':>6} {'chatcli':>18} {'stock exit':>18} {'stock async':>18}    (ms CPU, bytes beyond text)"
    )
    for size in map(int, arguments.sizes.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows = [
                await measure_chatcli(folder, size, arguments.turns),
                await measure_stock(folder, size, arguments.turns, "exit"),
                await measure_stock(folder, size, arguments.turns, "async"),
            ]
        print(f"{size:>6} " + " ".join(f"{cpu:>7.1f} {extra:>10,.0f}" for cpu, extra in rows))


if __name__ == "__main__":
    asyncio.run(main())
