"""The contract of a provider: messages in, deltas out, and no library's types in between."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from chatcli.models import Message, ModelOptions, Usage


class Delta(Struct, frozen=True):
    """One step of an answer. Usage and finish reason come once, usually at the end."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None


class Provider(Protocol):
    """One model of one provider, ready to be asked; it lives as long as the process.

    Every method raises only errors of `chatcli.errors`, with fixed texts: neither a key nor
    anything that the provider wrote is in them, and none has a cause or a context that holds it.
    """

    @property
    def spec(self) -> str:
        """The model as the user names it, ``PROVIDER:MODEL``."""
        ...

    @property
    def engine(self) -> str:
        """What carries the request: ``langchain-openai``, ``langchain-groq``, ``offline`` and the like."""
        ...

    @property
    def sends_finish_reason(self) -> bool:
        """Whether a clean end of the stream with no finish reason means a cut answer."""
        ...

    def stream(self, messages: Sequence[Message], options: ModelOptions) -> AsyncIterator[Sequence[Delta]]:
        """Ask once, without retries, and yield the answer as it arrives: what came together, together.

        Closing the iterator, or cancelling the task that reads it, ends the request at once.

        Raises:
            ProviderAuth, ModelNotFound, ContextTooLong, ProviderRateLimited (with `retry_after`
            where the provider said it, in seconds), ProviderUnavailable, ProviderTimeout
            (connect only), ProviderProtocol, InvalidRequest.
        """
        ...

    async def models(self) -> Sequence[str]:
        """Return the names of the models that the provider offers, sorted."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
