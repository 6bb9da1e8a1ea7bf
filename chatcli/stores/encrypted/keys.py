"""Keys, and the seal that they put on text: AES-256-GCM, bound to the place where the text stands.

What is stored reads ``enc:1:KEYID:BASE64``: the key's id (the first 8 hexadecimal digits of its
SHA-256), then in URL-safe Base64 a nonce of 12 bytes, the encrypted text and a tag of 16 bytes. The
place is the associated data: what is copied to another place can't be opened there.
"""

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from chatcli.errors import ConfigError, StoreCorrupt
from chatcli.stores.sealed import SEALED

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from chatcli.config import Secret

Place: TypeAlias = tuple[str, ...]
"""Where something stands: what it is, and the ids that tell it from all others of its kind."""

KEY_BYTES = 32
_NONCE_BYTES = 12
_MARK = re.compile("enc:[0-9]+:")
_PLAIN = "enc:0:"
_SETTING = "CHATCLI_ENCRYPTION_KEY"


class Key:
    """One key; only its id ever shows."""

    __slots__ = ("__bytes", "__cipher", "id")

    def __init__(self, data: bytes) -> None:
        import hashlib

        self.id = hashlib.sha256(data).hexdigest()[:8]
        self.__bytes = data
        self.__cipher: AESGCM | None = None

    def __repr__(self) -> str:
        return f"Key({self.id})"

    @property
    def prefix(self) -> str:
        """What everything begins with that this key has sealed."""
        return f"enc:1:{self.id}:"

    def encrypt(self, data: bytes, place: Place) -> bytes:
        """Return a fresh nonce, the encrypted data and the tag."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, data, _bound_to(place))

    def decrypt(self, data: bytes, place: Place) -> bytes:
        """Return what was encrypted for this very place, or raise `StoreCorrupt`."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher().decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound_to(place))
        except (InvalidTag, ValueError):
            raise _damaged() from None

    def digest(self, text: str) -> str:
        """Return a digest of `text` that can't be made, or checked, without the key."""
        import hmac

        return self.prefix + hmac.digest(self.__bytes, f"fingerprint {text}".encode(), "sha256").hex()

    def _cipher(self) -> "AESGCM":
        if self.__cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self.__cipher = AESGCM(self.__bytes)
        return self.__cipher


class KeyRing:
    """The keys of a store: `current` seals what is written, all of them open what is read.

    Without `current`, text is written as it is; where it looks like something sealed, it gets a
    mark that says it is not.
    """

    def __init__(self, keys: Sequence[Key] = (), *, current: Key | None = None) -> None:
        self.keys = {key.id: key for key in keys}
        self.current = current
        self._refusals = 0

    @classmethod
    def of(cls, secret: "Secret | None") -> "KeyRing":
        """Return the keys of the setting, separated by commas or line ends; the first is current.

        Raises `ConfigError`, which never holds what was given.
        """
        words = () if secret is None else secret.reveal().replace(",", " ").split()
        keys = [_key_of(word) for word in words]
        return cls(keys, current=keys[0] if keys else None)

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self.keys)})"

    def without_current(self) -> "KeyRing":
        """Return a ring with the same keys that seals nothing."""
        return KeyRing(tuple(self.keys.values()))

    def take_refusals(self) -> int:
        """Return how often a key was missing since this was last asked."""
        refusals, self._refusals = self._refusals, 0
        return refusals

    def is_current(self, text: str) -> bool:
        """Tell whether `text` is in the form in which it would be written now."""
        if self.current is None:
            return _MARK.match(text) is None or text.startswith(_PLAIN)
        return text.startswith(self.current.prefix)

    def seal(self, text: str, place: Place) -> str:
        """Return `text` as it is to be stored at `place`."""
        if self.current is None:
            return text if _MARK.match(text) is None else _PLAIN + text
        return self.current.prefix + _to_base64(self.current.encrypt(text.encode(), place))

    def open(self, text: str, place: Place) -> str:
        """Return the text that is stored at `place` as `text`.

        Raises:
            ConfigError: the key that sealed it is not in the ring.
            StoreCorrupt: it was changed, or belongs to another place.
        """
        mark = _MARK.match(text)
        if mark is None:
            return text
        if mark[0] == _PLAIN:
            return text.removeprefix(_PLAIN)
        key = self._key_for(text)
        try:
            return key.decrypt(_from_base64(text[len(key.prefix) :]), place).decode()
        except ValueError:
            raise _damaged() from None

    def seal_bytes(self, label: str, data: bytes, place: Place) -> tuple[str, bytes]:
        """Return the label and the bytes under which `data` is to be stored at `place`."""
        if self.current is None:
            return label, data
        return self.current.prefix + label, self.current.encrypt(data, (*place, label))

    def open_bytes(self, label: str, data: bytes, place: Place) -> tuple[str, bytes]:
        """Return what `seal_bytes` was given. Raises what `open` does."""
        if _MARK.match(label) is None:
            return label, data
        key = self._key_for(label)
        label = label.removeprefix(key.prefix)
        return label, key.decrypt(data, (*place, label))

    def digests(self, text: str) -> tuple[str, ...]:
        """Return all forms in which a fingerprint may be stored, first the one to write."""
        others = (key for key in self.keys.values() if key is not self.current)
        keyed = tuple(key.digest(text) for key in others)
        return (text, *keyed) if self.current is None else (self.current.digest(text), *keyed, text)

    def digest_once(self, stored: str) -> str:
        """Return a stored fingerprint as it is to be stored now; one made with a key stays."""
        if self.current is None or _MARK.match(stored):
            return stored
        return self.current.digest(stored)

    def _key_for(self, text: str) -> Key:
        sealed = SEALED.match(text)
        if sealed is None:
            raise _damaged()
        key = self.keys.get(sealed[1])
        if key is None:
            self._refusals += 1
            given = f"the keys given are {', '.join(self.keys)}" if self.keys else "no key is given"
            raise ConfigError(
                f"what is stored is encrypted with the key {sealed[1]}; {given}",
                hint=f"add that key to {_SETTING}, or to the file that {_SETTING}_FILE names",
            )
        return key


def _key_of(word: str) -> Key:
    try:
        data = _from_base64(word.translate({ord("+"): "-", ord("/"): "_"}))
    except ValueError:
        data = b""
    if len(data) != KEY_BYTES:
        raise ConfigError(
            f"{_SETTING} must be keys of {KEY_BYTES} bytes in Base64, separated by commas or line ends",
            hint="openssl rand -base64 32 makes one",
        )
    return Key(data)


def _to_base64(data: bytes) -> str:
    import base64

    return base64.urlsafe_b64encode(data).decode("ascii")


def _from_base64(text: str) -> bytes:
    """Return the bytes, or raise `ValueError`."""
    import base64

    return base64.b64decode(text, altchars=b"-_", validate=True)


def _bound_to(place: Place) -> bytes:
    """Return `place` as bytes that no other place has."""
    parts = [part.encode() for part in ("chatcli", *place)]
    return b"".join(len(part).to_bytes(4) + part for part in parts)


def _damaged() -> StoreCorrupt:
    return StoreCorrupt(
        "the store holds encrypted text that was damaged, or moved from where it belongs",
        hint="restore it from a backup",
    )
