"""What a turn that is over still holds, for as long as somebody keeps it."""

import gc
import tracemalloc
from collections.abc import Iterator

import pytest

from chatcli.config import load_settings
from chatcli.service import ChatService, TurnRequest
from chatcli.service.turn import RunningTurn
from chatcli.stores import open_store

MEBIBYTE = 1024 * 1024


@pytest.fixture
def _traced() -> Iterator[None]:
    """Count what is allocated."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("_traced")
async def test_a_turn_that_is_over_lets_go_of_its_prompt() -> None:
    """Servers keep ended turns for a while, and a prompt may hold megabytes of pictures."""
    service = ChatService(open_store("memory://"), load_settings(environ={"HOME": "/nowhere"}))
    kept = [await say(service, 1)]  # imports what it needs
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    kept.append(await say(service, 8 * MEBIBYTE))
    gc.collect()
    assert tracemalloc.get_traced_memory()[0] - before < 4 * MEBIBYTE
    await service.aclose()


async def say(service: ChatService, size: int) -> RunningTurn:
    """Return a turn that is over, on a picture of so many bytes that is not stored."""
    picture: dict[str, object] = {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{'A' * size}"},
    }
    request = TurnRequest(prompt=(picture,), max_length=100, model="offline", save=False)
    async with service.turn(request) as turn:
        await turn.end()
    return turn
