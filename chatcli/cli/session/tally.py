"""What a thread has used: tokens by model, and what they cost where prices are known."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatcli.models import Role, Turn, Usage

if TYPE_CHECKING:
    from chatcli.config import Price
    from chatcli.service import ChatService

PAGE = 500
_NOTHING = Usage(0, 0)


@dataclass
class Tally:
    """Counts of a thread's turns."""

    by_model: dict[str, Usage] = field(default_factory=dict)
    messages: int = 0
    """Messages of turns that have an answer: those that a context is taken from."""
    last: Turn | None = None

    @property
    def tokens(self) -> int:
        """All tokens, in and out."""
        return sum(usage.input_tokens + usage.output_tokens for usage in self.by_model.values())

    def add(self, turns: Iterable[Turn]) -> None:
        """Count turns."""
        for turn in turns:
            self.last = turn
            if turn.usage is not None:
                before = self.by_model.get(turn.model, _NOTHING)
                self.by_model[turn.model] = Usage(
                    before.input_tokens + turn.usage.input_tokens,
                    before.output_tokens + turn.usage.output_tokens,
                )
            if turn.answer:
                self.messages += sum(message.role is not Role.SYSTEM for message in turn.messages)


async def count(service: "ChatService", thread_id: str) -> Tally:
    """Count all turns of a thread, a page at a time."""
    tally = Tally()
    after = 0
    while turns := await service.turns_after(thread_id, after, limit=PAGE):
        tally.add(turns)
        after = turns[-1].index
    return tally


def count_of(number: int, noun: str) -> str:
    """Return a number and what there is that many of."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def cost(usage: Usage, price: "Price") -> float:
    """Return what the tokens cost, in the currency of the price."""
    return (usage.input_tokens * price.input + usage.output_tokens * price.output) / 1_000_000


def describe_usage(tally: Tally, prices: Mapping[str, "Price"]) -> list[str]:
    """Return lines about the last turn and the whole thread."""
    lines = []
    if tally.last is not None and tally.last.usage is not None:
        lines.append(_line("turn", {tally.last.model: tally.last.usage}, prices))
    elif tally.last is not None:
        lines.append("turn    the provider counted no tokens")
    lines.append(_line("thread", tally.by_model, prices))
    return lines


def _line(name: str, by_model: Mapping[str, Usage], prices: Mapping[str, "Price"]) -> str:
    taken = sum(usage.input_tokens for usage in by_model.values())
    given = sum(usage.output_tokens for usage in by_model.values())
    line = f"{name:<7} {taken + given:,} tokens: {taken:,} in, {given:,} out"
    unknown = sorted(model for model in by_model if model not in prices)
    known = [cost(usage, prices[model]) for model, usage in by_model.items() if model in prices]
    if known:
        line += f" · ${sum(known):.4f}"
    if unknown:
        line += f" · no price in config.toml for {', '.join(unknown)}"
    return line
