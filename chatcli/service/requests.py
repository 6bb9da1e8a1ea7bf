"""What a door asks of the service: one turn."""

from collections.abc import Callable

from chatcli.frozen import Frozen
from chatcli.models import Content, ModelOptions, text_of
from chatcli.text import check_text, check_thread_id


class TurnRequest(Frozen, kw_only=True):
    """One prompt for one thread, and how it is to be answered."""

    prompt: Content
    max_length: int
    """Characters that the text of the prompt may have."""
    thread_id: str | None = None
    """The exact id of the thread; it is made if it is missing. None makes a new one."""
    must_exist: bool = False
    """Raise `ThreadNotFound` instead of making the thread."""
    model: str | None = None
    """``PROVIDER:MODEL`` or an alias; None takes the setting, then what the thread used last."""
    system: str | None = None
    """A new system prompt for the thread, from this turn on."""
    language: str | None = None
    title: str | None = None
    options: ModelOptions = ModelOptions()
    save: bool = True
    """Without it nothing is stored: the thread, where there is one, is only read."""
    idempotency_key: str | None = None
    wait: float = 30.0
    """Seconds to wait for a thread on which another turn is running."""
    on_wait: Callable[[], None] | None = None
    """Called once if there is something to wait for."""

    def check(self) -> None:
        """Refuse texts and ids that nothing could be done with. Raises `InvalidText` and its like."""
        check_text(text_of(self.prompt), source="the message", limit=self.max_length)
        for name, value in (
            ("the system prompt", self.system),
            ("the title", self.title),
            ("the language", self.language),
        ):
            if value is not None:
                check_text(value, source=name)
        if self.thread_id is not None:
            check_thread_id(self.thread_id)


def fingerprint(request: TurnRequest, model: str) -> str:
    """Return a digest of everything that makes `request` what it is, but not of when it comes."""
    import hashlib
    import json

    options = request.options
    parts = [
        request.prompt,
        model,
        request.system,
        request.language,
        options.temperature,
        options.max_tokens,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
