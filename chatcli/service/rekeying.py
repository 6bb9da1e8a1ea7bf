"""Encrypting anew: everything in a store is sealed with the key in use, or with none."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from chatcli.errors import ChatcliError, ConfigError, StoreCorrupt, ThreadBusy, ThreadNotFound
from chatcli.stores.base import ThreadStore
from chatcli.stores.encrypted import EncryptedStore
from chatcli.stores.rewriting import Rewriter

_PAGE = 200
_PASSES = 3


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What became of one thread."""

    owner: str
    thread_id: str
    changed: bool
    error: ChatcliError | None = None
    """Why it can't be read; it stays as it was."""


async def rekey(store: ThreadStore, *, decrypt: bool = False) -> AsyncIterator[Rekeyed]:
    """Seal every thread of every owner with the key in use, or with `decrypt` take all seals off.

    Each thread is one transaction, and one that needs nothing is left alone: it may be broken off
    anywhere and begun again. What is used during a pass may be missed by it: another one follows
    until there is nothing left to do; those after the first one only yield what they change.

    Raises:
        ThreadBusy: after some passes there still is: somebody writes with another key.
    """
    if not isinstance(store, EncryptedStore) or not store.ring.keys:
        raise ConfigError(
            "no key is given to encrypt with",
            hint="openssl rand -base64 32 makes one; CHATCLI_ENCRYPTION_KEY_FILE names its file",
        )
    if decrypt:
        store = EncryptedStore(store.store, store.ring.without_current())
    for number in range(_PASSES):
        settled = True
        async for done in _pass(store):
            settled = settled and not done.changed
            if number == 0 or done.changed:
                yield done
        if settled:
            return
    raise ThreadBusy(
        "threads are still being written with another key",
        hint="restart what uses the store with the new key first, then run this again",
    )


def key_ids(store: ThreadStore) -> tuple[str, ...]:
    """Return the ids of the keys of a store, first the one that is in use."""
    return tuple(store.ring.keys) if isinstance(store, EncryptedStore) else ()


async def _pass(store: EncryptedStore) -> AsyncIterator[Rekeyed]:
    unchanged = Rewriter()  # what is sealed with another key is sealed anew by the store itself
    for owner in await store.owners():
        cursor = None
        while True:
            # From the inner store: a title that can't be opened is one thread's trouble, not the list's.
            page = await store.store.threads(owner, limit=_PAGE, cursor=cursor, archived=None)
            for thread in page.threads:
                try:
                    changed = await store.rewrite(owner, thread.id, unchanged)
                except ThreadNotFound:  # deleted since the list was read
                    continue
                except (ConfigError, StoreCorrupt) as error:
                    yield Rekeyed(owner, thread.id, changed=False, error=error)
                else:
                    yield Rekeyed(owner, thread.id, changed=changed)
            cursor = page.next_cursor
            if cursor is None:
                break
