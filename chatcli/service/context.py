"""What the model is sent: instructions, then a window of the newest messages."""

from collections.abc import Sequence

from chatcli.models import Message, Role, utc_now

INSTRUCTIONS = "You are a helpful assistant."


def instruct(system: str | None, language: str) -> str:
    """Return the text of the system message: the user's own or ours, and the language to answer in."""
    return f"{system or INSTRUCTIONS}\n\nAnswer in {language} unless you are asked for another language."


def build_context(instructions: str, messages: Sequence[Message], *, limit: int) -> list[Message]:
    """Return a system message and the newest of `messages`, at most `limit`, from a human one on."""
    talk = [message for message in messages if message.role is not Role.SYSTEM][-limit:]
    start = next((i for i, message in enumerate(talk) if message.role is Role.HUMAN), len(talk))
    return [Message("", Role.SYSTEM, instructions, utc_now()), *talk[start:]]
