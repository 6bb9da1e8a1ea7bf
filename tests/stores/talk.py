"""Turns in a line or two: what the tests of stores say to them."""

from chatcli.models import LOCAL_OWNER, Content, Message, Role, Turn, TurnState, Usage, utc_now
from chatcli.stores.base import Begun, Lease, NewTurn, Outcome, ThreadStore, message_id
from chatcli.text import new_id

MODEL = "offline:echo"


def new_turn(
    thread_id: str = "tea",
    prompt: Content = "How hot?",
    *,
    owner: str = LOCAL_OWNER,
    turn_id: str = "",
    system: str | None = None,
    title: str = "Tea",
    rename: bool = False,
    language: str | None = None,
    create: bool = True,
    key: str | None = None,
    fingerprint: str | None = None,
) -> NewTurn:
    """Return a turn to begin, with a system message where there is a system prompt."""
    turn_id = turn_id or new_id()
    said: list[tuple[Role, Content]] = [(Role.HUMAN, prompt)]
    if system is not None:
        said.insert(0, (Role.SYSTEM, system))
    return NewTurn(
        owner=owner,
        thread_id=thread_id,
        turn_id=turn_id,
        model=MODEL,
        prompt=tuple(
            Message(message_id(turn_id, index), role, content, utc_now())
            for index, (role, content) in enumerate(said)
        ),
        title=title,
        rename=rename,
        language=language,
        system=system,
        create=create,
        idempotency_key=key,
        fingerprint=fingerprint,
    )


def answer(text: Content, *, turn_id: str, index: int = 1, state: TurnState = TurnState.COMPLETE) -> Outcome:
    """Return an outcome with one message of the model, at `index` of the turn."""
    message = Message(message_id(turn_id, index), Role.AI, text, utc_now())
    return Outcome(state, (message,), finish_reason="stop", usage=Usage(3, 5))


def held(begun: Begun) -> Lease:
    """Return the lease of a turn that really began."""
    assert begun.lease is not None
    return begun.lease


async def say(
    store: ThreadStore,
    thread_id: str = "tea",
    prompt: Content = "How hot?",
    reply: Content = "80 degrees.",
    *,
    owner: str = LOCAL_OWNER,
) -> Turn:
    """Run one whole turn."""
    begun = await store.begin(new_turn(thread_id, prompt, owner=owner))
    return await store.commit(held(begun), answer(reply, turn_id=begun.turn.id))


def texts(turns: tuple[Turn, ...]) -> list[list[str]]:
    """Return the texts of the messages, turn by turn."""
    return [[message.text for message in turn.messages] for turn in turns]
