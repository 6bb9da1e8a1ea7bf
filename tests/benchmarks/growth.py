"""What a turn costs as a thread grows: CPU, bytes, round trips, beside what others use, in the same run.

    uv run python -m tests.benchmarks.growth [--store sqlite|postgres|s3] [--sizes 10,100,1000,3000]

Beside SQLite and PostgreSQL that is LangGraph's own saver, beside S3 (moto's server) a program that reads
and writes the whole object in each turn. Each message has about 400 characters, a turn two of them. CPU is
that of the whole process, and with ``--store postgres`` that of the server's processes, in milliseconds,
the median over the measured turns. Bytes are what one more turn adds to the database, without the text
itself: to the files after a checkpoint of the write-ahead log, to the server's tables before it vacuums
them, or to the object. Round trips and bytes on the wire, both ways, are those of warm turns.
"""

import argparse
import asyncio
import json
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
from chatcli.models import LOCAL_OWNER, Message, ModelOptions, Role, TurnState, Usage, utc_now
from chatcli.providers.base import Delta
from chatcli.service.graph import TurnGraph
from chatcli.service.turn import RunningTurn, TurnPlan
from chatcli.stores import open_store
from chatcli.stores.base import NewTurn, Outcome, ThreadStore, message_id
from chatcli.text import new_id
from tests.benchmarks.meter import Meter, metered
from tests.stores import postgres, s3

TEXT = ("The quick brown fox jumps over the lazy dog. " * 9)[:400]
THREAD = "growth"
OBJECT = f"chat_histories/{THREAD}.json"


class FixedProvider:
    """A model that always gives the same 400 characters, in 20 pieces."""

    spec = "fixed:400"
    engine = "offline"
    sends_finish_reason = True

    async def stream(
        self, messages: Sequence[Message], options: ModelOptions
    ) -> AsyncIterator[Sequence[Delta]]:
        """Yield the answer."""
        del messages, options
        for start in range(0, len(TEXT), 20):
            yield [Delta(TEXT[start : start + 20])]
        yield [Delta(finish_reason="stop", usage=Usage(100, 100))]

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


