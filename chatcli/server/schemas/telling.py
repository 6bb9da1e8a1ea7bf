"""Threads and turns, put into the documents of the API."""

from chatcli.models import Role, Thread, Turn
from chatcli.server.schemas.answers import (
    ChatHistory,
    ChatMessage,
    HistoryEntry,
    Match,
    StoredThread,
    StoredTurn,
    ThreadHistory,
    ThreadSummary,
    TurnMessage,
)
from chatcli.stores.base import Hit


def summarise(thread: Thread, hit: Hit | None = None) -> ThreadSummary:
    """Return a thread as lists show it."""
    match = None if hit is None else Match(turn_index=hit.turn_index, line=hit.line, marks=list(hit.marks))
    return ThreadSummary(
        id=thread.id,
        title=thread.title,
        turn_count=thread.turn_count,
        created_at=thread.created_at,
        updated_at=thread.updated_at,
        archived_at=thread.archived_at,
        language=thread.language,
        owner=thread.owner,
        match=match,
    )


def show(thread: Thread, turns: tuple[Turn, ...]) -> StoredThread:
    """Return a thread with turns of it."""
    more = {"turns": [turn.to_json() for turn in turns], "system": thread.system, "model": thread.model}
    return StoredThread.model_validate({**thread.to_json(), **more})


def show_turn(turn: Turn) -> StoredTurn:
    """Return a turn as it is stored."""
    return StoredTurn.model_validate(turn.to_json())


def list_messages(turns: tuple[Turn, ...]) -> ChatHistory:
    """Return the messages of turns."""
    return ChatHistory(
        messages=[
            ChatMessage(
                content=message.text,
                role="human" if message.role is Role.HUMAN else "assistant",
                timestamp=message.timestamp,
            )
            for turn in turns
            for message in turn.messages
            if message.role in (Role.HUMAN, Role.AI)
        ]
    )


def tell(thread_id: str, turns: tuple[Turn, ...]) -> ThreadHistory:
    """Return the history of a thread."""
    entries = [
        HistoryEntry(
            timestamp=turn.started_at,
            turn_id=turn.id,
            state=turn.state,
            messages=[
                TurnMessage(type="human" if message.role is Role.HUMAN else "ai", content=message.text)
                for message in turn.messages
                if message.role in (Role.HUMAN, Role.AI)
            ],
        )
        for turn in turns
    ]
    return ThreadHistory(
        thread_id=thread_id,
        history=entries,
        total_messages=len(entries),
        message_count=sum(len(entry.messages) for entry in entries),
    )
