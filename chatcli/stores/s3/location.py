"""Where a store is: the parts of its URL, and the keys of its objects."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from chatcli.errors import ConfigError, InvalidRequest
from chatcli.models import LOCAL_OWNER
from chatcli.text import THREAD_ID, check_thread_id

_FORM = "use s3://BUCKET/PREFIX, with ?endpoint_url=URL for a server other than AWS"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[^\x00-\x1f\x7f/\\]+")
_ENDPOINT = re.compile(r"https?://[^\s@?#]+")
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_INSTANT = ("STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR")
"""Storage classes that can be read at once; objects in others would have to be thawed first."""
_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Place:
    """The key of an object, and whose thread it is."""

    key: str
    owner: str
    id: str
    named: bool = False
    """Whether another thread may have the same id but for case."""


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket, a prefix in it, and what the URL says of how to get there."""

    bucket: str
    prefix: str
    """Empty, or ending in a slash."""
    endpoint_url: str | None = None
    region: str | None = None
    archive_storage_class: str | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def folder(self, kind: str, owner: str) -> str:
        """Return what the keys of an owner's objects of a kind begin with."""
        if owner == LOCAL_OWNER:
            return f"{self.prefix}{kind}/"
        if not is_name(owner):
            raise InvalidRequest("that is not the name of an owner")
        return f"{self.prefix}{kind}/{owner}/"

    def thread(self, owner: str, thread_id: str) -> str:
        """Return the key of a thread's object."""
        return f"{self.folder('chat_histories', owner)}{check_thread_id(thread_id)}{_SUFFIX}"

    def checkpoints(self, owner: str, thread_id: str) -> str:
        """Return the key of the checkpoints of a thread that is no conversation."""
        return f"{self.folder('chat_checkpoints', owner)}{check_thread_id(thread_id)}{_SUFFIX}"

    def mark(self, owner: str, thread_id: str, etag: str | None) -> str:
        """Return the key of the empty object that marks a thread as archived while its object has this ETag.

        Without one it is the key that earlier versions marked it with.
        """
        of_version = "" if etag is None else f"~{etag}"
        return f"{self.folder('chat_archived', owner)}{check_thread_id(thread_id)}{of_version}"

    def name(self, owner: str, thread_id: str) -> str:
        """Return the key of the object that holds the one spelling of an id."""
        return f"{self.folder('chat_names', owner)}{check_thread_id(thread_id).lower()}"

    @property
    def proof(self) -> str:
        """The key on which the server is put to the proof."""
        return f"{self.prefix}chat_proof"


def id_of(key: str, folder: str) -> str | None:
    """Return the thread id in the key of an object; None if the object is not one of ours."""
    name = key.removeprefix(folder)
    thread_id = name.removesuffix(_SUFFIX)
    return thread_id if name != thread_id and is_name(thread_id) else None


def is_name(text: str) -> bool:
    """Tell whether a text may be part of a key: the grammar of thread ids holds for owners too."""
    return THREAD_ID.fullmatch(text) is not None and ".." not in text


def location_of(url: str) -> Location:
    """Return the parts of ``s3://BUCKET/PREFIX?…``, or raise `ConfigError`, which repeats none of them."""
    address, _, query = url.partition("://")[2].partition("?")
    bucket, _, path = address.partition("/")
    if _BUCKET.fullmatch(bucket) is None:
        raise ConfigError("the S3 URL names no bucket", hint=_FORM)
    segments = [unquote(segment) for segment in path.strip("/").split("/")] if path.strip("/") else []
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise ConfigError("the prefix in the S3 URL can't be used", hint=_FORM)
    options = dict(parse_qsl(query, keep_blank_values=True))
    endpoint_url = options.pop("endpoint_url", None)
    region = options.pop("region", None)
    storage_class = options.pop("archive_storage_class", None)
    if options:
        raise ConfigError(
            "the S3 URL has an option that is not known",
            hint="there are endpoint_url, region and archive_storage_class",
        )
    if endpoint_url is not None and _ENDPOINT.fullmatch(endpoint_url) is None:
        raise ConfigError("endpoint_url in the S3 URL must be http://… or https://… without a user name")
    if region is not None and _WORD.fullmatch(region) is None:
        raise ConfigError("region in the S3 URL must be the name of a region")
    if storage_class is not None and storage_class not in _INSTANT:
        raise ConfigError(
            "archive_storage_class in the S3 URL must be one that can be read at once",
            hint=f"use one of {', '.join(_INSTANT)}",
        )
    prefix = "".join(f"{segment}/" for segment in segments)
    return Location(bucket, prefix, endpoint_url, region, storage_class)
