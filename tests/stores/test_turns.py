"""Turns: what begins is written, what is committed is kept, byte for byte and in order."""

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatcli.errors import InvalidRequest, ThreadArchived, ThreadBusy, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, Message, Part, Role, TurnError, TurnState, Usage, utc_now
from chatcli.stores.base import Lease, Outcome, ThreadStore, message_id
from chatcli.text import new_id
from tests.stores.talk import MODEL, answer, held, new_turn, say, texts

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


async def test_begin_writes_the_prompt(store: ThreadStore) -> None:
    """When begin returns, the running turn and its prompt are there, before any answer is."""
    begun = await store.begin(new_turn(prompt="How hot?"))

    assert begun.created
    assert begun.turn.state is TurnState.RUNNING
    assert begun.turn.index == 1
    assert await store.turns(LOCAL_OWNER, "tea") == (begun.turn,)
    assert await store.thread(LOCAL_OWNER, "tea") == begun.thread
    assert texts((begun.turn,)) == [["How hot?"]]


async def test_new_thread_has_defaults(store: ThreadStore) -> None:
    """A thread is made with the title of the turn, in English, not archived."""
    thread = (await store.begin(new_turn(title="Tea time"))).thread

    assert (thread.id, thread.owner, thread.title) == ("tea", LOCAL_OWNER, "Tea time")
    assert (thread.language, thread.system, thread.archived_at) == ("English", None, None)
    assert (thread.turn_count, thread.model) == (1, MODEL)
    assert thread.created_at == thread.updated_at or thread.created_at < thread.updated_at


async def test_begin_changes_what_it_is_given(store: ThreadStore) -> None:
    """Language and system prompt stay until new ones come; the title changes only with rename."""
    begun = await store.begin(new_turn(language="Danish", system="Be brief."))
    await store.commit(held(begun), Outcome(TurnState.FAILED))
    begun = await store.begin(new_turn(title="Ignored"))
    await store.commit(held(begun), Outcome(TurnState.FAILED))
    assert (begun.thread.title, begun.thread.language, begun.thread.system) == ("Tea", "Danish", "Be brief.")
    assert not begun.created

    thread = (
        await store.begin(new_turn(title="Coffee", rename=True, language="Welsh", system="Sing."))
    ).thread
    assert (thread.title, thread.language, thread.system) == ("Coffee", "Welsh", "Sing.")


async def test_missing_thread_is_not_made_against_the_will(store: ThreadStore) -> None:
    """Without create a missing thread is an error and stays missing."""
    with pytest.raises(ThreadNotFound):
        await store.begin(new_turn(create=False))
    with pytest.raises(ThreadNotFound):
        await store.thread(LOCAL_OWNER, "tea")


async def test_commit_ends_the_turn(store: ThreadStore) -> None:
    """The answer and everything known about it come back as they were given."""
    begun = await store.begin(new_turn(system="Be brief."))
    said = Message(
        message_id(begun.turn.id, 2), Role.AI, "80 degrees.", datetime(2024, 2, 29, 12, 0, 0, 7, UTC)
    )
    outcome = Outcome(
        TurnState.TRUNCATED, (said,), "length", Usage(11, 22), TurnError("provider-incomplete", "cut")
    )

    turn = await store.commit(held(begun), outcome)

    assert turn == replace(
        begun.turn,
        state=TurnState.TRUNCATED,
        messages=(*begun.turn.messages, said),
        finished_at=turn.finished_at,
        finish_reason="length",
        usage=Usage(11, 22),
        error=TurnError("provider-incomplete", "cut"),
    )
    assert turn.finished_at is not None
    assert await store.turns(LOCAL_OWNER, "tea") == (turn,)


