"""Providers that are ready to be asked again: the ones that were used last stay, the others are closed."""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from chatcli.providers.base import Provider

MOST_PROVIDERS = 64
"""Models that are kept ready to be asked, whatever names clients of a server come up with."""


class _Kept:
    """A provider, and how many use it now."""

    __slots__ = ("is_leaving", "provider", "users")

    def __init__(self, provider: "Provider") -> None:
        self.provider = provider
        self.users = 0
        self.is_leaving = False


class Providers:
    """The providers of a service, by the names of their models."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        """The one that was used last comes last."""

    @asynccontextmanager
    async def borrow(self, model: str, make: "Callable[[], Provider]") -> "AsyncIterator[Provider]":
        """Yield the provider of a model, which `make` makes if need be; it is not closed while it is used."""
        kept = self._kept.pop(model, None) or _Kept(make())
        self._kept[model] = kept
        kept.users += 1
        try:
            if len(self._kept) > MOST_PROVIDERS:
                await self._push_out(next(iter(self._kept)))
            yield kept.provider
        finally:
            kept.users -= 1
            if kept.is_leaving and not kept.users:
                await kept.provider.aclose()

    async def _push_out(self, model: str) -> None:
        """Forget a provider; who uses it last closes it."""
        kept = self._kept.pop(model)
        kept.is_leaving = True
        if not kept.users:
            await kept.provider.aclose()

    async def aclose(self) -> None:
        """Close all of them."""
        while self._kept:
            _, kept = self._kept.popitem()
            await kept.provider.aclose()
