"""One error tree: a class carries its name, exit code and HTTP status, an instance its message and hint.

::

    ChatcliError
    ├── InvalidRequest                                        2
    ├── InvalidText, TooLong, ContentFiltered, StoreCorrupt   65
    ├── ThreadNotFound                                        66
    ├── ProviderUnavailable, ProviderTimeout,
    │   StoreUnavailable, ServerUnavailable                   69
    ├── NotSaved ── StoreFull                                 74
    ├── OutputClosed                                          74
    ├── ThreadBusy, ThreadArchived, RateLimited,
    │   ProviderRateLimited, ServerStopping                   75
    ├── ProviderProtocol ── ProviderIncomplete                76
    ├── ProviderAuth, StoreDenied, Unauthorized,
    │   ForbiddenOrigin                                       77
    └── ConfigError ── ModelNotFound, StoreNewerSchema        78
"""

from typing import ClassVar


class ChatcliError(Exception):
    """Base of every error that a user is meant to see.

    ``message`` says what happened, ``hint`` what to do about it; neither ever holds a key or a
    provider's own words. ``retry_after`` is in seconds. ``saved`` says, where a turn is
    concerned, whether it is stored; None where no turn is concerned.
    """

    name: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retry_after: float | None = None,
        saved: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after = retry_after
        self.saved = saved

    def to_json(self) -> dict[str, object]:
        """Return the error as an RFC 9457 problem, without the fields that are not set."""
        problem: dict[str, object] = {
            "type": f"urn:chatcli:{self.name}",
            "title": self.name.replace("-", " "),
            "status": self.http_status,
            "detail": self.message,
        }
        if self.hint is not None:
            problem["hint"] = self.hint
        if self.retry_after is not None:
            problem["retry_after"] = self.retry_after
        if self.saved is not None:
            problem["saved"] = self.saved
        return problem


class InvalidRequest(ChatcliError):
    """The request makes no sense as it stands: wrong words, wrong combination, wrong value."""

    name = "invalid-request"
    exit_code = 2
    http_status = 422


class InvalidText(ChatcliError):
    """Text that is not UTF-8, or holds a lone surrogate or a NUL."""

    name = "invalid-text"
    exit_code = 65
    http_status = 400


class TooLong(ChatcliError):
    """More text than the limit, or than the model's context, takes."""

    name = "too-long"
    exit_code = 65
    http_status = 413


class ContextTooLong(TooLong):
    """The provider says that the conversation does not fit the model's context."""

    http_status = 422


class ContentFiltered(ChatcliError):
    """The provider's filter withheld the whole answer."""

    name = "content-filtered"
    exit_code = 65
    http_status = 422


class StoreCorrupt(ChatcliError):
    """Stored data that can't be read; it is never overwritten."""

    name = "store-corrupt"
    exit_code = 65
    http_status = 500


class ThreadNotFound(ChatcliError):
    """No such thread for this owner."""

    name = "thread-not-found"
    exit_code = 66
    http_status = 404


class ProviderUnavailable(ChatcliError):
    """The provider can't be reached, answers with a server error, or hung up."""

    name = "provider-unavailable"
    exit_code = 69
    http_status = 502


class ProviderTimeout(ChatcliError):
    """The provider took longer than a deadline of the settings."""

    name = "provider-timeout"
    exit_code = 69
    http_status = 504


class StoreUnavailable(ChatcliError):
    """The store can't be reached, or is held by somebody else for too long."""

    name = "store-unavailable"
    exit_code = 69
    http_status = 503


class ServerUnavailable(ChatcliError):
    """The server whose threads are wanted can't be reached, hung up, or takes too long."""

    name = "server-unavailable"
    exit_code = 69
    http_status = 502


class NotSaved(ChatcliError):
    """The turn could not be stored; an answer that was received has been delivered."""

    name = "not-saved"
    exit_code = 74
    http_status = 507


class StoreFull(NotSaved):
    """There is no room left in the store."""

    name = "store-full"


class OutputClosed(ChatcliError):
    """Standard output is closed or can't take the answer."""

    name = "output-closed"
    exit_code = 74
    http_status = 500


class ThreadBusy(ChatcliError):
    """Another turn is running on the thread."""

    name = "thread-busy"
    exit_code = 75
    http_status = 409


class ThreadArchived(ChatcliError):
    """The thread is archived and takes no turns until it is restored."""

    name = "thread-archived"
    exit_code = 75
    http_status = 409


class RateLimited(ChatcliError):
    """More calls than the settings allow."""

    name = "rate-limited"
    exit_code = 75
    http_status = 429


class ProviderRateLimited(ChatcliError):
    """The provider takes no more calls for now."""

    name = "provider-rate-limited"
    exit_code = 75
    http_status = 429


class ProviderProtocol(ChatcliError):
    """The provider's answer is not what its protocol says."""

    name = "provider-protocol"
    exit_code = 76
    http_status = 502


class ProviderIncomplete(ProviderProtocol):
    """The provider's stream ended without saying that it was finished."""

    name = "provider-incomplete"


class ProviderAuth(ChatcliError):
    """The provider refused our key, or the account behind it."""

    name = "provider-auth"
    exit_code = 77
    http_status = 502


class StoreDenied(ChatcliError):
    """The store refused our credentials."""

    name = "store-denied"
    exit_code = 77
    http_status = 503


class ServerStopping(ChatcliError):
    """The server is about to stop and takes no more turns."""

    name = "server-stopping"
    exit_code = 75
    http_status = 503


class Unauthorized(ChatcliError):
    """The client's token is missing or wrong."""

    name = "unauthorized"
    exit_code = 77
    http_status = 401


class ForbiddenOrigin(ChatcliError):
    """A page of another origin may not call the server."""

    name = "forbidden-origin"
    exit_code = 77
    http_status = 403


class ConfigError(ChatcliError):
    """A setting that can't be used."""

    name = "config"
    exit_code = 78
    http_status = 500


class ModelNotFound(ConfigError):
    """The provider does not know the model."""

    http_status = 502


class StoreNewerSchema(ConfigError):
    """The store was written by a newer program; it is not touched."""

    name = "store-newer-schema"


def find_class(name: str, status: int | None = None) -> type[ChatcliError] | None:
    """Return the class of the errors with a name; of several the one with the HTTP status, if one has it."""
    found: type[ChatcliError] | None = None
    pending: list[type[ChatcliError]] = [ChatcliError]
    while pending:
        kind = pending.pop(0)
        if kind.name == name:
            if kind.http_status == status:
                return kind
            found = found or kind
        pending.extend(kind.__subclasses__())
    return found