async def test_commit_twice_is_once(store: ThreadStore) -> None:
    """Saying it again with the same lease changes nothing and returns what is stored."""
    begun = await store.begin(new_turn())
    interrupted = answer("80", turn_id=begun.turn.id, state=TurnState.INTERRUPTED)
    first = await store.commit(held(begun), interrupted)

    assert await store.commit(held(begun), answer("No!", turn_id=begun.turn.id)) == first
    assert await store.turns(LOCAL_OWNER, "tea") == (first,)


@pytest.mark.parametrize("state", [state for state in TurnState if state is not TurnState.RUNNING])
async def test_every_end_frees_the_thread(store: ThreadStore, state: TurnState) -> None:
    """However a turn ends, the next one may begin, and the state is told as it was."""
    begun = await store.begin(new_turn())
    await store.commit(held(begun), Outcome(state))
    await say(store)

    assert [turn.state for turn in await store.turns(LOCAL_OWNER, "tea")] == [state, TurnState.COMPLETE]


async def test_one_turn_at_a_time(store: ThreadStore) -> None:
    """A second turn on a busy thread is refused, can be retried later, and leaves no trace."""
    await store.begin(new_turn())
    with pytest.raises(ThreadBusy) as caught:
        await store.begin(new_turn(prompt="Me too!", rename=True, title="No"))

    assert caught.value.retry_after
    assert texts(await store.turns(LOCAL_OWNER, "tea")) == [["How hot?"]]
    assert (await store.thread(LOCAL_OWNER, "tea")).title == "Tea"
    await say(store, "coffee")


async def test_archived_thread_takes_no_turns(store: ThreadStore) -> None:
    """An archived thread refuses turns until it is restored."""
    await say(store)
    await store.archive(LOCAL_OWNER, "tea", archived=True)
    with pytest.raises(ThreadArchived):
        await store.begin(new_turn())
    await store.archive(LOCAL_OWNER, "tea", archived=False)
    await say(store)


async def test_ids_differ_in_more_than_case(store: ThreadStore) -> None:
    """An id that differs from another only in case is refused, and the other is named."""
    await say(store, "Tea")
    with pytest.raises(InvalidRequest, match="Tea"):
        await store.begin(new_turn("tea"))
    with pytest.raises(ThreadNotFound):
        await store.turns(LOCAL_OWNER, "tea")


async def test_order_is_the_index(store: ThreadStore) -> None:
    """Turns come oldest first by their index, and can be read from any index on, some at a time."""
    for number in range(5):
        await say(store, prompt=str(number))
    turns = await store.turns(LOCAL_OWNER, "tea")

    assert [(turn.index, turn.messages[0].text) for turn in turns] == [(n + 1, str(n)) for n in range(5)]
    assert await store.turns(LOCAL_OWNER, "tea", after=1, limit=2) == turns[1:3]
    assert await store.turns(LOCAL_OWNER, "tea", after=5) == ()


async def test_turns_of_no_thread(store: ThreadStore) -> None:
    """Reading the turns of a missing thread is an error, not an empty list."""
    with pytest.raises(ThreadNotFound):
        await store.turns(LOCAL_OWNER, "tea")


async def test_messages_of_other_programs_keep_their_ids(store: ThreadStore) -> None:
    """An id that does not follow from the turn is kept as it is."""
    begun = await store.begin(new_turn())
    turn = await store.commit(
        held(begun), Outcome(TurnState.COMPLETE, (Message("run-7", Role.AI, "80", utc_now()),))
    )
    assert [message.id for message in turn.messages] == [message_id(turn.id, 0), "run-7"]


async def test_parts_come_back(store: ThreadStore) -> None:
    """Messages of several parts come back with every part as it was, in its order."""
    image: Part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}
    parts: tuple[Part, ...] = ({"type": "text", "text": "What »is« this?\n"}, image)
    turn = await say(store, prompt=parts, reply=({"type": "text", "text": "A cat."},))

    assert turn.messages[0].content == parts
    assert (await store.turns(LOCAL_OWNER, "tea"))[0].messages == turn.messages
    assert turn.answer == "A cat."


