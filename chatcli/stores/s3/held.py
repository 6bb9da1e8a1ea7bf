"""Documents that are held: the last used ones."""

from collections import OrderedDict

from chatcli.stores.s3.document import Document

HELD_BYTES = 32 * 1024 * 1024
"""How many bytes of objects are held; what is held takes a few times as much."""


class Held:
    """Documents by the keys of their objects."""

    def __init__(self) -> None:
        self._documents: OrderedDict[str, tuple[Document, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> Document | None:
        """Return a document, if it is held."""
        return self._documents.get(key, (None,))[0]

    def use(self, key: str) -> None:
        """Hold a document for longer than those that were not used since."""
        if key in self._documents:
            self._documents.move_to_end(key)

    def put(self, key: str, document: Document, size: int) -> None:
        """Hold a document whose object has so many bytes; others may have to go for it."""
        self.forget(key)
        self._documents[key] = document, size
        self._bytes += size
        while self._bytes > HELD_BYTES and len(self._documents) > 1:
            self.forget(next(iter(self._documents)))

    def forget(self, key: str) -> None:
        """Stop holding a document."""
        self._bytes -= self._documents.pop(key, (None, 0))[1]
