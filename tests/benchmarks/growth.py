"""What a turn costs as a thread grows: CPU, and bytes on disk, beside LangGraph's own saver in the same run.

    uv run python -m tests.benchmarks.growth [--store sqlite] [--sizes 10,100,1000,3000] [--turns 20]

Each message has about 400 characters, a turn two of them. CPU is that of the whole process, and with
``--store postgres`` that of the server's processes, in milliseconds, the median over the measured
turns; bytes are what one more turn adds to the database, without the text itself: to the files after
a checkpoint of the write-ahead log, or to the server's tables before it vacuums them.
"""

import argparse
import asyncio
import secrets
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import psutil  # type: ignore[import-untyped]
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph

from chatcli.config import Settings, load_settings
from chatcli.models import LOCAL_OWNER, Message, Role, TurnState, Usage, utc_now
from chatcli.providers.base import Delta, ModelOptions
from chatcli.service.graph import TurnGraph
from chatcli.service.turn import RunningTurn, TurnPlan
from chatcli.stores import open_store
from chatcli.stores.base import NewTurn, Outcome, ThreadStore, message_id
from chatcli.text import new_id
from tests.stores import postgres

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
        graph=TurnGraph(store, LOCAL_OWNER),
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


class Files:
    """SQLite: a file for each measurement."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{new_id()}.db"

    def store(self) -> ThreadStore:
        """Return chatcli's store."""
        return open_store(f"sqlite:///{self._path}", threaded=True)

    def saver(self) -> AbstractAsyncContextManager[Any]:
        """Return LangGraph's saver."""
        return AsyncSqliteSaver.from_conn_string(str(self._path))

    def size(self) -> int:
        """Return the size of the database after its log was written back."""
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return sum(file.stat().st_size for file in self._path.parent.glob(self._path.name + "*"))

    def server_times(self) -> dict[int, float]:
        """Return the seconds of CPU of the server's processes: there are none."""
        return {}


class Server:
    """PostgreSQL: a database of one server for each measurement."""

    def __init__(self, server: postgres.Server) -> None:
        self._server = server
        self._name = f"b_{secrets.token_hex(6)}"
        server.execute("CREATE DATABASE {name}", name=self._name)

    def store(self) -> ThreadStore:
        """Return chatcli's store."""
        return open_store(self._url().replace("?", "?schema=chatcli&", 1))

    @asynccontextmanager
    async def saver(self) -> AsyncIterator[Any]:
        """Return LangGraph's saver."""
        async with AsyncPostgresSaver.from_conn_string(self._url()) as saver:
            await saver.setup()
            yield saver

    def size(self) -> int:
        """Return the size of the database."""
        ((size,),) = self._server.execute("SELECT pg_database_size('{name}')", name=self._name)
        return int(size)

    def server_times(self) -> dict[int, float]:
        """Return the seconds of CPU of the server's processes, by their numbers."""
        times = {}
        for process in self._server.handle.get_postmaster_info().process.children():
            with suppress(psutil.NoSuchProcess):
                times[process.pid] = float(sum(process.cpu_times()[:2]))
        return times

    def _url(self) -> str:
        return f"postgresql://postgres@/{self._name}?host={self._server.folder}"


Place: TypeAlias = Files | Server


@dataclass(frozen=True)
class Cost:
    """What one turn costs."""

    own: float
    server: float
    extra: float

    def __str__(self) -> str:
        cpu = f"{self.own:.1f}" + (f"+{self.server:.1f}" if self.server else "")
        return f"{cpu:>11} {self.extra:>10,.0f}"


async def measure(step: Callable[[], Awaitable[object]], place: Place, turns: int) -> Cost:
    """Run turns, and return the milliseconds of CPU and the bytes beyond its text of one."""
    await step()
    before, earlier, times = place.size(), place.server_times(), []
    for _ in range(turns):
        start = time.process_time_ns()
        await step()
        times.append((time.process_time_ns() - start) / 1e6)
    later = place.server_times()
    served = sum(later[pid] - earlier[pid] for pid in later.keys() & earlier.keys()) / turns * 1e3
    return Cost(statistics.median(times), served, (place.size() - before) / turns - 2 * len(TEXT))


async def measure_chatcli(place: Place, folder: Path, size: int, turns: int) -> Cost:
    """Measure chatcli's own turn on a thread of `size` turns."""
    settings = load_settings(environ={"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)})
    store = place.store()
    await seed(store, size)
    try:
        return await measure(lambda: chat(store, settings), place, turns)
    finally:
        await store.aclose()


async def measure_stock(place: Place, size: int, turns: int, durability: str) -> Cost:
    """Measure the stock graph and saver on a thread of `size` turns."""
    async with place.saver() as saver:
        graph = stock_graph(saver)
        config = {"configurable": {"thread_id": THREAD}}
        messages = [message for _ in range(size) for message in (HumanMessage(TEXT), AIMessage(TEXT))]
        await graph.aupdate_state(config, {"messages": messages}, as_node="model")
        prompt = {"messages": [HumanMessage(TEXT)]}
        return await measure(lambda: graph.ainvoke(prompt, config, durability=durability), place, turns)


async def run(sizes: list[int], turns: int, folder: Path, make_place: Callable[[], Place]) -> None:
    """Print the table."""
    heads = ("chatcli", "stock exit", "stock async")
    print(f"{'turns':>6} " + " ".join(f"{head:>22}" for head in heads) + "    (ms CPU, bytes beyond text)")
    for size in sizes:
        costs = (
            await measure_chatcli(make_place(), folder, size, turns),
            await measure_stock(make_place(), size, turns, "exit"),
            await measure_stock(make_place(), size, turns, "async"),
        )
        print(f"{size:>6} " + " ".join(map(str, costs)))


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--sizes", default="10,100,1000,3000")
    parser.add_argument("--turns", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        make_place: Callable[[], Place] = partial(Files, folder)
        if arguments.store == "postgres":
            make_place = partial(Server, stack.enter_context(postgres.running()))
        asyncio.run(
            run([int(size) for size in arguments.sizes.split(",")], arguments.turns, folder, make_place)
        )


if __name__ == "__main__":
    main()
