"""The requests to the bucket: read, listed, written on a condition, removed."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

from chatcli.stores.s3.client import Client
from chatcli.stores.s3.errors import (
    LostRace,
    Unanswered,
    corrupt,
    ignored,
    refusal,
    unreachable,
)
from chatcli.stores.s3.location import Location
from chatcli.stores.s3.requests import NotModified, Requests, read_body

T = TypeVar("T")

UNCHANGED: Final = "unchanged"
"""What `Bucket.get` returns where the object is still the one that the caller holds."""

BATCH = 1000
"""Keys that one request lists or removes."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_STALE = "0" * 32
_METADATA = "chatcli"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object: its bytes (none after a HEAD), and what the server says of it."""

    body: bytes
    etag: str
    modified: datetime
    summary: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a list."""

    key: str
    etag: str
    modified: datetime
    size: int


class Bucket(Requests):
    """A bucket on a server that was put to the proof before the first write.

    ETags are sent without quotes, as AWS documents it and Ceph requires it, and with quotes once a
    server has shown that it wants them. `patience` is how many seconds a call may take in all.
    """

    def __init__(self, location: Location, client: Client, *, patience: float) -> None:
        super().__init__(location, client, patience=patience)
        self._quote = ""
        self._proven = False
        self._proving = asyncio.Lock()

    # Reading -----------------------------------------------------------------------------------

    async def get(self, key: str, *, held: str | None = None) -> "Stored | str | None":
        """Return the object, None if there is none, or `UNCHANGED` if its ETag is still `held`."""
        condition = {} if held is None else {"IfNoneMatch": self._condition(held)}

        async def read() -> Stored:
            answer = await self.request("get_object", Key=key, **condition)
            body = await read_body(answer["Body"])
            if len(body) != answer["ContentLength"]:
                raise Unanswered
            return _stored(answer, body)

        try:
            return await self.patiently(read)
        except NotModified:
            return UNCHANGED
        except LostRace:
            return None

    async def head(self, key: str) -> Stored | None:
        """Return what the server says of an object, without its bytes."""

        async def read() -> Stored:
            return _stored(await self.request("head_object", Key=key), b"")

        try:
            return await self.patiently(read)
        except LostRace:
            return None

    async def pages(self, folder: str, *, prefix: str = "", after: str = "") -> AsyncGenerator[list[Listed]]:
        """Yield the objects right in a folder in the order of their keys, up to `BATCH` at a time."""
        async for answer in self._lists(folder + prefix, after=after):
            yield [
                Listed(
                    item["Key"], item["ETag"].strip('"'), item["LastModified"].astimezone(UTC), item["Size"]
                )
                for item in answer.get("Contents", ())
            ]

    async def folders(self, folder: str) -> AsyncGenerator[str]:
        """Yield the names of the folders in a folder."""
        async for answer in self._lists(folder):
            for item in answer.get("CommonPrefixes", ()):
                yield item["Prefix"].removeprefix(folder).removesuffix("/")

    async def _lists(self, prefix: str, *, after: str = "") -> AsyncGenerator[dict[str, Any]]:
        options = {"Prefix": prefix, "Delimiter": "/", "MaxKeys": BATCH}
        if after:
            options["StartAfter"] = after
        while True:
            answer = await self.patiently(partial(self.request, "list_objects_v2", **options))
            if "IsTruncated" not in answer:  # an answer of something that is no S3 server
                raise corrupt(prefix)
            yield answer
            if not answer["IsTruncated"]:
                return
            options["ContinuationToken"] = answer["NextContinuationToken"]

    async def keeps_versions(self) -> bool:
        """Tell whether what is overwritten or removed stays in the bucket as an old version."""
        answer = await self.patiently(partial(self.request, "get_bucket_versioning"))
        return bool(answer.get("Status") == "Enabled")

    # Writing -----------------------------------------------------------------------------------

    async def put(
        self,
        key: str,
        body: bytes,
        *,
        etag: str | None,
        summary: str | None = None,
        storage_class: str | None = None,
    ) -> str:
        """Write an object that must be the one with `etag`, or not be there; return its new ETag.

        It is tried once: only the caller knows whether a second time would be the same again.

        Raises:
            LostRace: the object is not what it must be; nothing was written.
            Unanswered: it may have been written.
        """
        await self.prove()
        return await self._put(key, body, etag=etag, summary=summary, storage_class=storage_class)

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; it does not matter if some are not there. Nobody else may write to them."""
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            if len(batch) == 1:
                await self.patiently(partial(self.request, "delete_object", Key=batch[0]))
                continue
            objects = {"Objects": [{"Key": key} for key in batch], "Quiet": True}
            answer = await self.patiently(partial(self.request, "delete_objects", Delete=objects))
            for failure in answer.get("Errors", ()):
                error = refusal(self.location, 500, str(failure.get("Code", "")), conditional=False)
                raise unreachable(self.location) if isinstance(error, Unanswered) else error

    async def prove(self) -> None:
        """Raise `ConfigError` unless the server refuses writes whose condition does not hold."""
        if self._proven:
            return
        async with self._proving:
            if not self._proven:
                await self.patiently(self._prove)
                self._proven = True

    async def _prove(self) -> None:
        proof = self.location.proof

        async def is_refused(etag: str | None, attempts: int) -> bool:
            for _ in range(attempts):
                try:
                    await self._put(proof, b"", etag=etag)
                except LostRace:
                    return True
            return False

        # The object may be missing once, and that is all.
        refused = await asyncio.gather(is_refused(None, 2), is_refused(_STALE, 1))
        if not all(refused):
            raise ignored(self.location)

    async def _put(
        self,
        key: str,
        body: bytes,
        *,
        etag: str | None,
        summary: str | None = None,
        storage_class: str | None = None,
    ) -> str:
        options: dict[str, Any] = {"Key": key, "Body": body, "ContentType": "application/json"}
        options |= {"IfNoneMatch": "*"} if etag is None else {"IfMatch": self._condition(etag)}
        if summary is not None:
            options["Metadata"] = {_METADATA: summary}
        if storage_class is not None:
            options["StorageClass"] = storage_class
        answer = await self.request("put_object", **options)
        if not answer.get("ETag"):
            raise Unanswered
        return str(answer["ETag"]).strip('"')

    def change_quotes(self) -> None:
        """Send ETags in the other form: the server refused the right one in this form."""
        self._quote = "" if self._quote else '"'

    def _condition(self, etag: str) -> str:
        return f"{self._quote}{etag}{self._quote}"


def _stored(answer: dict[str, Any], body: bytes) -> Stored:
    summary = answer.get("Metadata", {}).get(_METADATA)
    return Stored(body, str(answer["ETag"]).strip('"'), answer["LastModified"].astimezone(UTC), summary)
