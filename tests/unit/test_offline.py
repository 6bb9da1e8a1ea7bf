"""The built-in model: a thread can be tried with it, and it says what it is."""

from chatcli.models import Content, Message, ModelOptions, Role, Usage, utc_now
from chatcli.providers.base import Delta
from chatcli.providers.offline import OfflineProvider, compose_answer


def say(*contents: Content, system: bool = False) -> list[Message]:
    """Return a conversation that human and model take turns in."""
    roles = [Role.HUMAN, Role.AI]
    messages = [
        Message(str(number), roles[number % 2], content, utc_now()) for number, content in enumerate(contents)
    ]
    return [Message("s", Role.SYSTEM, "Answer in English.", utc_now()), *messages] if system else messages


async def stream(messages: list[Message], options: ModelOptions | None = None) -> list[Delta]:
    asked = OfflineProvider().stream(messages, options or ModelOptions())
    return [delta async for deltas in asked for delta in deltas]


PIPED = "what did I pipe in?\n\n```\nhello\n  world\t\n\n```"


async def test_it_repeats_the_message_exactly() -> None:
    """Prompt and piped data come back byte for byte, in an answer that names the model."""
    deltas = await stream(say(PIPED, system=True))
    text = "".join(delta.text for delta in deltas)
    assert text.startswith("This is the offline model of chatcli.")
    assert f"\n\n{PIPED}\n\n" in text
    assert text.endswith("Nothing was said before that.")
    assert len(deltas) > 10
    assert deltas[-1].finish_reason == "stop"


def test_it_remembers_the_thread() -> None:
    """It counts what was said before and names the human's messages, without the system message."""
    answer = compose_answer(say("my name is Ada\nand more", "hello Ada", "what is it?", system=True))
    assert "You wrote:\n\nwhat is it?\n\n" in answer
    assert answer.endswith("Before that I see 2 messages. Yours were:\n\n- my name is Ada")


def test_a_long_thread_is_cut_short() -> None:
    """Only the newest earlier messages are named, and the cut is shown."""
    answer = compose_answer(say(*(f"message {number}" for number in range(41))))
    assert "I see 40 messages" in answer
    assert answer.endswith("- …\n- message 30\n- message 32\n- message 34\n- message 36\n- message 38")


def test_pictures_are_mentioned() -> None:
    """It can't see them, but it knows that they came."""
    picture: Content = (
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    )
    assert "look\n\n(and 1 picture)" in compose_answer(say(picture))


async def test_the_same_thread_gives_the_same_answer() -> None:
    """Nothing but the messages counts."""
    assert await stream(say("a", "b", "c")) == await stream(say("a", "b", "c"))


async def test_usage_and_max_tokens_are_words() -> None:
    """An answer can be cut short, to see what that looks like."""
    whole = await stream(say("one two three"))
    assert whole[-1].usage == Usage(3, len(compose_answer(say("one two three")).split()))
    cut = await stream(say("one two three"), ModelOptions(max_tokens=4))
    assert "".join(delta.text for delta in cut).split() == ["This", "is", "the", "offline"]
    assert cut[-1].finish_reason == "length"


async def test_a_large_message_comes_back_in_few_pieces() -> None:
    """A megabyte is not a hundred thousand events."""
    data = "word \n" * 100_000
    deltas = await stream(say(data))
    assert data in "".join(delta.text for delta in deltas)
    assert len(deltas) <= 202


async def test_it_offers_itself() -> None:
    """Its list of models has one name, the one that resolves to it."""
    assert await OfflineProvider().models() == ("offline",)
