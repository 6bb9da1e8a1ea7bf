"""The providers that a service keeps: used again, and closed when they are pushed out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chatcli.config import load_settings
from chatcli.events import Finished
from chatcli.models import TurnState
from chatcli.providers.wire import connection
from chatcli.service import ChatService, TurnRequest
from chatcli.service.providers import MOST_PROVIDERS
from chatcli.stores import open_store
from tests.unit.test_wire_connections import CHUNKED, DONE, Server, framed, running

_STOP = b'data: {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\n'
WHOLE = CHUNKED + framed(_STOP, DONE) + b"0\r\n\r\n"
ASKED = TurnRequest(prompt="hi", max_length=100, model="openai:m")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no idle connection be closed for its age."""
    monkeypatch.setattr(connection, "IDLE_SECONDS", 3600.0)


@asynccontextmanager
async def service_at(port: int) -> AsyncIterator[ChatService]:
    """Yield a service whose models are all on one server."""
    environ = {
        "HOME": "/nowhere",
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
    }
    service = ChatService(open_store("memory://"), load_settings(environ=environ))
    yield service
    await service.aclose()


async def answer(service: ChatService) -> None:
    async with service.turn(ASKED) as turn:
        assert (await turn.end()).state is TurnState.COMPLETE


async def name_others(service: ChatService, count: int) -> None:
    """Have the service keep as many other providers."""
    for number in range(count):
        await service.find_model(f"openai:other-{number}", None)


async def test_the_last_used_ones_are_kept() -> None:
    """A provider that is used again and again keeps its connection, whatever others ask for."""
    server = Server(*[WHOLE] * 4)
    async with running(server) as port, service_at(port) as service:
        for _ in range(2):
            await answer(service)
            await name_others(service.for_owner("bob"), MOST_PROVIDERS - 1)
            await answer(service)
        assert server.connections == 1


async def test_one_that_is_pushed_out_is_closed() -> None:
    """Its idle connections end at once; if it is asked again, it makes new ones."""
    server = Server(*[WHOLE] * 2)
    async with running(server) as port, service_at(port) as service:
        await answer(service)
        await name_others(service, MOST_PROVIDERS)
        async with asyncio.timeout(30):
            await server.ended.wait()
        await answer(service)
        assert server.connections == 2


async def test_one_that_is_pushed_out_in_use_is_closed_afterwards() -> None:
    """The turn that uses it comes to its end, and takes the connection with it."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await go_on.wait()
        writer.write(WHOLE)
        await writer.drain()

    server = Server(slow)
    async with running(server) as port, service_at(port) as service:
        async with service.turn(ASKED) as turn:
            await asked.wait()
            await name_others(service, MOST_PROVIDERS)
            assert not server.ended.is_set()
            go_on.set()
            last = await turn.end()
            assert isinstance(last, Finished)
            assert last.state is TurnState.COMPLETE
            assert not server.ended.is_set()
        async with asyncio.timeout(30):
            await server.ended.wait()
