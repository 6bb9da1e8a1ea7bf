"""Who acts, as it stands in the audit."""

import os
import sys

from chatcli.frozen import Frozen
from chatcli.models import utc_now
from chatcli.stores.records import AuditEntry
from chatcli.text import new_id

UNKNOWN = "unknown"


class Actor(Frozen):
    """Somebody at one of the program's doors."""

    name: str
    door: str
    """``cli`` or ``serve``."""
    origin: str
    """The machine's name, or the client's address."""

    def entry(
        self,
        owner: str,
        action: str,
        *,
        thread_id: str | None = None,
        count: int | None = None,
        outcome: str = "done",
    ) -> AuditEntry:
        """Return the entry of what this one does now."""
        return AuditEntry(
            owner,
            self.name,
            self.door,
            self.origin,
            action,
            utc_now(),
            new_id(),
            thread_id,
            count,
            outcome,
        )


def this_user() -> Actor:
    """Return the user who runs this process, by what the system knows: variables could say anything."""
    return Actor(_storable(_user_name()), "cli", machine_name())


def machine_name() -> str:
    """Return the name of this machine."""
    if sys.platform == "win32":
        import platform

        return _storable(platform.node())
    return _storable(os.uname().nodename)


def _user_name() -> str:
    if sys.platform == "win32":
        try:
            return os.getlogin()
        except OSError:
            return UNKNOWN
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number that has no name
        return str(os.getuid())


def _storable(text: str) -> str:
    """Return a name of the system, which may hold any bytes, as text."""
    return text.encode(errors="replace").decode() or UNKNOWN
