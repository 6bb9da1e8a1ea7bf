"""Turns of a chat thread: begun in the store, answered by a graph, committed by the saver."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt

from chatcli.checkpoint import TURN_KEY, ThreadSaver, TurnHandle, from_langchain, to_langchain
from chatcli.errors import InvalidRequest, ThreadNotFound
from chatcli.models import LOCAL_OWNER, Message, Role, Turn, TurnState, Usage, utc_now
from chatcli.stores.base import CheckpointRow, Lease, NewTurn, Outcome, ThreadStore, message_id
from tests.checkpoint.factories import StoreFactory

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

THREAD = "Chat.1"
CANARY = "sk-canary-0123456789"
WINDOW = 6

Node = Callable[[MessagesState], Awaitable[dict[str, Any]]]
Graph = CompiledStateGraph[MessagesState, None, MessagesState, MessagesState]


async def echo(state: MessagesState) -> dict[str, Any]:
    """Answer with what was seen."""
    seen = state["messages"]
    answer = AIMessage(
        f"{len(seen)}: {seen[-1].text}",
        response_metadata={"finish_reason": "stop"},
        usage_metadata={"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
    )
    return {"messages": [answer]}


def chat_graph(store: ThreadStore, *nodes: Node) -> Graph:
    builder = StateGraph(MessagesState)
    previous = START
    for number, node in enumerate(nodes):
        builder.add_node(f"node{number}", cast("Any", node))
        builder.add_edge(previous, previous := f"node{number}")
    return builder.compile(checkpointer=ThreadSaver(store))


async def begin(store: ThreadStore, turn_id: str, prompt: str) -> TurnHandle:
    message = Message(message_id(turn_id, 0), Role.HUMAN, prompt, utc_now())
    begun = await store.begin(NewTurn(LOCAL_OWNER, THREAD, turn_id, "fake:echo", (message,), title="chat"))
    assert begun.lease is not None
    context = await store.context(LOCAL_OWNER, THREAD, limit=WINDOW, before=begun.turn.index)
    return TurnHandle(begun.lease, begun.turn, context)


async def answer(graph: Graph, handle: TurnHandle, command: Command[Any] | None = None) -> dict[str, Any]:
    config: RunnableConfig = {"configurable": {"thread_id": THREAD, TURN_KEY: handle}}
    prompt = cast("MessagesState", {"messages": [to_langchain(m) for m in handle.turn.messages]})
    result: dict[str, Any] = await graph.ainvoke(command or prompt, config, durability="exit")
    return result


async def stored_turn(store: ThreadStore) -> Turn:
    return (await store.turns(LOCAL_OWNER, THREAD))[-1]


async def rows(store: ThreadStore) -> tuple[CheckpointRow, ...]:
    return await store.list_checkpoints(LOCAL_OWNER, THREAD, None)


@pytest.fixture
def commits(store: ThreadStore, monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """The outcomes that the store is asked to commit, in order; it commits them all the same."""
    seen: list[Outcome] = []
    commit = store.commit

    async def record(lease: Lease, outcome: Outcome, checkpoint: CheckpointRow | None = None) -> Turn:
        seen.append(outcome)
        return await commit(lease, outcome, checkpoint)

    monkeypatch.setattr(store, "commit", record)
    return seen


async def test_an_answered_turn_is_committed_once(store: ThreadStore, commits: list[Outcome]) -> None:
    """begin, one run of the graph, one commit: the turn is complete, with prompt and answer in order."""
    handle = await begin(store, "t1", "hello")

    await answer(chat_graph(store, echo), handle)

    assert len(commits) == 1
    turn = await stored_turn(store)
    assert handle.committed == turn
    assert (turn.state, turn.finish_reason, turn.usage) == (TurnState.COMPLETE, "stop", Usage(7, 3))
    assert [(m.id, m.role, m.content) for m in turn.messages] == [
        ("t1.0", Role.HUMAN, "hello"),
        ("t1.1", Role.AI, "1: hello"),
    ]


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_a_cut_answer_is_truncated(store: ThreadStore, reason: str) -> None:
    """An answer that the provider cut short is never stored as complete."""

    async def cut(_: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("Once upon", response_metadata={"finish_reason": reason})]}

    await answer(chat_graph(store, cut), await begin(store, "t1", "a story"))

    turn = await stored_turn(store)
    assert (turn.state, turn.finish_reason, turn.usage) == (TurnState.TRUNCATED, reason, None)


async def test_the_graph_sees_a_window_of_a_long_thread(store: ThreadStore) -> None:
    """On a thread of 200 turns the node gets the newest messages, from a human one on, and the prompt."""
    for number in range(200):
        handle = await begin(store, f"t{number}", f"prompt {number}")
        said = Message(message_id(f"t{number}", 1), Role.AI, f"answer {number}", utc_now())
        await store.commit(handle.lease, Outcome(TurnState.COMPLETE, (said,)))
    seen: list[str] = []

    async def look(state: MessagesState) -> dict[str, Any]:
        seen.extend(message.text for message in state["messages"])
        return {"messages": [AIMessage("ok")]}

    await answer(chat_graph(store, look), await begin(store, "last", "now"))

    earlier = [text for n in (197, 198, 199) for text in (f"prompt {n}", f"answer {n}")]
    assert seen == [*earlier, "now"]
    assert (await store.thread(LOCAL_OWNER, THREAD)).turn_count == 201


async def test_turns_without_an_answer_stay_out_of_the_window(store: ThreadStore) -> None:
    """The model does not see a prompt that was never answered; a partial answer it does see."""
    first = await begin(store, "t1", "lost")
    await store.commit(first.lease, Outcome(TurnState.FAILED))
    second = await begin(store, "t2", "half")
    part = Message("t2.1", Role.AI, "par", utc_now())
    await store.commit(second.lease, Outcome(TurnState.INTERRUPTED, (part,)))

    state = await answer(chat_graph(store, echo), await begin(store, "t3", "whole"))

    assert [message.text for message in state["messages"]] == ["half", "par", "whole", "3: whole"]


async def test_a_failing_node_leaves_nothing_of_its_error(
    store_factory: StoreFactory, store: ThreadStore, commits: list[Outcome]
) -> None:
    """An error that quotes a key is in no table and no file; the turn waits for its owner to end it."""

    async def fail(_: MessagesState) -> dict[str, Any]:
        raise ValueError(f"401: wrong key {CANARY}")

    await answer(chat_graph(store, echo), await begin(store, "t1", "hello"))
    before = await rows(store)
    handle = await begin(store, "t2", "again")

    with pytest.raises(ValueError, match="401"):
        await answer(chat_graph(store, fail), handle)

    assert len(commits) == 1
    assert handle.committed is None
    assert await rows(store) == before
    assert (await stored_turn(store)).state is TurnState.RUNNING
    assert CANARY not in repr(vars(store))
    assert CANARY.encode() not in store_factory.files()
    assert handle.turn.model.encode() in store_factory.files() or not store_factory.files()
    ended = await store.commit(handle.lease, Outcome(TurnState.FAILED))
    assert ended.state is TurnState.FAILED


@pytest.mark.parametrize("companion", ["answers", "interrupts"])
async def test_an_error_beside_another_node_leaves_nothing_either(
    store_factory: StoreFactory, store: ThreadStore, companion: str
) -> None:
    """Writes of a node that ended well or stopped do not carry the error of the one beside it along."""
    beside = asyncio.Event()

    async def fail(_: MessagesState) -> dict[str, Any]:
        await beside.wait()
        raise ValueError(CANARY)

    async def accompany(_: MessagesState) -> dict[str, Any]:
        beside.set()
        if companion == "interrupts":
            interrupt("may I?")
        return {"messages": [AIMessage("fine")]}

    builder = StateGraph(MessagesState)
    for name, node in {"fail": fail, "accompany": accompany}.items():
        builder.add_node(name, cast("Any", node))
        builder.add_edge(START, name)

    with pytest.raises(ValueError, match=CANARY):
        await answer(builder.compile(checkpointer=ThreadSaver(store)), await begin(store, "t1", "hello"))

    found = await rows(store)
    assert CANARY not in repr(found) + repr(vars(store))
    assert CANARY.encode() not in store_factory.files()
    assert len(found) == (companion == "interrupts")


async def test_a_failing_subgraph_leaves_nothing(store_factory: StoreFactory, store: ThreadStore) -> None:
    """The error of a graph inside the graph is in no table and no file."""

    async def fail(_: MessagesState) -> dict[str, Any]:
        raise ValueError(CANARY)

    inner = StateGraph(MessagesState)
    inner.add_node("fail", cast("Any", fail))
    inner.add_edge(START, "fail")

    with pytest.raises(ValueError, match=CANARY):
        await answer(chat_graph(store, cast("Any", inner.compile())), await begin(store, "t1", "hello"))

    assert await rows(store) == ()
    assert CANARY not in repr(vars(store))
    assert CANARY.encode() not in store_factory.files()


async def test_a_graph_on_another_thread_is_none_of_the_turn(
    store: ThreadStore, commits: list[Outcome]
) -> None:
    """A node that runs a graph on another thread, handle and all, commits nothing to the conversation."""
    other = chat_graph(store, echo)
    handle = await begin(store, "t1", "hello")

    async def consult(_: MessagesState) -> dict[str, Any]:
        question: Any = {"messages": [HumanMessage("aside")]}
        config: RunnableConfig = {"configurable": {"thread_id": "Other.1", TURN_KEY: handle}}
        aside = await other.ainvoke(question, config)
        return {"messages": [AIMessage(f"I asked: {aside['messages'][-1].text}")]}

    await answer(chat_graph(store, consult), handle)

    assert [outcome.messages[0].content for outcome in commits] == ["I asked: 1: aside"]
    assert len(await store.list_checkpoints(LOCAL_OWNER, "Other.1", None)) > 0


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_turn_is_committed_once_in_every_mode(
    store: ThreadStore, commits: list[Outcome], durability: Any
) -> None:
    """Where LangGraph saves after each step, the first finished answer ends the turn."""

    async def do_nothing(_: MessagesState) -> dict[str, Any]:
        return {}

    handle = await begin(store, "t1", "hello")
    config: RunnableConfig = {"configurable": {"thread_id": THREAD, TURN_KEY: handle}}
    prompt: Any = {"messages": [HumanMessage("hello", id="t1.0")]}
    await chat_graph(store, echo, do_nothing).ainvoke(prompt, config, durability=durability)

    assert len(commits) == 1
    assert len(await rows(store)) == 1


async def test_a_cancelled_turn_is_left_to_its_owner(store: ThreadStore, commits: list[Outcome]) -> None:
    """Cancelling mid-node writes nothing; the owner still holds the lease and keeps what arrived."""
    entered = asyncio.Event()

    async def stall(_: MessagesState) -> dict[str, Any]:
        entered.set()
        await asyncio.Event().wait()
        return {}

    handle = await begin(store, "t1", "hello")
    task = asyncio.create_task(answer(chat_graph(store, stall), handle))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert commits == []
    assert handle.committed is None
    assert await rows(store) == ()
    assert (await stored_turn(store)).state is TurnState.RUNNING
    part = Message("t1.1", Role.AI, "hel", utc_now())
    await store.commit(handle.lease, Outcome(TurnState.INTERRUPTED, (part,)))
    state = await answer(chat_graph(store, echo), await begin(store, "t2", "go on"))
    assert [message.text for message in state["messages"]][:2] == ["hello", "hel"]


async def test_a_thread_has_one_checkpoint_of_constant_size(store: ThreadStore) -> None:
    """After 50 turns there is one row, without messages, and no larger than after the second turn."""
    sizes = []
    for number in range(50):
        handle = await begin(store, f"turn-{number:04}", f"prompt {number:04}")
        await answer(chat_graph(store, echo), handle)
        (row,) = await rows(store)
        assert (row.channels, row.writes) == ({}, ())
        assert b"prompt" not in row.head.data
        sizes.append(len(row.head.data) + len(row.metadata) + len(repr(row.versions)))
    # The step counter in the metadata grows by a digit now and then.
    assert sizes[-1] - sizes[1] <= 4
    assert sizes[-1] < 1500


async def test_anybody_can_read_the_conversation(store: ThreadStore) -> None:
    """Without a handle aget_state shows all messages of the log, more than a turn's window."""
    graph = chat_graph(store, echo)
    for number in range(5):
        await answer(graph, await begin(store, f"t{number}", f"p{number}"))

    config: RunnableConfig = {"configurable": {"thread_id": THREAD}}
    state = await graph.aget_state(config)
    assert [message.text for message in state.values["messages"]][::2] == [f"p{n}" for n in range(5)]
    history = [saved async for saved in graph.aget_state_history(config)]
    assert [len(saved.values["messages"]) for saved in history] == [10]


