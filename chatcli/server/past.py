"""Turns that have ended, told again as the stream that they were."""

from chatcli.errors import ChatcliError, find_class
from chatcli.events import Failed, Finished, Started, Token
from chatcli.models import Thread, Turn, TurnError
from chatcli.server.live import LiveTurn


def replay(thread: Thread, turn: Turn) -> LiveTurn:
    """Return a stored turn as one that has ended: its start, its text in one piece, its end."""
    started = Started(thread.id, turn.id, turn.model, False, thread.title)
    text = [Token(thread.id, turn.answer)] if turn.answer else []
    end: Finished | Failed
    if turn.error is None:
        end = Finished(thread.id, turn.id, turn.state, True, turn.finish_reason, turn.usage, replayed=True)
    else:
        error = _error(turn.error)
        error.saved = True
        end = Failed(thread.id, turn.id, turn.state, True, error)
    live = LiveTurn(keep_running=True, told=True)
    live.take_in([started, *text])
    live.end(end)
    return live


def _error(stored: TurnError) -> ChatcliError:
    """Return an error of the class that has the stored name."""
    return (find_class(stored.name) or ChatcliError)(stored.message)
