"""Text that must not be shown: a wrapper for keys, and masks for URLs that hold a password."""

import re
from typing import NoReturn

MASK = "***"
_PLAIN_PARAMETERS = frozenset(
    {"application_name", "archive_storage_class", "connect_timeout", "db", "region", "sslmode"}
)


class Secret:
    """A text that shows as ``***`` wherever it turns up; only `reveal` gives it away.

    Two secrets are compared in constant time. It can be neither pickled nor written as JSON.
    """

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self.__text

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        from hmac import compare_digest

        return compare_digest(_bytes(self.__text), _bytes(other.__text))

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def mask_url(text: str) -> str:
    """Return a URL without what may be a password in it; any other text unchanged."""
    scheme, mark, rest = text.partition("://")
    if not mark or scheme in {"sqlite", "memory"}:
        return text
    # A password may hold any character, unquoted ones of a URL too: the last @ ends it.
    user, at, rest = rest.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        plain = colon and re.fullmatch(r"[\w.-]*", name)
        rest = (f"{name}:{MASK}" if plain else MASK) + at + rest
    address, question, query = rest.partition("?")
    return scheme + mark + address + question + "&".join(map(_mask_parameter, query.split("&")))


def _mask_parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    if name == "endpoint_url" and re.search(r"@|%40", value) is None:
        return parameter
    return parameter if name in _PLAIN_PARAMETERS or not value else name + equals + MASK


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