async def test_a_graph_without_a_turn_cannot_write_to_a_conversation(store: ThreadStore) -> None:
    """A run or an update with no handle is refused with a reason; the log stays as it was."""
    graph = chat_graph(store, echo)
    await answer(graph, await begin(store, "t1", "hello"))
    config: RunnableConfig = {"configurable": {"thread_id": THREAD}}
    before = await store.turns(LOCAL_OWNER, THREAD)

    with pytest.raises(InvalidRequest, match="conversation"):
        await graph.ainvoke({"messages": [HumanMessage("sneaky")]}, config)
    with pytest.raises(InvalidRequest, match="conversation"):
        await graph.aupdate_state(config, {"messages": [HumanMessage("sneaky")]})

    assert await store.turns(LOCAL_OWNER, THREAD) == before
    assert len((await graph.aget_state(config)).values["messages"]) == 2


async def test_the_copy_of_a_conversation_is_a_generic_thread(store: ThreadStore) -> None:
    """acopy_thread takes the messages along, and a graph can go on with the copy."""
    graph = chat_graph(store, echo)
    await answer(graph, await begin(store, "t1", "hello"))

    await ThreadSaver(store).acopy_thread(THREAD, "Copy.1")

    state = await graph.ainvoke(
        {"messages": [HumanMessage("more")]}, {"configurable": {"thread_id": "Copy.1"}}
    )
    assert [message.text for message in state["messages"]] == ["hello", "1: hello", "more", "3: more"]
    assert len(await store.turns(LOCAL_OWNER, THREAD)) == 1


