"""Changes that can be told from one another in what is stored."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatcli.errors import ChatcliError
from chatcli.stores.s3.errors import LostRace

if TYPE_CHECKING:
    from chatcli.models import Thread
    from chatcli.stores.s3.document import Document

KEPT = 8
"""Changes whose ids an object keeps: so many others may follow before one looks for its own."""


@dataclass(slots=True)
class Write:
    """One change of an object, signed with its id: made twice, it would undo what came in between."""

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    doubtful: bool = False
    """Whether it may have been made, or may still be, although the server did not say so."""

    @contextmanager
    def sent(self) -> Iterator[None]:
        """Send it within the block."""
        before, self.doubtful = self.doubtful, True
        try:
            yield
        except (LostRace, ChatcliError):  # this attempt came to nothing
            self.doubtful = before
            raise
        self.doubtful = False

    def is_made(self, before: "Document", after: "Document") -> bool:
        """Tell whether an object shows the change, which was to be made to what it was before."""
        if self.id in after.writes:
            self.doubtful = False
            return True
        self.settle(before.thread, before.etag, after.thread, after.etag)
        return False

    def settle(
        self, before: "Thread | None", etag: str | None, after: "Thread | None", etag_after: str | None
    ) -> None:
        """Take in that an object does not show the change, which was sent on the condition of `etag`.

        If it is another version of the same thread the change was not made, and won't be any more.
        """
        if etag != etag_after and before is not None and after is not None:
            self.doubtful = self.doubtful and before.created_at != after.created_at
