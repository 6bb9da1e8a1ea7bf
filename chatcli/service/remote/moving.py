"""Many threads at once: what a server's cleanup tells, its export, and imports in pieces."""

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from chatcli.errors import ChatcliError, InvalidRequest, InvalidText, TooLong
from chatcli.models import Thread, Turn, format_time
from chatcli.service.remote.documents import NOT_AS_EXPECTED, read_problem, read_thread
from chatcli.service.transfer import check_thread
from chatcli.service.transfer.document import read_document, write_document
from chatcli.service.transfer.lines import HEADER
from chatcli.stores.base import Expiry, Sweep

if TYPE_CHECKING:
    from chatcli.service.remote.client import Client

BATCH_BYTES = 768 * 1024
BATCH_THREADS = 200
"""How much is imported with one request, if a single thread is not more."""

Whole = tuple[Thread, tuple[Turn, ...]]


async def sweep(
    client: "Client", expiry: Expiry, *, dry_run: bool, force_clock: bool
) -> AsyncIterator[Sweep]:
    """Yield the steps of a server's cleanup; an end without a receipt is an error."""
    wishes = {
        "before": format_time(expiry.before),
        "archived_only": expiry.archived_only,
        "keep": expiry.keep,
        "dry_run": dry_run,
        "force_clock": force_clock,
    }
    async with aclosing(client.lines("POST", "/cleanup", wishes)) as lines:
        async for line in lines:
            document = _read(client, line)
            if document.get("type") == "receipt":
                return
            try:
                step = Sweep(
                    document["scanned"],
                    tuple(map(read_thread, document["removed"])),
                    tuple(document["busy"]),
                    None,
                    document["bytes_freed"],
                )
            except NOT_AS_EXPECTED:
                raise client.stranger() from None
            yield step
    raise client.lost()


async def export_all(client: "Client") -> AsyncIterator[Whole]:
    """Yield all threads of a server, least recently used first; an end without a checksum is an error."""
    async with aclosing(client.lines("GET", "/export")) as lines:
        async for line in lines:
            document = _read(client, line)
            if HEADER in document:
                continue
            if "sha256" in document:
                return
            try:
                found = read_document(document)
            except NOT_AS_EXPECTED:
                raise client.stranger() from None
            yield found
    raise client.lost()


async def import_all(
    client: "Client", threads: Iterable[Whole], *, dry_run: bool
) -> AsyncIterator[tuple[Thread, bool | ChatcliError]]:
    """Send threads to a server, and yield what became of each, in their order."""
    for batch in _batches(threads):
        sound = [it for it in batch if not isinstance(it.outcome, ChatcliError)]
        await _send(client, sound, dry_run=dry_run)
        for it in batch:
            yield it.thread, it.outcome


class _Cargo:
    """One thread on its way."""

    def __init__(self, thread: Thread, turns: Sequence[Turn]) -> None:
        self.thread = thread
        self.outcome: bool | ChatcliError = False
        self.data = ""
        try:
            check_thread(thread, turns)
        except (InvalidRequest, InvalidText) as error:
            self.outcome = error
            return
        self.data = json.dumps(write_document(thread, tuple(turns)))


def _batches(threads: Iterable[Whole]) -> Iterator[list[_Cargo]]:
    batch: list[_Cargo] = []
    size = 0
    for thread, turns in threads:
        it = _Cargo(thread, turns)
        if batch and (size + len(it.data) > BATCH_BYTES or len(batch) >= BATCH_THREADS):
            yield batch
            batch, size = [], 0
        batch.append(it)
        size += len(it.data)
    if batch:
        yield batch


async def _send(client: "Client", batch: Sequence[_Cargo], *, dry_run: bool) -> None:
    """Import some threads with one request; if that is refused as a whole, one by one."""
    if not batch:
        return
    threads = ",".join(it.data for it in batch)
    body = f'{{"dry_run": {json.dumps(dry_run)}, "threads": [{threads}]}}'.encode()
    try:
        outcomes = await client.ask("POST", "/import", _outcomes, body)
    except (InvalidRequest, InvalidText, TooLong) as error:
        if len(batch) == 1:
            batch[0].outcome = error
            return
        for it in batch:
            await _send(client, [it], dry_run=dry_run)
        return
    for it, outcome in zip(batch, outcomes, strict=True):
        it.outcome = outcome


def _outcomes(document: Any) -> list[bool | ChatcliError]:
    return [_outcome(one) for one in document["threads"]]


def _outcome(document: Any) -> bool | ChatcliError:
    if document["action"] is not None:
        return bool(document["action"] == "import")
    error = read_problem(document["error"])
    if error is None:
        raise ValueError
    return error


def _read(client: "Client", line: bytes) -> dict[str, Any]:
    """Return the document of a line; the error that ends a stream is raised."""
    try:
        document: dict[str, Any] = json.loads(line)
        error = read_problem(document["error"]) if document.get("type") == "error" else None
    except NOT_AS_EXPECTED:
        raise client.stranger() from None
    if error is not None:
        raise error
    return document
