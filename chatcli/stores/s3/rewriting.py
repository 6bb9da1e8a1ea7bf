"""What a thread holds, changed where it stands: its texts, and the values of its checkpoints."""

from typing import Any

from chatcli.models import Message
from chatcli.stores.base import CheckpointKey
from chatcli.stores.rewriting import Rewriter
from chatcli.stores.s3 import messages as forms
from chatcli.stores.s3.document import Document
from chatcli.stores.s3.entry import Entry

_IN_CONTENT = frozenset({"tool_calls", "tool_call_id"})
"""Fields of other programs that are read as parts of the content, and are written as such."""


def rewrite(document: Document, rewriter: Rewriter) -> bool:
    """Change what a thread holds as `rewriter` says; tell whether anything changed."""
    thread = rewriter.thread(document.found())
    entries = [_entry(entry, index, rewriter) for index, entry in enumerate(document.entries, 1)]
    shelf = document.shelf.rewritten(CheckpointKey(document.owner, document.id), rewriter)
    is_same = (thread, entries, shelf) == (document.thread, document.entries, document.shelf)
    document.thread, document.entries, document.shelf = thread, entries, shelf
    document.changed = document.changed or not is_same
    return not is_same


def _entry(entry: Entry, index: int, rewriter: Rewriter) -> Entry:
    before = entry.view(index, live=True)
    after = rewriter.turn(before)
    fingerprint = entry.record.get("fingerprint")
    changed: dict[str, Any] = {}
    if fingerprint is not None and (now := rewriter.fingerprint(fingerprint)) != fingerprint:
        changed["fingerprint"] = now
    if after.error != before.error:
        changed["error"] = None if after.error is None else after.error.to_json()
    if not changed and after.messages == before.messages:
        return entry
    messages = [
        data if now == was else _message(data, now)
        for data, was, now in zip(entry.messages, before.messages, after.messages, strict=True)
    ]
    return Entry({**entry.record, **changed}, messages)


def _message(data: dict[str, Any], now: Message) -> dict[str, Any]:
    kept = {name: value for name, value in data.items() if name not in _IN_CONTENT}
    return {**kept, "content": forms.to_json(now)["content"]}
