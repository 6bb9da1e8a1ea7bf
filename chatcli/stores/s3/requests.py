"""One request to the server: made, answered or not, and what its answer means."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from chatcli.stores.s3.client import Client
from chatcli.stores.s3.clock import ServerClock
from chatcli.stores.s3.errors import (
    UNKNOWN_CLASS,
    Unanswered,
    refusal,
    unknown_class,
    unreachable,
    without_credentials,
)
from chatcli.stores.s3.location import Location

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class NotModified(Exception):
    """The object is the one that the caller holds."""


class Requests:
    """Makes requests about one bucket. `patience` is how many seconds a call may take in all."""

    def __init__(self, location: Location, client: Client, *, patience: float) -> None:
        self.location = location
        self.clock = ServerClock()
        self.patience = patience
        self._client = client

    async def open(self) -> None:
        """Open the client, which is done once."""
        await self._client.get()

    async def patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat what does no harm twice until it is answered, but not for longer than `patience`."""
        pause = _FIRST_PAUSE
        async with within(self):
            while True:
                try:
                    return await attempt()
                except Unanswered:
                    await rest(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)

    async def request(self, operation: str, **options: Any) -> Any:
        """Make one request; an error is one of ours, `LostRace` or `Unanswered`, and quotes nothing."""
        from botocore.exceptions import (  # type: ignore[import-untyped]
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            PartialCredentialsError,
        )
        from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

        client = await self._client.get()
        sent = time.monotonic()
        failure: Exception
        try:
            answer = await getattr(client, operation)(Bucket=self.location.bucket, **options)
        except ClientError as error:
            told = error.response.get("ResponseMetadata", {})
            self._observe(told, sent)
            status = int(told.get("HTTPStatusCode", 0))
            if status == 304:  # noqa: PLR2004 - Not Modified
                failure = NotModified()
            else:
                code = str(error.response.get("Error", {}).get("Code", ""))
                failure = self._refusal(operation, options, status, code)
        except (NoCredentialsError, PartialCredentialsError):
            failure = without_credentials(self.location)
        except (BotoCoreError, ResponseParserError, OSError):
            failure = Unanswered()
        else:
            self._observe(answer["ResponseMetadata"], sent)
            return answer
        raise failure  # out here, so that it has no context: that may quote what was sent

    def _refusal(self, operation: str, options: dict[str, Any], status: int, code: str) -> Exception:
        storage_class = options.get("StorageClass")
        if storage_class is not None and code in UNKNOWN_CLASS:
            return unknown_class(self.location, storage_class)
        meant = _MEANT.get(operation, frozenset())
        return refusal(self.location, status, code, conditional=code in meant or status in meant)

    def _observe(self, told: dict[str, Any], sent: float) -> None:
        date = told.get("HTTPHeaders", {}).get("date")
        self.clock.observe(date, sent=sent, received=time.monotonic())


_MEANT: dict[str, frozenset[int | str]] = {
    "get_object": frozenset({"NoSuchKey"}),
    "head_object": frozenset({404}),
    "put_object": frozenset({404, 409, 412}),
}
"""By which codes, or status, an answer says what an object is not; a 404 of any web server says nothing."""


@asynccontextmanager
async def within(bucket: Requests) -> AsyncIterator[None]:
    """Raise `StoreUnavailable` if the block takes longer than the bucket's patience."""
    await bucket.open()  # that takes the time of an import, whose fault it is not
    late = False
    try:
        async with asyncio.timeout(bucket.patience):
            yield
    except TimeoutError:
        late = True
    if late:
        raise unreachable(bucket.location)


async def rest(seconds: float) -> None:
    """Sleep for half of `seconds` to all of it, so that those who wait do not march in step."""
    await asyncio.sleep(seconds * random.uniform(0.5, 1))  # noqa: S311 - no secret


async def read_body(stream: Any) -> bytes:
    """Return the bytes of an object; a stream that broke off raises `Unanswered`."""
    import aiohttp
    from botocore.exceptions import BotoCoreError

    try:
        async with stream:
            body: bytes = await stream.read()
            return body
    except (aiohttp.ClientError, BotoCoreError, OSError):
        pass
    raise Unanswered
