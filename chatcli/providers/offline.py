"""The built-in model without a network: it answers from the thread alone, so persistence can be tried."""

import re
from collections.abc import AsyncGenerator, Sequence

from chatcli.models import Message, ModelOptions, Role, Usage
from chatcli.providers.base import Delta
from chatcli.providers.table import OFFLINE
from chatcli.text import title_of

SHOWN = 5
"""Earlier messages that an answer names."""

_WORD = re.compile(r"\s*\S+\s*|\s+")
_PIECES = 200
"""Pieces of an answer at most, however long the message that it repeats."""


class OfflineProvider:
    """A `chatcli.providers.base.Provider` that says what it is and repeats what it was told."""

    spec = OFFLINE
    engine = OFFLINE
    sends_finish_reason = True

    async def stream(
        self, messages: Sequence[Message], options: ModelOptions
    ) -> AsyncGenerator[Sequence[Delta]]:
        """Yield the answer a few words at a time; `options.max_tokens` counts words."""
        import asyncio

        words = _WORD.findall(compose_answer(messages))
        shown = words[: options.max_tokens]
        step = len(shown) // _PIECES + 1
        for start in range(0, len(shown), step):
            yield [Delta(text="".join(shown[start : start + step]))]
            await asyncio.sleep(0)
        last = Delta(
            finish_reason="stop" if len(shown) == len(words) else "length",
            usage=Usage(sum(len(message.text.split()) for message in messages), len(shown)),
        )
        yield [last]

    async def models(self) -> Sequence[str]:
        """Return the only one."""
        return (OFFLINE,)

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


def compose_answer(messages: Sequence[Message]) -> str:
    """Return the answer to the last human message, from the messages and nothing else."""
    human = [message for message in messages if message.role is Role.HUMAN]
    if not human:
        return "This is the offline model of chatcli, and there is no message for it."
    last = human[-1]
    pictures = (
        0 if isinstance(last.content, str) else sum(part.get("type") != "text" for part in last.content)
    )
    shown = f"\n\n(and {_count(pictures, 'picture')})" if pictures else ""
    return (
        "This is the offline model of chatcli. It is built in and uses no network; all it knows is "
        f"this thread.\n\nYou wrote:\n\n{last.text}{shown}\n\n{_recall(human[:-1], messages)}"
    )


def _recall(earlier: Sequence[Message], messages: Sequence[Message]) -> str:
    if not earlier:
        return "Nothing was said before that."
    seen = sum(message.role is not Role.SYSTEM for message in messages) - 1
    lines = [f"- {title_of(message.text)}" for message in earlier[-SHOWN:]]
    if len(earlier) > SHOWN:
        lines.insert(0, "- …")
    return f"Before that I see {_count(seen, 'message')}. Yours were:\n\n" + "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
