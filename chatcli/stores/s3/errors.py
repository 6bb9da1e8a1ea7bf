"""What the failures of S3 mean to a user, and to a conditional write."""

import re

from chatcli.errors import ChatcliError, ConfigError, StoreCorrupt, StoreDenied, StoreFull, StoreUnavailable
from chatcli.stores.s3.location import Location

_CREDENTIALS = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do with the bucket"
_DENIED = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_SKEWED = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_ELSEWHERE = frozenset({"AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect"})
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"})
_TRANSIENT = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "InternalError"})
_FORBIDDEN = frozenset({401, 403})
UNKNOWN_CLASS = frozenset({"InvalidStorageClass", "InvalidArgument"})
"""What AWS and MinIO, and what Ceph say to a write in a storage class that they do not have."""


class LostRace(Exception):
    """The object is not, or not any more, what a write said it must be."""


class Unanswered(Exception):
    """Nobody knows whether the request was carried out."""


def refusal(location: Location, status: int, code: str, *, conditional: bool) -> Exception:
    """Return what an answer that is an error stands for; `Unanswered` is worth another attempt.

    `conditional` says that it may mean no more than that the object is not what was said.
    """
    if code == "NoSuchBucket":
        return ConfigError(
            f"there is no bucket {location.bucket}",
            hint="create it, or correct S3_BUCKET_NAME or the URL of the store",
        )
    if code in _SKEWED:
        return StoreDenied(
            "the S3 server refused the request: the clock of this machine differs too much from its own",
            hint="set the clock",
        )
    if code in _ELSEWHERE or status in {301, 307}:
        return ConfigError(
            f"the bucket {location.bucket} is in another region",
            hint="set AWS_REGION to the region of the bucket",
        )
    if code in _FULL or status == 507:  # noqa: PLR2004 - Insufficient Storage
        return StoreFull(f"there is no room left in the bucket {location.bucket}", hint="free some space")
    if code == "InvalidObjectState":
        return StoreUnavailable(
            f"an object in the bucket {location.bucket} is in a storage class that can't be read at once",
            hint="restore the object with the tools of S3",
        )
    if code in _DENIED or status in _FORBIDDEN:
        return StoreDenied(
            f"the S3 server refused our credentials for the bucket {location.bucket}", hint=_CREDENTIALS
        )
    if status >= 500 or status == 429 or code in _TRANSIENT:  # noqa: PLR2004 - server errors, Too Many Requests
        return ignored(location) if code == "NotImplemented" else Unanswered()
    if conditional:
        return LostRace()
    name = code if re.fullmatch("[A-Za-z0-9.]{1,60}", code) else str(status)
    return StoreUnavailable(
        f"the S3 server refused a request for the bucket {location.bucket} ({name})",
        hint="chatcli info --check looks into it",
    )


def unreachable(location: Location) -> ChatcliError:
    """Return the error for a server that did not answer in time."""
    return StoreUnavailable(
        f"the S3 server of the bucket {location.bucket} can't be reached, or takes too long",
        hint="check the network and the endpoint, and try again",
        retry_after=5.0,
    )


def ignored(location: Location) -> ChatcliError:
    """Return the error for a server on which two writers would lose each other's turns."""
    return ConfigError(
        f"the S3 server of the bucket {location.bucket} ignores conditional writes: turns could be lost",
        hint="use a server that honours If-Match and If-None-Match, such as AWS S3, Ceph or MinIO",
    )


def unknown_class(location: Location, storage_class: str) -> ChatcliError:
    """Return the error for a server that keeps nothing in the storage class of archived threads."""
    return ConfigError(
        f"the S3 server of the bucket {location.bucket} has no storage class {storage_class}"
        " for archived threads",
        hint="change archive_storage_class in the URL of the store, or leave it out",
    )


def without_credentials(location: Location) -> ChatcliError:
    """Return the error for requests that can't be signed."""
    return ConfigError(
        f"there are no credentials for the bucket {location.bucket}",
        hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    )


def corrupt(key: str) -> StoreCorrupt:
    """Return the error for an object that is damaged, or something else."""
    return StoreCorrupt(
        f"the object {key} is damaged, or not a conversation; it was not touched",
        hint="restore it from a backup, or remove it with the tools of S3",
    )
