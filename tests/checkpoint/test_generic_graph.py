"""Any LangGraph graph can be compiled with `ThreadSaver`, whatever its state is."""

import asyncio
import operator
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot, interrupt

from chatcli.checkpoint import ThreadSaver
from chatcli.checkpoint.rows import dump
from chatcli.errors import InvalidRequest, StoreCorrupt
from chatcli.stores.base import Blob, CheckpointKey, CheckpointRow, ThreadStore
from tests.checkpoint.factories import StoreFactory

THREAD: RunnableConfig = {"configurable": {"thread_id": "Generic.1"}}


class Draft(TypedDict):
    """State of the graphs here."""

    text: str
    steps: Annotated[list[str], operator.add]


def write(state: Draft) -> dict[str, Any]:
    return {"text": state["text"] + " draft", "steps": ["write"]}


def approve(state: Draft) -> dict[str, Any]:
    verdict = interrupt({"text": state["text"]})
    return {"text": f"{state['text']} {verdict}", "steps": ["approve"]}


def approval_graph(saver: ThreadSaver) -> CompiledStateGraph[Draft, None, Draft, Draft]:
    builder = StateGraph(Draft)
    builder.add_node("write", write)
    builder.add_node("approve", approve)
    builder.add_edge(START, "write")
    builder.add_edge("write", "approve")
    builder.add_edge("approve", END)
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_an_interrupted_graph_resumes_where_it_stopped(store: ThreadStore, durability: Any) -> None:
    """interrupt() stops the graph; Command(resume=…) goes on, in another graph over the same store."""
    stopped = await approval_graph(ThreadSaver(store)).ainvoke(
        {"text": "a", "steps": []}, THREAD, durability=durability
    )
    assert stopped["__interrupt__"][0].value == {"text": "a draft"}

    graph = approval_graph(ThreadSaver(store))
    assert (await graph.aget_state(THREAD)).next == ("approve",)
    done = await graph.ainvoke(Command(resume="approved"), THREAD, durability=durability)

    assert done == {"text": "a draft approved", "steps": ["write", "approve"]}
    assert (await graph.aget_state(THREAD)).next == ()


async def test_time_travel_runs_on_from_an_older_checkpoint(store: ThreadStore) -> None:
    """An older checkpoint keeps its values; two branches from it do not mix theirs."""
    graph = approval_graph(ThreadSaver(store))
    await graph.ainvoke({"text": "a", "steps": []}, THREAD)
    await graph.ainvoke(Command(resume="approved"), THREAD)
    history = [state async for state in graph.aget_state_history(THREAD)]
    before = next(state for state in history if state.next == ("approve",))

    await graph.ainvoke(None, before.config)
    again = await graph.ainvoke(Command(resume="refused"), THREAD)

    assert again["text"] == "a draft refused"
    assert (await graph.aget_state(history[0].config)).values["text"] == "a draft approved"
    assert (await graph.aget_state(before.config)).values == {"text": "a draft", "steps": ["write"]}


async def test_updates_of_the_state_branch_off(store: ThreadStore) -> None:
    """aupdate_state on the newest and on an older checkpoint gives states of their own."""
    graph = approval_graph(ThreadSaver(store))
    await graph.ainvoke({"text": "a", "steps": []}, THREAD)
    older = (await graph.aget_state(THREAD)).config

    first = await graph.aupdate_state(older, {"text": "one"})
    second = await graph.aupdate_state(older, {"text": "two"})

    texts = [(await graph.aget_state(config)).values["text"] for config in (older, first, second, THREAD)]
    assert texts == ["a draft", "one", "two", "two"]


