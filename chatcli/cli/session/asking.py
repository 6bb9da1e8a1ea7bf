"""One turn in a session: sent, shown, stopped by Ctrl-C, and stored again where the store was lost."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatcli.cli import oneshot
from chatcli.cli.oneshot import Manner
from chatcli.cli.session.signals import SessionSignals
from chatcli.events import Event, Failed, Finished, Token

if TYPE_CHECKING:
    from chatcli.service import ChatService, TurnRequest
    from chatcli.service.turn import RunningTurn


@dataclass
class Exchange:
    """A turn that is over: what was seen of it, and the turn itself."""

    turn: "RunningTurn"
    text: str
    last: Finished | Failed


class _Recorder:
    """A turn's events; the text of the answer is kept on the way."""

    def __init__(self, turn: "RunningTurn") -> None:
        self._turn = turn
        self.pieces: list[str] = []

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for event in self._turn:
            if isinstance(event, Token):
                self.pieces.append(event.content)
            yield event


async def exchange(
    service: "ChatService", request: "TurnRequest", manner: Manner, signals: SessionSignals
) -> Exchange | None:
    """Run a turn and show its answer; None if it was stopped before the model was asked.

    Raises what `ChatService.turn` does.
    """
    task = asyncio.create_task(_run(service, request, manner, signals))
    with signals.stopping(task.cancel):
        if signals.ended_by is not None:
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            return None


async def _run(
    service: "ChatService", request: "TurnRequest", manner: Manner, signals: SessionSignals
) -> Exchange | None:
    async with service.turn(request) as turn:
        writer = oneshot.open_writer(manner)

        def stop() -> None:
            turn.stop()
            writer.abandon()

        events = _Recorder(turn)
        with signals.stopping(stop):
            last = await oneshot.show_text(events, writer, manner)
    if not last.turn_id:  # it was stopped while it waited for its thread, and a server never began it
        return None
    return Exchange(turn, "".join(events.pieces), last)
