"""The graph of a turn: its node takes over an answer that is on its way."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from chatcli.agent import TurnContext, build_graph
from chatcli.providers.answer import Answer
from chatcli.providers.base import Delta


async def ignore(_: Sequence[Delta]) -> None:
    """Show nothing to anybody."""


async def test_tokens_reach_the_stream_writer_one_by_one() -> None:
    """Whoever streams the graph has each token before the model says the next one, the whole at the end."""
    may_go_on = asyncio.Event()

    async def stream() -> AsyncGenerator[Sequence[Delta]]:
        for word in ("one ", "two ", "three"):
            yield [Delta(text=word)]
            await may_go_on.wait()
            may_go_on.clear()
        yield [Delta(finish_reason="stop")]

    answer = Answer()
    fetching = asyncio.create_task(answer.fetch(stream(), ignore))
    graph = build_graph(InMemorySaver())
    pieces = []
    async for piece in graph.astream(
        {"messages": [HumanMessage("count", id="1")]},
        {"configurable": {"thread_id": "t"}},
        context=TurnContext(answer, "2", "openai:fake"),
        stream_mode="custom",
    ):
        pieces.append(piece)
        may_go_on.set()
    await fetching
    assert pieces == ["one ", "two ", "three"]
    (_, message) = (await graph.aget_state({"configurable": {"thread_id": "t"}})).values["messages"]
    assert isinstance(message, AIMessage)
    assert (message.id, message.content) == ("2", "one two three")
