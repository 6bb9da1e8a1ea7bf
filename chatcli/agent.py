"""The LangGraph graph of a chat turn: context window, model node, error gate."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime

from chatcli.checkpoint import from_langchain
from chatcli.config import Timeouts
from chatcli.errors import ChatcliError
from chatcli.models import Message, Role, Usage, utc_now
from chatcli.providers.base import Delta, ModelOptions, Provider
from chatcli.providers.limiter import Limiter
from chatcli.providers.policy import ask

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

logger = logging.getLogger(__name__)

INSTRUCTIONS = "You are a helpful assistant."


@dataclass(slots=True)
class Answer:
    """What has arrived of an answer so far; it outlives the graph's run, however that ends."""

    pieces: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Usage | None = None
    error: ChatcliError | None = None
    finished: bool = False

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces)

    def add(self, delta: Delta) -> None:
        """Take in one step of the provider's stream."""
        if delta.text:
            self.pieces.append(delta.text)
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.usage = delta.usage or self.usage


@dataclass(frozen=True, slots=True)
class TurnContext:
    """What the model node needs beside the messages: LangGraph hands it over as the run's context."""

    provider: Provider
    options: ModelOptions
    timeouts: Timeouts
    limiter: Limiter | None
    instructions: str
    max_messages: int
    answer_id: str
    answer: Answer
    emit: Callable[[Delta], Awaitable[None]]
    """Takes each delta on; waits while the reader is behind, and so stops the reading."""


def instruct(system: str | None, language: str) -> str:
    """Return the text of the system message: the user's own or ours, and the language to answer in."""
    return f"{system or INSTRUCTIONS}\n\nAnswer in {language} unless you are asked for another language."


def window(messages: Sequence[AnyMessage], limit: int) -> Sequence[AnyMessage]:
    """Return the newest messages, at most `limit`, beginning with a human one."""
    recent = messages[-limit:]
    start = next((i for i, message in enumerate(recent) if message.type == "human"), len(recent))
    return recent[start:]


async def ask_model(state: MessagesState, runtime: Runtime[TurnContext]) -> dict[str, list[AIMessage]]:
    """Ask the model for the answer to the newest message and pass its tokens on as they come.

    The error gate: only errors of our own tree leave this node, and with nothing foreign behind
    them, so that neither LangGraph nor a store ever sees a provider's words.
    """
    context = runtime.context
    answer = context.answer
    now = utc_now()
    recent = window(state["messages"], context.max_messages)
    messages = [
        Message("", Role.SYSTEM, context.instructions, now),
        *(from_langchain(message, message.id or "", now) for message in recent),
    ]
    try:
        deltas = ask(
            context.provider,
            messages,
            context.options,
            timeouts=context.timeouts,
            limiter=context.limiter,
        )
        async with aclosing(deltas):
            async for delta in deltas:
                answer.add(delta)
                if delta.text:
                    runtime.stream_writer(delta.text)
                await context.emit(delta)
        answer.finished = True
    except ChatcliError as error:
        answer.error = error
    except Exception:  # the gate: whatever it is, it must not reach the store
        logger.debug("the model call failed", exc_info=True)
        answer.error = ChatcliError("the model call failed unexpectedly", hint="run with LOG_LEVEL=DEBUG")
    if answer.error is not None:
        raise answer.error
    return {"messages": [_answer_message(context)]}


def _answer_message(context: TurnContext) -> AIMessage:
    answer = context.answer
    usage = answer.usage
    return AIMessage(
        id=context.answer_id,
        content=answer.text,
        response_metadata={"finish_reason": answer.finish_reason, "model": context.provider.spec},
        usage_metadata=None
        if usage is None
        else {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    )


def build_graph(
    checkpointer: "BaseCheckpointSaver[Any] | None",
) -> "CompiledStateGraph[MessagesState, TurnContext, MessagesState, MessagesState]":
    """Return the compiled chat graph; without a checkpointer nothing is stored."""
    graph = StateGraph(MessagesState, context_schema=TurnContext)
    graph.add_node("model", ask_model)
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    return graph.compile(checkpointer=checkpointer)
