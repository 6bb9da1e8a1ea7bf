"""ChatGPT's ``conversations.json``: trees of messages, each branch of which can be a thread."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO

from chatcli.errors import InvalidText
from chatcli.models import Content, Role
from chatcli.service.transfer.foreign import Exchange, content_of, make_thread, text_part
from chatcli.service.transfer.reading import STRANGE, Unfit, Whole

_ROLES = {"user": Role.HUMAN, "assistant": Role.AI, "system": Role.SYSTEM, "tool": Role.TOOL}
_UNKNOWN_MODEL = "chatgpt"
_HIDDEN = "is_visually_hidden_from_conversation"


def read_chatgpt(file: BinaryIO, *, branches: bool) -> Iterator[Callable[[], Whole]]:
    """Yield what reads conversations, least recently used first: the branch shown last, or all `branches`.

    The whole file is one JSON array, so it is in memory once.
    """
    try:
        conversations = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise InvalidText("the file is no JSON", hint="it may be cut short; export it again") from error
    if not isinstance(conversations, list) or not all(isinstance(item, dict) for item in conversations):
        raise InvalidText(
            "the file is not ChatGPT's conversations.json", hint="that is a list of conversations"
        )
    for conversation in sorted(conversations, key=_last_use):
        count = _count_leaves(conversation) if branches else 1
        for number in (*range(2, count + 1), 1):
            yield partial(_read, conversation, number)


def _last_use(conversation: Mapping[str, Any]) -> float:
    moment = conversation.get("update_time")
    return moment if isinstance(moment, int | float) else 0.0


def _count_leaves(conversation: Mapping[str, Any]) -> int:
    try:
        return len(_leaves(conversation))
    except STRANGE:
        return 1


def _read(conversation: Mapping[str, Any], number: int) -> Whole:
    try:
        return _thread(conversation, _leaves(conversation)[number - 1], number)
    except STRANGE:
        name = conversation.get("id") or conversation.get("conversation_id") or "without an id"
        raise Unfit(str(name), f"conversation {name} makes no sense", hint="export it again") from None


def _thread(conversation: Mapping[str, Any], leaf: str | None, number: int) -> Whole:
    """Return the branch that ends with `leaf`; all but the first have the number in id and title."""
    created_at = _moment(conversation.get("create_time"), datetime.fromtimestamp(0, UTC))
    exchanges: list[Exchange] = []
    for node_id, message in _branch(conversation["mapping"], leaf):
        _add(exchanges, node_id, message, created_at)
    thread_id, title = (
        str(conversation.get("conversation_id") or conversation["id"]),
        conversation.get("title"),
    )
    return make_thread(
        thread_id if number == 1 else f"{thread_id}.{number}",
        title if number == 1 else f"{title} (branch {number})",
        exchanges,
        created_at=created_at,
        updated_at=_moment(conversation.get("update_time"), created_at),
        archived=conversation.get("is_archived") is True,
    )


def _leaves(conversation: Mapping[str, Any]) -> Sequence[str | None]:
    """Return where branches end: first the one that was shown last, then the others, oldest first."""
    nodes = conversation["mapping"]
    parents = {node.get("parent") for node in nodes.values()}

    def moment(key: str) -> float:
        return (nodes[key].get("message") or {}).get("create_time") or 0.0

    leaves = sorted((key for key in nodes if key not in parents), key=moment)
    shown = conversation.get("current_node") or (leaves[-1] if leaves else None)
    return [shown, *(leaf for leaf in leaves if leaf != shown)]


def _branch(nodes: Mapping[str, Any], place: str | None) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """Return the messages from the root of the tree to the node at `place`."""
    found = []
    seen = set()
    while place is not None and place in nodes and place not in seen:
        seen.add(place)
        message = nodes[place].get("message")
        if message is not None:
            found.append((str(message.get("id") or place), message))
        place = nodes[place].get("parent")
    return found[::-1]


def _add(exchanges: list[Exchange], node_id: str, message: Mapping[str, Any], fallback: datetime) -> None:
    """Add a message to the turn that it belongs to; each prompt begins one."""
    role = _ROLES[message["author"]["role"]]
    metadata = message.get("metadata") or {}
    content = _content(message["content"])
    if not content or metadata.get(_HIDDEN):
        return
    moment = _moment(message.get("create_time"), exchanges[-1].moment if exchanges else fallback)
    if not exchanges or (role is Role.HUMAN and any(kind is Role.HUMAN for kind, _, _ in exchanges[-1].said)):
        exchanges.append(Exchange(node_id, moment, _UNKNOWN_MODEL))
    turn = exchanges[-1]
    turn.said.append((role, content, moment))
    if role is Role.AI:
        turn.finished_at = moment
        if slug := metadata.get("model_slug"):
            turn.model = f"openai:{slug}"
        if (metadata.get("finish_details") or {}).get("type") == "max_tokens":
            turn.finish_reason = "length"


def _content(content: Mapping[str, Any]) -> Content:
    """Return what a message says; pictures live in other files of the export and are only mentioned."""
    kind = content["content_type"]
    if kind in {"text", "multimodal_text"}:
        parts = [part for part in map(_part_text, content.get("parts") or ()) if part]
        return content_of([text_part("\n\n".join(parts))]) if parts else ""
    if kind == "code":
        return content_of([text_part(f"```{_language(content)}\n{content.get('text', '')}\n```")])
    text = content.get("text") or content.get("result") or content.get("content") or ""
    return content_of([text_part(text)]) if isinstance(text, str) and text else ""


def _part_text(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        if isinstance(part.get("text"), str):
            return str(part["text"])
        if "image" in str(part.get("content_type")):
            return "[image]"
    return "[attachment]"


def _language(content: Mapping[str, Any]) -> str:
    language = str(content.get("language") or "")
    return "" if language == "unknown" else language


def _moment(seconds: object, fallback: datetime) -> datetime:
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0:
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, ValueError, OSError):
            return fallback
    return fallback