async def test_a_conversation_deleted_through_the_saver_is_gone(store: ThreadStore) -> None:
    """adelete_thread removes the log too: nothing brings the messages back."""
    graph = chat_graph(store, echo)
    await answer(graph, await begin(store, "t1", "hello"))

    await ThreadSaver(store).adelete_thread(THREAD)

    with pytest.raises(ThreadNotFound):
        await store.thread(LOCAL_OWNER, THREAD)
    assert (await graph.aget_state({"configurable": {"thread_id": THREAD}})).values == {}


async def test_a_thread_can_be_cleared_between_turns(store: ThreadStore) -> None:
    """After a clear the next turn begins with an empty window."""
    graph = chat_graph(store, echo)
    await answer(graph, await begin(store, "t1", "hello"))
    await store.clear(LOCAL_OWNER, THREAD)

    state = await answer(graph, await begin(store, "t2", "again"))

    assert [message.text for message in state["messages"]] == ["again", "1: again"]


async def test_a_turn_whose_lease_ran_out_and_whose_thread_was_deleted_says_so(
    store: ThreadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit for a thread that is gone raises out of the run and brings nothing back."""

    async def gone(*_: object) -> Turn:
        raise ThreadNotFound("there is no such thread")

    handle = await begin(store, "t1", "hello")
    monkeypatch.setattr(store, "commit", gone)

    with pytest.raises(ThreadNotFound):
        await answer(chat_graph(store, echo), handle)

    assert handle.committed is None


async def call_tool(_: MessagesState) -> dict[str, Any]:
    """Ask for a tool."""
    call = {"id": "c1", "name": "add", "args": {"a": 1, "b": 2}}
    return {"messages": [AIMessage("Let me see.", tool_calls=[call])]}


async def run_tool(_: MessagesState) -> dict[str, Any]:
    """Ask a person, then run the tool."""
    result = interrupt("may I?")
    return {"messages": [ToolMessage(str(result), tool_call_id="c1")]}


async def test_a_turn_can_wait_for_a_person(store: ThreadStore, commits: list[Outcome]) -> None:
    """interrupt() stores the unfinished turn; Command(resume=…) finishes it with one commit."""
    handle = await begin(store, "t1", "1 + 2?")
    graph = chat_graph(store, call_tool, run_tool, echo)

    stopped = await answer(graph, handle)
    assert stopped["__interrupt__"][0].value == "may I?"
    assert commits == []
    assert handle.committed is None

    again = TurnHandle(handle.lease, handle.turn, handle.context, resumed=True)
    await answer(chat_graph(store, call_tool, run_tool, echo), again, Command(resume=3))

    assert len(commits) == 1
    turn = await stored_turn(store)
    assert turn.state is TurnState.COMPLETE
    assert [message.role for message in turn.messages] == [Role.HUMAN, Role.AI, Role.TOOL, Role.AI]
    (row,) = await rows(store)
    assert (row.channels, row.writes) == ({}, ())
    following = await answer(chat_graph(store, echo), await begin(store, "t2", "thanks"))
    calls = [message.tool_calls for message in following["messages"] if isinstance(message, AIMessage)]
    assert calls[0] == [{"id": "c1", "name": "add", "args": {"a": 1, "b": 2}, "type": "tool_call"}]


async def test_a_turn_that_waited_in_vain_leaves_the_next_one_alone(store: ThreadStore) -> None:
    """What an interrupt() left of a turn that was given up is not in the next turn's state."""
    handle = await begin(store, "t1", "1 + 2?")
    await answer(chat_graph(store, call_tool, run_tool, echo), handle)
    await store.commit(handle.lease, Outcome(TurnState.INTERRUPTED))

    state = await answer(chat_graph(store, echo), await begin(store, "t2", "hello"))

    assert [message.text for message in state["messages"]] == ["hello", "1: hello"]
    assert "__interrupt__" not in state


async def test_a_tool_that_fails_does_not_end_the_turn_as_complete(
    store: ThreadStore, commits: list[Outcome]
) -> None:
    """A model's call of a tool is no answer: if the tool raises, the turn is its owner's to end."""

    async def fail(_: MessagesState) -> dict[str, Any]:
        raise ValueError(CANARY)

    with pytest.raises(ValueError, match=CANARY):
        await answer(chat_graph(store, call_tool, fail), await begin(store, "t1", "1 + 2?"))

    assert commits == []
    assert await rows(store) == ()


@pytest.mark.parametrize(
    "message",
    [
        Message("m", Role.HUMAN, "text", utc_now()),
        Message("m", Role.SYSTEM, "be brief", utc_now()),
        Message("m", Role.AI, "", utc_now()),
        Message(
            "m",
            Role.HUMAN,
            ({"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:x"}}),
            utc_now(),
        ),
        Message("m", Role.AI, ({"type": "tool_call", "id": "c", "name": "f", "args": {"x": 1}},), utc_now()),
        Message(
            "m",
            Role.TOOL,
            ({"type": "text", "text": "3"}, {"type": "tool_result", "tool_call_id": "c"}),
            utc_now(),
        ),
    ],
    ids=lambda message: f"{message.role}-{type(message.content).__name__}",
)
def test_messages_come_back_from_langchain(message: Message) -> None:
    """to_langchain and from_langchain keep the id, the text and every part."""
    base: BaseMessage = to_langchain(message)
    assert base.id == message.id
    assert from_langchain(base, message.id, message.timestamp) == message