async def test_a_subgraph_has_checkpoints_of_its_own(store: ThreadStore) -> None:
    """A subgraph that is interrupted resumes inside, and its state can be read."""
    inner = StateGraph(Draft)
    inner.add_node("write", write)
    inner.add_node("approve", approve)
    inner.add_edge(START, "write")
    inner.add_edge("write", "approve")
    outer = StateGraph(Draft)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    graph = outer.compile(checkpointer=ThreadSaver(store))

    await graph.ainvoke({"text": "a", "steps": []}, THREAD)
    state = await graph.aget_state(THREAD, subgraphs=True)
    inside = state.tasks[0].state
    assert isinstance(inside, StateSnapshot)
    assert inside.values["text"] == "a draft"
    done = await graph.ainvoke(Command(resume="approved"), THREAD)

    assert done["text"] == "a draft approved"
    namespaces = {row.key.namespace for row in await store.list_checkpoints("local", "Generic.1", None)}
    assert len(namespaces) == 2


async def test_messages_of_a_generic_graph_are_its_own(store: ThreadStore) -> None:
    """A graph with messages on a thread that is no conversation keeps them in its checkpoints."""
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [AIMessage(f"{len(state['messages'])}", id="m1")]})
    builder.add_edge(START, "model")
    graph = builder.compile(checkpointer=ThreadSaver(store))

    await graph.ainvoke({"messages": [HumanMessage("hi", id="h1")]}, THREAD)

    values = (await graph.aget_state(THREAD)).values
    assert values["messages"] == [HumanMessage("hi", id="h1"), AIMessage("1", id="m1")]
    assert await store.context("local", "Generic.1", limit=10) == ()


async def test_owners_do_not_see_each_other(store: ThreadStore) -> None:
    """The same thread id under two owners is two threads."""
    await approval_graph(ThreadSaver(store, owner="alice")).ainvoke({"text": "a", "steps": []}, THREAD)

    bob = ThreadSaver(store, owner="bob")
    assert await bob.aget_tuple(THREAD) is None
    assert [saved async for saved in bob.alist(None)] == []
    await bob.adelete_thread("Generic.1")
    assert await ThreadSaver(store, owner="alice").aget_tuple(THREAD) is not None


@pytest.fixture
def idle_store(store_factory: StoreFactory) -> Iterator[ThreadStore]:
    """An empty store for a test with no event loop."""
    store = store_factory.make()
    yield store
    asyncio.run(store.aclose())


def test_graphs_run_without_an_event_loop_where_the_store_can(
    store_factory: StoreFactory, idle_store: ThreadStore
) -> None:
    """graph.invoke works on a store that never waits; on another it says what to use instead."""
    graph = approval_graph(ThreadSaver(idle_store))
    if store_factory.waits:
        with pytest.raises(InvalidRequest, match="event loop"):
            graph.invoke({"text": "a", "steps": []}, THREAD)
        return
    graph.invoke({"text": "a", "steps": []}, THREAD)
    done = graph.invoke(Command(resume="approved"), THREAD)
    assert done["text"] == "a draft approved"
    assert len(list(graph.get_state_history(THREAD, limit=3))) == 3
    graph.checkpointer.delete_thread("Generic.1")  # type: ignore[union-attr]
    assert graph.get_state(THREAD).values == {}


async def test_a_call_that_would_have_to_wait_inside_a_loop_says_so(
    store_factory: StoreFactory, store: ThreadStore
) -> None:
    """A synchronous call from a coroutine never blocks the loop that it would wait for."""
    saver = ThreadSaver(store)
    if store_factory.waits:
        with pytest.raises(InvalidRequest, match="event loop"):
            saver.get_tuple(THREAD)
    else:
        assert saver.get_tuple(THREAD) is None


@dataclass
class Foreign:
    """A type that no serializer was told of."""

    name: str


