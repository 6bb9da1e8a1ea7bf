"""Keys for the tests of encryption, and stores that are protected by them."""

from chatcli.config import Secret
from chatcli.stores.base import ThreadStore
from chatcli.stores.encrypted import EncryptedStore, KeyRing, protect

KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
OTHER_KEY = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="


def protected(store: ThreadStore, *keys: str) -> EncryptedStore:
    """Return the store with these keys, the first in use; none is a store without encryption."""
    return protect(store, Secret(",".join(keys)) if keys else None)


def key_id(key: str) -> str:
    """Return the id by which errors and stored text name a key."""
    (found,) = KeyRing.of(Secret(key)).keys
    return found
