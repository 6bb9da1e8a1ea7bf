"""The LangGraph graph of a chat turn.

The request to the model leaves before LangGraph is even imported (that takes longer than many a
provider needs for its first token), so the model node finds the answer on its way and takes it over: its
tokens go to LangGraph's stream writer, the whole of it into the state, which the saver commits.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from chatcli.providers.answer import Answer


@dataclass(frozen=True, slots=True)
class TurnContext:
    """What LangGraph hands to the nodes of one run."""

    answer: Answer
    answer_id: str
    model: str


async def take_answer(
    state: MessagesState,  # noqa: ARG001 - the answer to it is on its way
    runtime: Runtime[TurnContext],
) -> dict[str, list[AIMessage]]:
    """Return the model's answer as a message; raise the error that it ended with."""
    answer = runtime.context.answer
    async for piece in answer.follow():
        runtime.stream_writer(piece)
    if answer.error is not None:
        raise answer.error
    return {"messages": [_message(runtime.context)]}


def _message(context: TurnContext) -> AIMessage:
    answer, usage = context.answer, context.answer.usage
    return AIMessage(
        id=context.answer_id,
        content=answer.text,
        response_metadata={"finish_reason": answer.finish_reason, "model": context.model},
        usage_metadata=None
        if usage is None
        else {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    )


CompiledGraph: TypeAlias = CompiledStateGraph[MessagesState, TurnContext, MessagesState, MessagesState]


def build_graph(checkpointer: BaseCheckpointSaver[Any]) -> CompiledGraph:
    """Return the compiled graph."""
    graph = StateGraph(MessagesState, context_schema=TurnContext)
    graph.add_node("model", take_answer)
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    return graph.compile(checkpointer=checkpointer)
