"""What the readers of other programs' conversations have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chatcli.models import Content, Message, Part, Role, Thread, Turn, TurnState, Usage, text_of
from chatcli.stores.base import message_id
from chatcli.text import REPLACEMENT, SurrogateJoiner, title_of

LANGUAGE = "English"
OWNER = "local"
"""Whoever imports a thread owns it; see `ThreadService.import_thread`."""


@dataclass(slots=True)
class Exchange:
    """A turn of another program: who said what, and what is known of how."""

    id: str
    moment: datetime
    model: str
    said: list[tuple[Role, Content, datetime]] = field(default_factory=list)
    finished_at: datetime | None = None
    usage: Usage | None = None
    finish_reason: str | None = None

    @property
    def answered(self) -> bool:
        """Whether the model said something."""
        return any(role is Role.AI for role, _, _ in self.said)


def clean(text: str) -> str:
    """Return `text` as a store can keep it; what it can't becomes U+FFFD."""
    joiner = SurrogateJoiner()
    return (joiner.feed(text) + joiner.finish()).replace("\x00", REPLACEMENT)


def content_of(parts: Sequence[Part]) -> Content:
    """Return text as text, and anything more than text as parts."""
    if all(part["type"] == "text" for part in parts):
        return "".join(str(part["text"]) for part in parts)
    return tuple(parts)


def text_part(text: str) -> Part:
    """Return a part with this text, cleaned."""
    return {"type": "text", "text": clean(text)}


def make_thread(
    thread_id: str,
    title: str | None,
    exchanges: Sequence[Exchange],
    *,
    created_at: datetime | None = None,
    updated_at: datetime | None = None,
    archived: bool = False,
) -> tuple[Thread, tuple[Turn, ...]]:
    """Return a thread and its turns; a turn without an answer is ``interrupted``."""
    turns = tuple(_make_turn(exchange, index) for index, exchange in enumerate(exchanges, 1))
    moments = [moment for turn in turns for moment in (turn.started_at, turn.finished_at or turn.started_at)]
    first = created_at or min(moments, default=datetime.now(UTC))
    last = updated_at or max(moments, default=first)
    prompts = [message for turn in turns for message in turn.messages if message.role is Role.HUMAN]
    systems = [message for turn in turns for message in turn.messages if message.role is Role.SYSTEM]
    prompt = text_of(prompts[0].content) if prompts else ""
    thread = Thread(
        id=thread_id,
        owner=OWNER,
        title=title_of(clean(title or "") or prompt),
        language=LANGUAGE,
        turn_count=len(turns),
        created_at=first,
        updated_at=last,
        archived_at=last if archived else None,
        system=systems[-1].text if systems else None,
        model=turns[-1].model if turns else None,
    )
    return thread, turns


def _make_turn(exchange: Exchange, index: int) -> Turn:
    state = TurnState.COMPLETE if exchange.answered else TurnState.INTERRUPTED
    if exchange.finish_reason == "length":
        state = TurnState.TRUNCATED
    return Turn(
        id=exchange.id,
        index=index,
        state=state,
        started_at=exchange.moment,
        model=exchange.model,
        messages=tuple(
            Message(message_id(exchange.id, place), role, content, moment)
            for place, (role, content, moment) in enumerate(exchange.said)
        ),
        finished_at=exchange.finished_at or (exchange.said[-1][2] if exchange.said else exchange.moment),
        finish_reason=exchange.finish_reason,
        usage=exchange.usage,
    )
