"""A turn of a chat thread on its way through a graph."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT

from chatcli.checkpoint.messages import from_langchain
from chatcli.models import Message, Turn, Usage, state_of, utc_now
from chatcli.stores.base import CheckpointRow, Lease, Outcome, PendingWrite, message_id

TURN_KEY = "__turn"
"""Where ``config["configurable"]`` holds the `TurnHandle`. LangGraph stores no key that begins so."""


@dataclass(slots=True)
class TurnHandle:
    """A turn that `ThreadStore.begin` wrote, for the run of the graph that answers it.

    The run must have ``durability="exit"``: the first checkpoint that ends in a finished answer
    commits the turn, and that is to be the last one. `committed` is then the stored turn; it
    stays None where the run raised, was cancelled or stopped at an ``interrupt()``.
    """

    lease: Lease
    turn: Turn = field(repr=False)
    """As `begin` returned it, with the prompt."""
    context: Sequence[Message] = field(default=(), repr=False)
    """The messages of earlier turns that the graph begins with."""
    resumed: bool = False
    """Whether this run goes on where an ``interrupt()`` of the very same turn stopped."""
    committed: Turn | None = field(default=None, init=False, repr=False)
    unsaved: dict[str, CheckpointRow] = field(default_factory=dict, init=False, repr=False)
    """Checkpoints by namespace that are written only if the run stops at an ``interrupt()``."""
    unsaved_writes: dict[str, list[PendingWrite]] = field(default_factory=dict, init=False, repr=False)

    def known_ids(self) -> frozenset[str]:
        """Return the ids of the messages that were there before the run: context and prompt."""
        return frozenset(message.id for message in (*self.context, *self.turn.messages))

    def outcome(self, messages: Iterable[object]) -> Outcome | None:
        """Return the answer among the graph's messages; None unless the model finished it."""
        known = self.known_ids()
        said = [
            message
            for message in messages
            if isinstance(message, AIMessage | ToolMessage) and message.id not in known
        ]
        last = said[-1] if said else None
        if not isinstance(last, AIMessage) or last.tool_calls:
            return None
        told = last.response_metadata.get("finish_reason")
        reason = told if isinstance(told, str) else None
        now = utc_now()
        return Outcome(
            state=state_of(reason),
            messages=tuple(
                from_langchain(message, message_id(self.turn.id, index), now)
                for index, message in enumerate(said, start=len(self.turn.messages))
            ),
            finish_reason=reason,
            usage=_usage(said),
        )

    def hold_writes(self, namespace: str, writes: Sequence[PendingWrite]) -> list[PendingWrite]:
        """Take pending writes, and return all that are to be stored now: none before an interrupt.

        Errors are dropped: what a provider says when it refuses is in no store.
        """
        held = self.unsaved_writes.setdefault(namespace, [])
        held.extend(write for write in writes if write.channel != ERROR)
        if not any(write.channel == INTERRUPT for write in held):
            return []
        return list(held)


def _usage(messages: Sequence[BaseMessage]) -> Usage | None:
    counted = [
        m.usage_metadata for m in messages if isinstance(m, AIMessage) and m.usage_metadata is not None
    ]
    if not counted:
        return None
    return Usage(
        input_tokens=sum(usage["input_tokens"] for usage in counted),
        output_tokens=sum(usage["output_tokens"] for usage in counted),
    )
