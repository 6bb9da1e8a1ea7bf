"""Copies of contexts in Redis: what has not changed since the turn before need not come from the server.

A copy is the context of a thread at one of its revisions. When a turn begins, that revision is offered
to the server, which sends the context as ever unless the thread still has it: triggers give a thread
another one with each change, and none comes twice. So a stale copy is not used, whatever Redis holds.
Nor is a forged one: a copy is signed, for one thread of one owner, with a secret that lies in the store.

What a turn adds to the context that it began with is known when it is committed; the server tells
whether anything else has changed meanwhile. If nothing has, that is the next copy.
"""

import asyncio
import hmac
import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from chatcli.frozen import Frozen
from chatcli.models import Role
from chatcli.stores.base import Lease, NewTurn
from chatcli.stores.entries import LARGEST, Entries
from chatcli.stores.postgres.connection import Database, Row
from chatcli.stores.postgres.rows import cut, message_of, to_json
from chatcli.stores.postgres.schema import Condition
from chatcli.stores.sealed import is_sealed_content

if TYPE_CHECKING:
    from chatcli.config import Settings

_FORM = b"1"
"""Of what is signed; another one is not read."""

_MOST_TURNS = 1000
"""Running turns of which it is known what they began with; of others no copy is made."""


class Window(Frozen):
    """A context of at most `limit` messages, each as ``message_json`` describes it."""

    revision: str
    limit: int
    said: list[Row]


class Windows:
    """The copies of one store's contexts; with `only_sealed` none that holds a word in the clear."""

    def __init__(self, url: str, *, only_sealed: bool) -> None:
        self._entries = Entries(url, "chatcli:contexts:")
        self._only_sealed = only_sealed
        self._begun: OrderedDict[Lease, Window] = OrderedDict()
        """What running turns began with: of those that last began."""
        self._puts: dict[str, asyncio.Task[None]] = {}

    @classmethod
    def of(cls, settings: "Settings | None") -> "Windows | None":
        """Return the copies that the settings ask for."""
        if settings is None or settings.redis_url is None:
            return None
        return cls(settings.redis_url, only_sealed=settings.encryption_key is not None)

    async def begin(
        self, database: Database, new: NewTurn, values: Sequence[object], *, unless: Condition | None
    ) -> Row:
        """Return what ``begin_turn`` makes of `values`, which ask for no context, and the context.

        Nothing where `unless` holds: it is not called then.
        """
        held = await self._find(database.secret, new)
        offered = None if held is None else held.revision
        values = (*values, new.context_limit, offered)
        found = await database.call("begin_turn_with_window", *values, unless=unless)
        if found is None:
            return {}
        begun: Row = found["begun"]
        if "said" not in found:  # it did not begin
            return begun
        begun["context"] = held.said if held is not None and found["said"] is None else found["said"]
        if found["revision"] is not None:
            lease = Lease(new.owner, new.thread_id, new.turn_id)
            self._remember(lease, Window(found["revision"], new.context_limit, begun["context"]))
        return begun

    async def commit(self, database: Database, lease: Lease, values: Sequence[object]) -> Any:
        """Return what ``commit_turn`` makes of `values`; the next turn's context is copied if it is known."""
        window = self._begun.pop(lease, None)
        if window is None:
            return await database.call("commit_turn", *values)
        found = await database.call("commit_turn_with_window", *values, window.revision)
        if found["revision"] is not None and database.secret is not None:
            said = [*window.said, *(one for one in found["ended"]["messages"] if one["role"] != Role.SYSTEM)]
            self._start_put(
                database.secret, lease, Window(found["revision"], window.limit, cut(said, window.limit))
            )
        return found["ended"]

    async def forget(self, database: Database, owner: str, thread_ids: Iterable[str]) -> None:
        """Remove the copies of threads whose text is gone."""
        if database.secret is not None:
            await self._entries.forget([_name(database.secret, owner, one) for one in thread_ids])

    async def settle(self) -> None:
        """Wait until everything is copied, or can't be."""
        if puts := [put for put in self._puts.values() if not put.done()]:
            await asyncio.wait(puts)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.settle()
        await self._entries.aclose()

    async def _find(self, secret: bytes | None, new: NewTurn) -> Window | None:
        """Return the context that was copied for such a turn, if that is worth offering."""
        if secret is None:
            return None
        name = _name(secret, new.owner, new.thread_id)
        if (put := self._puts.get(name)) is not None and not put.done():
            await asyncio.wait({put})
        entry = await self._entries.read(name)
        if entry is None:
            return None
        signature, _, signed = entry.partition(b" ")
        if not hmac.compare_digest(signature, _signature(secret, name, signed)):
            return None
        form, revision, limit, body = signed.split(b" ", 3)
        if form != _FORM or int(limit) != new.context_limit:
            return None
        return Window(revision.decode(), int(limit), json.loads(body))

    def _remember(self, lease: Lease, window: Window) -> None:
        if sum(len(one["content"]) for one in window.said) <= LARGEST:
            self._begun[lease] = window
        if len(self._begun) > _MOST_TURNS:
            self._begun.popitem(last=False)

    def _start_put(self, secret: bytes, lease: Lease, window: Window) -> None:
        """Copy a context; nobody waits for it, but the next who looks for it."""
        name = _name(secret, lease.owner, lease.thread_id)
        task = asyncio.create_task(self._put(secret, name, window))
        self._puts[name] = task
        task.add_done_callback(lambda done: self._puts.get(name) is done and self._puts.pop(name))

    async def _put(self, secret: bytes, name: str, window: Window) -> None:
        if self._only_sealed and not all(is_sealed_content(message_of(one).content) for one in window.said):
            return
        body = to_json(window.said).encode()
        if len(body) <= LARGEST:
            signed = b"%s %s %d %s" % (_FORM, window.revision.encode(), window.limit, body)
            await self._entries.put(name, _signature(secret, name, signed) + b" " + signed)


def _name(secret: bytes, owner: str, thread_id: str) -> str:
    """Return the name of a thread's copy, which tells nothing, and which no other store has."""
    place = f"name\0{owner}\0{thread_id}".encode(errors="surrogatepass")  # the store refuses those itself
    return hmac.digest(secret, place, "sha256").hex()


def _signature(secret: bytes, name: str, signed: bytes) -> bytes:
    return hmac.digest(secret, f"copy\0{name}\0".encode() + signed, "sha256").hex().encode()
