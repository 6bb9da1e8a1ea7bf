"""What `RemoteService` makes of servers that cut, err, wait or talk nonsense."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from chatcli.config import load_settings
from chatcli.errors import (
    InvalidText,
    ProviderProtocol,
    RateLimited,
    ServerUnavailable,
    StoreUnavailable,
    TooLong,
)
from chatcli.models import Message, Role, Thread, Turn, TurnState, utc_now
from chatcli.service.remote import RemoteService
from chatcli.service.remote import moving as moving_module
from chatcli.service.transfer.lines import Export
from chatcli.stores.base import Expiry

NOW = utc_now()
LONG_AGO = Expiry(NOW - timedelta(days=9))


def talk(name: str, text: str = "hello") -> tuple[Thread, tuple[Turn, ...]]:
    """Return a thread with one turn."""
    said = (Message(f"{name}.0", Role.HUMAN, text, NOW),)
    turn = Turn(f"{name}-1", 1, TurnState.COMPLETE, NOW, "offline", said, NOW)
    return Thread(name, "local", name, "English", 1, NOW, NOW, model="offline"), (turn,)


def answer(body: str, *, status: int = 200, missing: int = 0, more: str = "") -> bytes:
    """Return a response; `missing` bytes of it never come."""
    data = body.encode()
    return f"HTTP/1.1 {status} x\r\ncontent-length: {len(data) + missing}\r\n{more}\r\n".encode() + data


def problem(name: str, status: int, **more: object) -> dict[str, object]:
    """Return a problem document."""
    return {"type": f"urn:chatcli:{name}", "title": "", "status": status, "detail": "so it is", **more}


@asynccontextmanager
async def server_of(*answers: bytes) -> AsyncIterator[tuple[RemoteService, list[bytes]]]:
    """Give these answers, one to a request, and hang up; yield a service, and the requests."""
    requests: list[bytes] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while left:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            lengths = [line for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(lengths[0].split()[1])) if lengths else b""
            requests.append(head + body)
            writer.write(left.pop(0))
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        service = RemoteService(load_settings({"CHATCLI_SERVER": url}))
        try:
            yield service, requests
        finally:
            await service.aclose()


def export_of(*names: str) -> str:
    """Return an export of threads."""
    sheet = Export()
    return "".join([sheet.header(), *(sheet.line(*talk(name)) for name in names), sheet.trailer()])


async def names_of(service: RemoteService) -> list[str]:
    """Return the ids of all threads of an export."""
    return [thread.id async for thread, _ in service.export()]


async def test_an_export_is_read_to_its_checksum() -> None:
    """All threads come, however large a line is."""
    sheet = Export()
    large = talk("large", "x" * 3_000_000)
    body = sheet.header() + sheet.line(*talk("tea")) + sheet.line(*large) + sheet.trailer()
    async with server_of(answer(body)) as (service, _):
        found = [(thread, turns) async for thread, turns in service.export()]
    assert found == [talk("tea"), large]


@pytest.mark.parametrize("cut", [lambda text: text.rpartition("\n{")[0] + "\n", lambda text: text[:-20]])
@pytest.mark.parametrize("missing", [0, 5])
async def test_an_export_that_was_cut_is_an_error(cut: Callable[[str], str], missing: int) -> None:
    """Between two lines or within one, with the connection or without: never a shorter export."""
    async with server_of(answer(cut(export_of("tea", "milk")), missing=missing)) as (service, _):
        with pytest.raises(ServerUnavailable):
            await names_of(service)


async def test_an_error_ends_a_stream() -> None:
    """What went wrong on the server in the middle is raised as what it is."""
    error = json.dumps({"type": "error", "error": problem("store-unavailable", 503)}) + "\n"
    head = export_of("tea").rpartition('{"threads"')[0]
    async with server_of(answer(head + error), answer(error)) as (service, _):
        with pytest.raises(StoreUnavailable):
            await names_of(service)
        with pytest.raises(StoreUnavailable):
            await anext(service.cleanup(LONG_AGO, now=NOW))


async def test_a_cleanup_without_a_receipt_was_cut() -> None:
    """Nobody takes a part for the whole."""
    step = {"type": "step", "scanned": 1, "removed": [], "busy": ["tea"], "bytes_freed": 0}
    async with server_of(answer(json.dumps(step) + "\n")) as (service, _):
        steps = service.cleanup(LONG_AGO, now=NOW)
        assert (await anext(steps)).busy == ("tea",)
        with pytest.raises(ServerUnavailable):
            await anext(steps)


@pytest.mark.parametrize("body", ["{}\n", "[]\n", "nonsense\n", '{"type": "step"}\n', '{"type": "error"}\n'])
async def test_lines_of_a_stranger_are_no_threads(body: str) -> None:
    """76: it is no server of ours."""
    async with server_of(answer(body), answer(body)) as (service, _):
        with pytest.raises(ProviderProtocol):
            await names_of(service)
        with pytest.raises(ProviderProtocol):
            await anext(service.cleanup(LONG_AGO, now=NOW))


async def test_a_limit_is_waited_for() -> None:
    """The request is sent again when the server said so; a wait of hours is not begun."""
    soon, late = (
        answer(json.dumps(problem("rate-limited", 429, retry_after=seconds)), status=429)
        for seconds in (1, 3600)
    )
    listed = answer(json.dumps({"threads": [], "next_cursor": None}))
    told: list[float] = []
    async with server_of(soon, listed, late) as (service, requests):
        service.when_limited(told.append)
        assert (await service.threads(limit=1)).threads == ()
        with pytest.raises(RateLimited):
            await service.threads(limit=1)
    assert (told, len(requests)) == ([1.0], 3)


def bodies(requests: Sequence[bytes]) -> list[list[str]]:
    """Return the ids of the threads of each import."""
    documents = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in requests]
    return [[thread["id"] for thread in document["threads"]] for document in documents]


def imported(*names: str) -> bytes:
    """Return the answer to an import."""
    return answer(json.dumps({"threads": [{"thread_id": it, "action": "import"} for it in names]}))


async def test_imports_are_sent_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as fit; one that is unsound is not sent; one that is too large for the server is told."""
    monkeypatch.setattr(moving_module, "BATCH_THREADS", 2)
    monkeypatch.setattr(moving_module, "BATCH_BYTES", 10_000)
    threads = [talk("a"), talk("b", "\0"), talk("c"), talk("d"), talk("e", "x" * 9_000)]
    refused = answer(json.dumps(problem("too-long", 413)), status=413)
    async with server_of(imported("a"), imported("c", "d"), refused) as (service, requests):
        found = {thread.id: outcome async for thread, outcome in service.import_threads(threads)}
    assert bodies(requests) == [["a"], ["c", "d"], ["e"]]
    assert [found[name] for name in "acd"] == [True, True, True]
    assert isinstance(found["b"], InvalidText)
    assert isinstance(found["e"], TooLong)


async def test_a_refused_batch_is_sent_one_by_one() -> None:
    """One thread that the server can't read keeps no other out."""
    refused = answer(json.dumps(problem("invalid-text", 400)), status=400)
    async with server_of(refused, imported("a"), refused) as (service, requests):
        found = [outcome async for _, outcome in service.import_threads([talk("a"), talk("b")])]
    assert bodies(requests) == [["a", "b"], ["a"], ["b"]]
    assert found[0] is True
    assert isinstance(found[1], InvalidText)
