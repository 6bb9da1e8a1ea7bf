"""Messages as the chat-completions API writes them, whatever engine sends them."""

from typing import Any

from chatcli.models import Message, Role

_ROLES = {Role.HUMAN: "user", Role.AI: "assistant", Role.SYSTEM: "system", Role.TOOL: "user"}


def to_wire(message: Message) -> dict[str, Any]:
    """Return a message of the ``messages`` of a request."""
    content = message.content
    return {
        "role": _ROLES[message.role],
        "content": content if isinstance(content, str) else [dict(part) for part in content],
    }
