"""How encrypted text is told from plain text, by stores that could not open it."""

import re
from collections.abc import Collection
from typing import Any

from chatcli.stores.records import Blob

SEALED = re.compile("enc:1:([0-9a-f]{8}):")
"""What encrypted text begins with, and the type of an encrypted value; it holds the id of the key."""

ENCRYPTED = "encrypted"
"""Type of the one part that stands for encrypted parts, and name of the one member of a sealed object."""


def foreign(keys: Collection[str]) -> str:
    """Return a pattern of stored text and parts that these keys may not open, for Python and PostgreSQL."""
    known = "|".join(["0:", *(f"1:{key}:" for key in keys)])
    return f'^(\\[\\{{"type":"{ENCRYPTED}","data":")?enc:(?!{known})[0-9]+:'


def is_sealed_text(text: object) -> bool:
    """Tell whether a text is encrypted."""
    return isinstance(text, str) and SEALED.match(text) is not None


def is_sealed_content(content: Any) -> bool:
    """Tell whether the content of a message is encrypted: text, or one part that stands for all."""
    if isinstance(content, str):
        return is_sealed_text(content)
    return (
        len(content) == 1 and content[0].get("type") == ENCRYPTED and is_sealed_text(content[0].get("data"))
    )


def is_sealed_object(text: str) -> bool:
    """Tell whether a JSON object is encrypted: it has one member then."""
    return text.startswith(f'{{"{ENCRYPTED}": "enc:1:')


def is_sealed_blob(blob: Blob) -> bool:
    """Tell whether a serialized value is encrypted."""
    return SEALED.match(blob.type) is not None
