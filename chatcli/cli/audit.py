"""What the store's audit tells, newest first."""

import sys
from typing import TYPE_CHECKING

from chatcli.cli import output
from chatcli.cli.terminal import visible_line
from chatcli.models import format_time

if TYPE_CHECKING:
    from chatcli.service import ChatService
    from chatcli.stores.records import AuditEntry

PAGE = 500


async def show(service: "ChatService", limit: int, *, as_json: bool) -> None:
    """Write the newest `limit` entries, or with 0 all of them, page by page."""
    terminal = output.is_terminal(sys.stdout)
    shown, before = 0, None
    while entries := await service.audit(limit=min(PAGE, limit - shown) if limit else PAGE, before=before):
        if as_json:
            for entry in entries:
                output.write_json(entry.to_json())
        else:
            lines = map(_line, entries)
            output.write_lines(map(visible_line, lines) if terminal else lines)
        shown, before = shown + len(entries), entries[-1].number
        if shown == limit:
            break
    if not shown and not as_json:
        output.flush()
        output.say("the audit is empty")


def _line(entry: "AuditEntry") -> str:
    """Return an entry as one line: when, what, to which thread or how many, by whom, through which door."""
    what = entry.thread_id or ("-" if entry.count is None else str(entry.count))
    outcome = "" if entry.outcome == "done" else f"  {entry.outcome}"
    owner = "" if entry.owner == "local" else f"  of {entry.owner}"
    who = f"{entry.actor}@{entry.origin} ({entry.door})"
    return f"{format_time(entry.at)}  {entry.action:13}  {what:36}  {who}{owner}{outcome}"
