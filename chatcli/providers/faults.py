"""What went wrong at a provider, in our own words.

A provider's words may hold the key (most repeat it in "Incorrect API key provided: …") or terminal
control sequences; they are read here to tell cases apart and go no further.
"""

from collections.abc import Mapping
from typing import Any

from chatcli.errors import (
    ChatcliError,
    ContentFiltered,
    ContextTooLong,
    InvalidRequest,
    ModelNotFound,
    ProviderAuth,
    ProviderProtocol,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
)
from chatcli.frozen import Frozen

_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_CONTEXT = frozenset({"context_length_exceeded", "context_too_long", "string_above_max_length"})
_CONTEXT_WORDS = ("context length", "context_length", "context window", "maximum context", "too many tokens")
_MODEL = frozenset({"model_not_found", "model_decommissioned", "model_not_active", "invalid_model"})
_FILTER = frozenset({"content_filter", "content_policy_violation"})
_KEY_WORDS = ("api key not valid", "api_key_invalid", "incorrect api key", "invalid api key")
_OPTIONS = {
    "temperature": "--temperature",
    "max_tokens": "--max-tokens",
    "max_completion_tokens": "--max-tokens",
}


class Faults(Frozen):
    """Makes errors about one model of one provider."""

    provider: str
    model: str
    has_key: bool
    key_hint: str
    """What to do about the key."""

    def status(self, status: int, headers: Mapping[str, str], body: object) -> ChatcliError:
        """Return the error for an answer with a status that is no success."""
        if status in (401, 403):
            return self._auth(forbidden=status == 403)  # noqa: PLR2004 - HTTP
        if status in (400, 404, 413, 422):
            return self._refused(status, body)
        if status == 402 or (status == 429 and _codes(body) & _QUOTA):  # noqa: PLR2004 - HTTP
            return ProviderAuth(
                f"{self.provider} says that the account is out of quota",
                hint="check the plan and the billing of the account",
            )
        wait = retry_after(headers)
        if status == 429:  # noqa: PLR2004 - HTTP
            return ProviderRateLimited(
                f"{self.provider} takes no more requests for now", hint="try again later", retry_after=wait
            )
        if status == 408 or status >= 500:  # noqa: PLR2004 - HTTP
            return ProviderUnavailable(
                f"{self.provider} answered with an error of its own (status {status})",
                hint="try again later",
                retry_after=wait,
            )
        if 300 <= status < 400:  # noqa: PLR2004 - HTTP
            return ProviderProtocol(
                f"{self.provider} answered with a redirect (status {status}), which is not followed",
                hint="check the base URL",
            )
        return self.protocol(f"{self.provider} answered with status {status}")

    def _auth(self, *, forbidden: bool) -> ProviderAuth:
        if not self.has_key:
            message = f"{self.provider} wants an API key"
        elif forbidden:
            message = f"{self.provider} does not let this API key use {self.model}"
        else:
            message = f"{self.provider} refused the API key"
        return ProviderAuth(message, hint=self.key_hint)

    def _refused(self, status: int, body: object) -> ChatcliError:
        codes, words = _codes(body), _words(body)
        if codes & _CONTEXT or status == 413 or any(word in words for word in _CONTEXT_WORDS):  # noqa: PLR2004
            return ContextTooLong(
                f"the conversation is too long for {self.model}",
                hint="shorten the message, lower MAX_CONVERSATION_LENGTH, or begin a new thread",
            )
        if codes & _FILTER:
            return ContentFiltered(
                f"the filter of {self.provider} refused the message", hint="put it in other words"
            )
        if any(word in words for word in _KEY_WORDS):
            return self._auth(forbidden=False)
        if status == 404 or codes & _MODEL:  # noqa: PLR2004 - HTTP
            return ModelNotFound(
                f"{self.provider} does not know the model {self.model}",
                hint=f"`chatcli info --check --model {self.provider}:{self.model}` lists the models that "
                "it offers; if it can't, check the base URL",
            )
        option = _OPTIONS.get(str(_error_of(body).get("param")))
        if option:
            return InvalidRequest(f"{self.model} does not take this {option}", hint="leave it out")
        return InvalidRequest(
            f"{self.provider} refused the request (status {status})",
            hint="check the model's name, --temperature and --max-tokens",
        )

    def unreachable(self) -> ProviderUnavailable:
        """Return the error for a connection that could not be made, or was lost."""
        return ProviderUnavailable(
            f"the connection to {self.provider} failed", hint="check the network and the base URL"
        )

    def connect_timeout(self) -> ProviderTimeout:
        """Return the error for a connection that was not made in time."""
        return ProviderTimeout(
            f"{self.provider} could not be reached in time",
            hint="check the network and the base URL, or raise CHATCLI_TIMEOUT_CONNECT",
        )

    def silent(self, seconds: float) -> ProviderTimeout:
        """Return the error for a list of models that did not come in time."""
        return ProviderTimeout(
            f"{self.provider} did not answer within {seconds:g} seconds",
            hint="try again, or raise CHATCLI_TIMEOUT_FIRST_TOKEN",
        )

    def protocol(self, message: str | None = None) -> ProviderProtocol:
        """Return the error for an answer that is not what the protocol says."""
        return ProviderProtocol(
            message or f"{self.provider} sent something that is not the answer of a model",
            hint="check the base URL, or try again",
        )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of ``Retry-After``, given as a number or as a date (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text)
    return seconds if 0 <= seconds < float("inf") else None


def _seconds_until(date: str) -> float:
    from email.utils import parsedate_to_datetime

    from chatcli.models import utc_now

    try:
        return max(0.0, (parsedate_to_datetime(date) - utc_now()).total_seconds())
    except (ValueError, TypeError):
        return -1.0


def _error_of(body: object) -> dict[str, Any]:
    """Return the error object of a body; SDKs hand it over with or without its envelope."""
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, dict):
        inner = body.get("error")
        return inner if isinstance(inner, dict) else body
    return {}


def _codes(body: object) -> set[str]:
    error = _error_of(body)
    return {str(error[name]).lower() for name in ("code", "type", "status") if error.get(name) is not None}


def _words(body: object) -> str:
    return str(_error_of(body).get("message", "")).lower()
