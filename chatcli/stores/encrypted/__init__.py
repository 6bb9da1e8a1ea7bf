"""Encryption at rest: a store around any other one, that seals what people and models say."""

from typing import TYPE_CHECKING

from chatcli.stores.encrypted.keys import KeyRing
from chatcli.stores.encrypted.store import EncryptedStore

if TYPE_CHECKING:
    from chatcli.config import Secret
    from chatcli.stores.base import ThreadStore

__all__ = ["EncryptedStore", "KeyRing", "protect"]


def protect(store: "ThreadStore", key: "Secret | None") -> EncryptedStore:
    """Return `store` with everything in it sealed by `key`, the setting ``CHATCLI_ENCRYPTION_KEY``.

    Without a key, text is kept as it is, and what a key has sealed is an error instead of garbage.
    Raises `ConfigError` where `key` is none.
    """
    return EncryptedStore(store, KeyRing.of(key))