@given(prompt=TEXT, reply=TEXT, title=TEXT)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_text_comes_back_byte_for_byte(store: ThreadStore, prompt: str, reply: str, title: str) -> None:
    """Whatever passes the text gate comes back as it was."""
    thread_id = new_id()
    begun = await store.begin(new_turn(thread_id, prompt, title=title, system=title))
    await store.commit(held(begun), answer(reply, turn_id=begun.turn.id, index=2))
    (turn,) = await store.turns(LOCAL_OWNER, thread_id)

    assert [message.content for message in turn.messages] == [title, prompt, reply]
    thread = await store.thread(LOCAL_OWNER, thread_id)
    assert (thread.title, thread.system) == (title, title)


async def test_long_text(store: ThreadStore) -> None:
    """A message of a million characters is one message."""
    text = "\N{TEACUP WITHOUT HANDLE}" * 1_000_000
    assert (await say(store, prompt=text)).messages[0].content == text


async def test_same_key_gives_the_stored_answer(store: ThreadStore) -> None:
    """A finished turn with the same idempotency key is returned without a lease; nothing is written."""
    begun = await store.begin(new_turn(key="k", fingerprint="f"))
    turn = await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    again = await store.begin(new_turn(key="k", fingerprint="f"))

    assert (again.lease, again.turn, again.created) == (None, turn, False)
    assert await store.turns(LOCAL_OWNER, "tea") == (turn,)


async def test_same_key_while_it_runs(store: ThreadStore) -> None:
    """A key whose turn still runs is busy."""
    await store.begin(new_turn(key="k", fingerprint="f"))
    with pytest.raises(ThreadBusy):
        await store.begin(new_turn(key="k", fingerprint="f"))


@pytest.mark.parametrize("state", [TurnState.FAILED, TurnState.INTERRUPTED])
async def test_same_key_after_a_failure(store: ThreadStore, state: TurnState) -> None:
    """After a failed or interrupted turn its key may be tried again, and stands for the new turn."""
    begun = await store.begin(new_turn(key="k", fingerprint="f"))
    await store.commit(held(begun), Outcome(state))
    retried = await store.begin(new_turn(key="k", fingerprint="f"))
    turn = await store.commit(held(retried), answer("80", turn_id=retried.turn.id))

    assert (await store.begin(new_turn(key="k", fingerprint="f"))).turn == turn
    assert [turn.state for turn in await store.turns(LOCAL_OWNER, "tea")] == [state, TurnState.COMPLETE]


async def test_same_key_for_another_request(store: ThreadStore) -> None:
    """A key that comes with another request is refused; on another thread it is another key."""
    begun = await store.begin(new_turn(key="k", fingerprint="f"))
    await store.commit(held(begun), answer("80", turn_id=begun.turn.id))
    with pytest.raises(InvalidRequest):
        await store.begin(new_turn(key="k", fingerprint="g"))
    assert (await store.begin(new_turn("coffee", key="k", fingerprint="g"))).lease is not None


async def test_commit_after_clear_or_of_nothing(store: ThreadStore) -> None:
    """A commit for a turn that is gone raises, and brings neither thread nor turn back."""
    with pytest.raises(ThreadNotFound):
        await store.commit(Lease(LOCAL_OWNER, "tea", "gone"), answer("80", turn_id="gone"))
    turn = await say(store)
    await store.clear(LOCAL_OWNER, "tea")
    with pytest.raises(ThreadNotFound):
        await store.commit(Lease(LOCAL_OWNER, "tea", turn.id), answer("80", turn_id=turn.id))
    assert await store.turns(LOCAL_OWNER, "tea") == ()


async def test_renew_of_nothing_is_silent(store: ThreadStore) -> None:
    """Renewing a lease that is gone does nothing at all."""
    await store.renew(Lease(LOCAL_OWNER, "tea", "gone"))
    turn = await say(store)
    await store.renew(Lease(LOCAL_OWNER, "tea", turn.id))
    await say(store)