class Tripwire:
    """Leaves a file behind if anybody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


class Loose(TypedDict):
    """A state that holds whatever it is given."""

    value: Any


async def test_foreign_types_come_back_as_plain_data(store: ThreadStore) -> None:
    """A type of the graph's own module is not rebuilt, even where the graph's schema names it."""

    class Typed(TypedDict):
        value: Foreign

    builder = StateGraph(Typed)
    builder.add_node("make", lambda _: {"value": Foreign("x")})
    builder.add_edge(START, "make")
    saver = ThreadSaver(store)
    await builder.compile(checkpointer=saver).ainvoke({"value": Foreign("y")}, THREAD)

    assert saver.with_allowlist([("tests.checkpoint", "Foreign")]) is saver
    saved = await saver.aget_tuple(THREAD)
    assert saved is not None
    assert saved.checkpoint["channel_values"]["value"] == {"name": "x"}


@pytest.mark.parametrize("tag", ["pickle", "json"])
async def test_nothing_stored_is_made_to_run(store: ThreadStore, tmp_path: Path, tag: str) -> None:
    """Bytes that would build objects when loaded are refused, and do nothing."""
    wire = tmp_path / "tripped"
    payload = {
        "pickle": pickle.dumps(Tripwire(wire)),
        "json": b'{"lc": 1, "type": "constructor", "id": ["langchain_core", "messages", "AIMessage"], '
        b'"kwargs": {"content": "x"}}',
    }
    await store.put_checkpoint(
        CheckpointRow(
            key=CheckpointKey("local", "Generic.1", "", "1"),
            parent_id=None,
            head=dump({"v": 4, "id": "1", "ts": "", "channel_versions": {"value": "1"}, "versions_seen": {}}),
            metadata='{"source": "loop", "step": 1, "parents": {}}',
            versions={"value": "1"},
            channels={("value", "1"): Blob(tag, payload[tag])},
        )
    )

    with pytest.raises(StoreCorrupt):
        await ThreadSaver(store).aget_tuple(THREAD)

    assert not wire.exists()


async def test_a_value_that_only_pickle_could_write_is_refused(store: ThreadStore) -> None:
    """There is no fallback to pickle on the way in either."""
    builder = StateGraph(Loose)
    builder.add_node("make", lambda _: {"value": open})
    builder.add_edge(START, "make")

    with pytest.raises(TypeError, match="serializ"):
        await builder.compile(checkpointer=ThreadSaver(store)).ainvoke({"value": 1}, THREAD)


async def test_pruning_keeps_what_the_newest_state_is_made_of(store: ThreadStore) -> None:
    """After aprune the newest state is whole and the graph resumes from it."""
    saver = ThreadSaver(store)
    graph = approval_graph(saver)
    await graph.ainvoke({"text": "a", "steps": []}, THREAD)

    await saver.aprune(["Generic.1"])

    assert len(await store.list_checkpoints("local", "Generic.1", None)) == 1
    done = await graph.ainvoke(Command(resume="approved"), THREAD)
    assert done == {"text": "a draft approved", "steps": ["write", "approve"]}
    with pytest.raises(InvalidRequest):
        await saver.aprune(["Generic.1"], strategy="everything")


async def test_pruning_keeps_what_a_delta_channel_is_rebuilt_from(store: ThreadStore) -> None:
    """A channel that is kept as writes on older checkpoints survives aprune, and the rest goes."""

    def concatenate(values: list[str], writes: list[list[str]]) -> list[str]:
        return [*values, *(text for write in writes for text in write)]

    class Growing(TypedDict):
        lines: Annotated[list[str], DeltaChannel(concatenate, snapshot_frequency=4)]

    builder = StateGraph(Growing)
    builder.add_node("add", lambda state: {"lines": [f"line {len(state['lines'])}"]})
    builder.add_edge(START, "add")
    saver = ThreadSaver(store)
    graph = builder.compile(checkpointer=saver)
    for _ in range(5):
        await graph.ainvoke({"lines": ["given"]}, THREAD)
    whole = (await graph.aget_state(THREAD)).values
    before = len(await store.list_checkpoints("local", "Generic.1", None))

    await saver.aprune(["Generic.1"])

    assert len(whole["lines"]) == 10
    assert (await graph.aget_state(THREAD)).values == whole
    assert len(await store.list_checkpoints("local", "Generic.1", None)) < before
