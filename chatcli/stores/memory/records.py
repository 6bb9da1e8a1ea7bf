"""What the store in memory keeps of threads and turns."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field

from chatcli.frozen import replace
from chatcli.models import Message, Thread, Turn, TurnState, utc_now
from chatcli.stores.base import NewTurn


@dataclass(slots=True)
class TurnRecord:
    """A turn with what is not shown of it; threads that were forked from one another share it."""

    turn: Turn
    fingerprint: str | None
    deadline: float
    """When the lease runs out, by the clock of the store."""
    committed: bool = False

    def is_live(self, now: float) -> bool:
        """Tell whether somebody holds the lease."""
        return self.turn.state is TurnState.RUNNING and now < self.deadline

    def view(self, now: float) -> Turn:
        """Return the turn as it is shown: an orphaned one is ``interrupted``."""
        if self.turn.state is TurnState.RUNNING and not self.is_live(now):
            return replace(self.turn, state=TurnState.INTERRUPTED)
        return self.turn


@dataclass(slots=True)
class ThreadRecord:
    """A thread with its turns in the order of their index."""

    thread: Thread
    used: int
    """The number of the last use; it orders threads."""
    turns: dict[str, TurnRecord] = field(default_factory=dict)
    keys: dict[str, TurnRecord] = field(default_factory=dict)
    """The last turn that was begun with each idempotency key."""

    @property
    def last(self) -> TurnRecord | None:
        """The newest turn; no other can be running."""
        return next(reversed(self.turns.values()), None)

    def is_live(self, now: float) -> bool:
        """Tell whether a turn runs on the thread."""
        return self.last is not None and self.last.is_live(now)

    def end_orphan(self) -> None:
        """Mark a turn that nobody runs any more as ``interrupted``."""
        last = self.last
        if last is not None and last.turn.state is TurnState.RUNNING:
            last.turn = replace(last.turn, state=TurnState.INTERRUPTED, finished_at=utc_now())

    def begin(self, new: NewTurn, *, deadline: float) -> Turn:
        """Add a running turn."""
        self.end_orphan()
        turn = Turn(
            id=new.turn_id,
            index=len(self.turns) + 1,
            state=TurnState.RUNNING,
            started_at=utc_now(),
            model=new.model,
            messages=own(new.prompt),
        )
        held = self.turns[new.turn_id] = TurnRecord(turn, new.fingerprint, deadline)
        if new.idempotency_key is not None:
            self.keys[new.idempotency_key] = held
        return turn

    def cut(self, count: int) -> None:
        """Keep the first `count` turns."""
        self.turns = dict(list(self.turns.items())[:count])
        self.keys = {key: held for key, held in self.keys.items() if held.turn.id in self.turns}
        self.thread = replace(self.thread, turn_count=count)


def own(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Return messages whose parts the caller can't change any more."""
    return tuple(
        message
        if isinstance(message.content, str)
        else replace(message, content=copy.deepcopy(message.content))
        for message in messages
    )
