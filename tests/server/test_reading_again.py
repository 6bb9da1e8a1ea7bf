"""Turns that are read again, where they ran and from the store: nothing is lost, and nothing told twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chatcli.events import Finished, Reasoning, Started, Token
from chatcli.models import TurnState
from chatcli.server.live import KEPT_EVENTS, LiveTurn
from chatcli.server.wire import Lines
from tests.fake_provider import FakeProvider
from tests.server.peer import Document, Server, serving


@pytest.fixture
def other(server: Server, tmp_path: Path, fake_provider: FakeProvider) -> Iterator[Server]:
    """Another process on the store of `server`: a second worker, or the same one after a restart."""
    store = f"sqlite:///{server.program.database}"
    with serving(tmp_path / "other", "--store", store, provider=fake_provider) as found:
        yield found


def read(server: Server, turn: Document, after: int = 0, **options: Any) -> httpx.Response:
    """Read a turn from a number on."""
    path = f"/threads/{turn['thread_id']}/turns/{turn['metadata']['turn_id']}/stream"
    return server.call("GET", path, params={"after": after}, **options)


def told(answer: httpx.Response) -> list[tuple[int, str]]:
    """Return the number and the text of each line."""
    assert answer.status_code == 200, answer.text
    lines = [json.loads(line) for line in answer.text.splitlines()]
    return [(line["seq"], line.get("content", line["type"])) for line in lines]


def test_a_number_is_good_or_refused_wherever_a_turn_is_read(server: Server, other: Server) -> None:
    """Those of a stream where it ran, those of the store everywhere; any other is 410, with a hint."""
    turn, *_ = lines = server.lines(thread_id="anywhere", model="openai:tokens-5")
    events = [*enumerate((line.get("content", line["type"]) for line in lines), 1)]
    for after in range(len(events)):
        assert told(read(server, turn, after)) == events[after:]
    stored = [(1, "metadata"), (-2, "w0 w1 w2 w3 w4 "), (-1, "metadata")]
    assert told(read(other, turn)) == stored
    assert told(read(other, turn, 1)) == stored[1:]
    for server_of_either in (server, other):
        assert told(read(server_of_either, turn, -2)) == stored[2:]
        assert read(server_of_either, turn, -1).status_code == 204
    assert read(server, turn, len(events)).status_code == 204
    for after in range(2, len(events) + 1):
        refused = read(other, turn, after)
        assert (refused.status_code, "from its beginning" in refused.json()["hint"]) == (410, True)


def test_a_reader_of_events_reconnects_anywhere(server: Server, other: Server) -> None:
    """With the id of its last event it gets the rest, or a status at which it does not come again."""
    turn, *_ = server.lines(thread_id="reconnects", model="openai:tokens-2")
    events = {"Accept": "text/event-stream"}
    whole = read(other, turn, headers=events).text
    assert [line for line in whole.splitlines() if line.startswith("id:")] == ["id: 1", "id: -2", "id: -1"]
    for last, status in {"-2": 200, "-1": 204, "3": 410, "-3": 400, "+1": 400, "": 400}.items():
        answer = read(other, turn, headers={**events, "Last-Event-ID": last})
        assert answer.status_code == status, last
    rest = read(server, turn, headers={**events, "Last-Event-ID": "3"}).text
    assert [line for line in rest.splitlines() if line.startswith("id:")] == ["id: 4"]


def test_a_stored_answer_has_numbers_of_its_own(server: Server) -> None:
    """One that is given again for its key is told as the store tells it, and spoils no numbers."""
    key = {"Idempotency-Key": "numbers"}
    turn, *_ = lines = server.lines(thread_id="numbers", model="openai:tokens-3", headers=key)
    again = server.lines(thread_id="numbers", model="openai:tokens-3", headers=key)
    assert [line.get("seq") for line in lines] == [None] * 5
    assert [line.get("seq") for line in again] == [None, -2, None]
    assert told(read(server, turn, 3)) == [(4, "w2 "), (5, "metadata")]
    assert told(read(server, turn, -2)) == [(-1, "metadata")]


async def test_a_line_that_is_not_the_next_event_says_its_number() -> None:
    """Who joins a long turn late can count the lines all the same."""
    live = LiveTurn(keep_running=True)
    live.take_in([Started("t", "u", "offline", True, "title"), Reasoning("t", "hm")])
    live.take_in([Token("t", "x")] * (KEPT_EVENTS + 5))
    live.end(Finished("t", "u", TurnState.COMPLETE, True))
    form, number, reader = Lines("-"), 0, live.attach()
    events = await reader.take()
    lines = b"".join(form.write(events[at : at + 2]) for at in range(0, len(events), 2)).splitlines()
    for line, (wanted, _) in zip(lines, events, strict=True):
        number = json.loads(line).get("seq", number + 1)
        assert number == wanted
    assert sum(b'"seq"' in line for line in lines) == 1
