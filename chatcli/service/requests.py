"""What a door asks of the service: one turn."""

import re
from collections.abc import Callable

from chatcli.errors import InvalidRequest
from chatcli.frozen import Frozen
from chatcli.models import Content, ModelOptions, text_of
from chatcli.text import check_text, check_thread_id

LONGEST_LANGUAGE = 64
LONGEST_SEARCH = 1000
"""Characters that go into the head of a request, however they are written there."""
HOTTEST = 2.0
MOST_TOKENS = 2**31
_LINE = re.compile("[^\x00-\x1f\x7f]+")
_KEY = re.compile("[!-~]{1,255}")


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
    """The same request with the same key on the same thread gets the stored answer, and asks nobody."""
    wait: float = 30.0
    """Seconds to wait for a thread on which another turn is running."""
    on_wait: Callable[[], None] | None = None
    """Called once if there is something to wait for."""

    def check(self) -> None:
        """Refuse what no turn could be made of, whichever door it came through.

        Raises:
            InvalidText, TooLong: a text can't be stored.
            InvalidRequest: anything else.
        """
        check_text(text_of(self.prompt), source="the message", limit=self.max_length)
        for name, value in (
            ("the system prompt", self.system),
            ("the title", self.title),
        ):
            if value is not None:
                check_text(value, source=name)
        if self.thread_id is not None:
            check_thread_id(self.thread_id)
        if self.language is not None:
            check_language(self.language)
        check_options(self.options)
        if not self.wait >= 0:
            raise InvalidRequest("the seconds to wait are a number from 0")
        if self.idempotency_key is not None:
            check_key(self.idempotency_key)
            if not self.save:
                raise InvalidRequest(
                    "with nothing stored there is no answer to give again",
                    hint="leave the idempotency key away",
                )


def check_language(language: str) -> str:
    """Return `language` if it can name one, else raise `InvalidRequest` or `InvalidText`."""
    check_text(language, source="the language")
    if len(language) > LONGEST_LANGUAGE or _LINE.fullmatch(language) is None:
        raise InvalidRequest(
            f"a language is one line of at most {LONGEST_LANGUAGE} characters", hint="for example: German"
        )
    return language


def check_options(options: ModelOptions) -> None:
    """Raise `InvalidRequest` if no provider takes such options."""
    heat, tokens = options.temperature, options.max_tokens
    if heat is not None and not 0 <= heat <= HOTTEST:
        raise InvalidRequest(f"a temperature is a number from 0 to {HOTTEST:g}")
    if tokens is not None and not 1 <= tokens <= MOST_TOKENS:
        raise InvalidRequest(f"an answer may have from 1 to {MOST_TOKENS} tokens")


def check_key(key: str) -> str:
    """Return an idempotency key if it is one, else raise `InvalidRequest`."""
    if _KEY.fullmatch(key) is None:
        raise InvalidRequest("an idempotency key is one word of at most 255 visible ASCII characters")
    return key


def check_search(text: str) -> str:
    """Return the text of a search if it can be one, else raise `InvalidRequest` or `InvalidText`."""
    if len(text) > LONGEST_SEARCH:
        raise InvalidRequest(f"a search has at most {LONGEST_SEARCH} characters")
    return check_text(text, source="the search")


def thread_of_key(key: str) -> str:
    """Return the id of the thread that a request with a key, and no thread, begins: a retry finds it again.

    Ids are their owner's, so whoever asks a server, and does not know as whom, knows it, too.
    """
    import hashlib

    digits = hashlib.sha256(f"thread of {key}".encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


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