async def chat(store: ThreadStore, graph: TurnGraph, settings: Settings) -> None:
    """Run one whole turn: begin, graph, commit."""
    plan = TurnPlan(
        store=store,
        settings=settings,
        graph=graph,
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

    meter = Meter()
    """Of no connection: there is none."""

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

    def __init__(self, server: postgres.Server, meter: Meter, folder: Path) -> None:
        self.meter = meter
        self._folder = folder
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
        return f"postgresql://postgres@/{self._name}?host={self._folder}"


class Bucket:
    """S3: a bucket of one server for each measurement."""

    def __init__(self, server: s3.Server, meter: Meter, port: int) -> None:
        self.meter = meter
        self._server = server
        self._endpoint = f"http://127.0.0.1:{port}"
        self._url = server.url().partition("?")[0]

    def store(self) -> ThreadStore:
        """Return chatcli's store."""
        return open_store(f"{self._url}?endpoint_url={self._endpoint}")

    @asynccontextmanager
    async def saver(self) -> AsyncIterator[Any]:
        """Return a client with the arguments that name the object."""
        import aioboto3  # type: ignore[import-untyped]

        bucket = self._url.split("/")[2]
        async with aioboto3.Session().client("s3", endpoint_url=self._endpoint) as client:
            yield client, {"Bucket": bucket, "Key": f"chats/{OBJECT}"}

    def size(self) -> int:
        """Return the size of the object."""
        return len(self._server.read(self._url, OBJECT) or b"")

    def server_times(self) -> dict[int, float]:
        """Return nothing: moto's server is no measure of anything."""
        return {}


Place: TypeAlias = Files | Server | Bucket


@dataclass(frozen=True)
class Cost:
    """What one turn costs."""

    own: float
    server: float
    extra: float
    trips: float
    wire: float

    def __str__(self) -> str:
        cpu = f"{self.own:.1f}" + (f"+{self.server:.1f}" if self.server else "")
        return f"{cpu:>11} {self.extra:>10,.0f} {self.trips:>5.1f} {self.wire:>10,.0f}"


async def measure(step: Callable[[], Awaitable[object]], place: Place, turns: int) -> Cost:
    """Run turns, and return the milliseconds of CPU and the bytes beyond its text of one."""
    await step()
    before, earlier, times = place.size(), place.server_times(), []
    place.meter.reset()
    for _ in range(turns):
        start = time.process_time() - place.meter.seconds
        await step()
        times.append((time.process_time() - place.meter.seconds - start) * 1e3)
    trips, wire = place.meter.trips, place.meter.total
    later = place.server_times()
    served = sum(later[pid] - earlier[pid] for pid in later.keys() & earlier.keys()) / turns * 1e3
    extra = (place.size() - before) / turns - 2 * len(TEXT)
    return Cost(statistics.median(times), served, extra, trips / turns, wire / turns)


async def measure_chatcli(place: Place, folder: Path, size: int, turns: int) -> Cost:
    """Measure chatcli's own turn on a thread of `size` turns."""
    settings = load_settings(environ={"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)})
    store = place.store()
    await seed(store, size)
    try:
        graph = TurnGraph(store, LOCAL_OWNER)
        return await measure(lambda: chat(store, graph, settings), place, turns)
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


async def measure_rewriting(place: Place, size: int, turns: int) -> Cost:
    """Measure the stock graph on an object that is read and written as a whole."""
    classes: dict[str, type[BaseMessage]] = {"human": HumanMessage, "ai": AIMessage}
    graph = stock_graph(None)
    async with place.saver() as (client, names):

        async def write(messages: Sequence[BaseMessage]) -> None:
            told = [
                {
                    "_type": type(message).__name__,
                    "content": message.content,
                    "additional_kwargs": message.additional_kwargs,
                    "type": message.type,
                }
                for message in messages
            ]
            state = {"state": {"messages": told}, "metadata": {}, "new_versions": {"messages": len(told)}}
            await client.put_object(**names, Body=json.dumps(state).encode())

        async def turn() -> None:
            answer = await client.get_object(**names)
            told = json.loads(await answer["Body"].read())["state"]["messages"]
            messages = [classes[one["type"]](one["content"]) for one in told]
            state = await graph.ainvoke({"messages": [*messages, HumanMessage(TEXT)]})
            await write(state["messages"])

        await write([message for _ in range(size) for message in (HumanMessage(TEXT), AIMessage(TEXT))])
        return await measure(turn, place, turns)


async def run(
    store: str, sizes: list[int], turns: int, folder: Path, make_place: Callable[[], Place]
) -> None:
    """Print the table."""
    heads = ("chatcli", "whole object") if store == "s3" else ("chatcli", "stock exit", "stock async")
    print(f"{'turns':>6} " + " ".join(f"{head:>39}" for head in heads))
    print(
        f"{'':>6} " + " ".join(f"{'ms CPU':>11} {'more bytes':>10} trips {'wire bytes':>10}" for _ in heads)
    )
    for size in sizes:
        costs = [await measure_chatcli(make_place(), folder, size, turns)]
        if store == "s3":
            costs.append(await measure_rewriting(make_place(), size, turns))
        else:
            costs.append(await measure_stock(make_place(), size, turns, "exit"))
            costs.append(await measure_stock(make_place(), size, turns, "async"))
        print(f"{size:>6} " + " ".join(map(str, costs)), flush=True)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=("sqlite", "postgres", "s3"), default="sqlite")
    parser.add_argument("--sizes", default="10,100,1000,3000")
    parser.add_argument("--turns", type=int, default=20)
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        make_place: Callable[[], Place] = partial(Files, folder)
        if arguments.store == "postgres":
            server = stack.enter_context(postgres.running())
            meter, _ = stack.enter_context(metered(server.socket, folder / server.socket.name))
            make_place = partial(Server, server, meter, folder)
        elif arguments.store == "s3":
            bucket_server = stack.enter_context(s3.running())
            meter, port = stack.enter_context(metered(bucket_server.endpoint.port))
            make_place = partial(Bucket, bucket_server, meter, port)
        asyncio.run(run(arguments.store, sizes, arguments.turns, folder, make_place))


if __name__ == "__main__":
    main()
