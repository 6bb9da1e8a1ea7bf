"""A turn that a server runs: its stream read back into events, and what became of it after a hang-up."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from chatcli.errors import ChatcliError, NotSaved, ProviderIncomplete, ThreadBusy, ThreadNotFound
from chatcli.events import Event, Failed, Finished, Started, Token
from chatcli.models import Role, Turn, TurnState
from chatcli.providers.wire.framing import ConnectionFailed
from chatcli.service.remote.documents import NOT_AS_EXPECTED, read_event, read_turn
from chatcli.service.requests import thread_of_key
from chatcli.text import new_id

if TYPE_CHECKING:
    from chatcli.providers.wire.connection import Response
    from chatcli.service import ChatService, TurnRequest
    from chatcli.service.remote.client import Client

LONGEST_LINE = 64 * 1024 * 1024
LONGEST_WAIT = 3600.0
"""Seconds that a server waits for a thread."""
_LOOKS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Pauses, in seconds, between a hang-up and the looks at what the server made of it: it takes a second."""


class RemoteTurn:
    """One turn over HTTP; it is asked for when somebody reads it."""

    def __init__(self, client: "Client", service: "ChatService", request: "TurnRequest") -> None:
        self._client = client
        self._service = service
        self._request = request
        # Made here, so that it is known what to look at if the answer is stopped before it begins.
        key = request.idempotency_key
        self._thread_id = request.thread_id or (new_id() if key is None else thread_of_key(key))
        self._started: Started | None = None
        self._sending: asyncio.Future[Response] | None = None
        self._response: Response | None = None
        self._stopped = False
        self._pieces: list[str] = []
        """What came of the answer."""
        self._last: Finished | Failed | None = None

    def stop(self) -> None:
        """End the answer here: hang up. The reader still gets the last event."""
        self._stopped = True
        if self._sending is not None:
            self._sending.cancel()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection, unless the stream came to its end."""
        if self._response is not None:
            self._response.close()

    async def __aiter__(self) -> AsyncIterator[Event]:
        deadline = asyncio.get_running_loop().time() + self._client.timeouts.total + self._request.wait
        try:
            async with asyncio.timeout_at(deadline):
                self._response = await self._begin()
            async for event in self._read(self._response, deadline):
                if isinstance(event, Started):
                    self._started = event
                elif isinstance(event, Token):
                    self._pieces.append(event.content)
                elif isinstance(event, Finished | Failed):
                    self._last = event
                yield event
                if self._last is not None:
                    return
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        except ConnectionFailed:
            pass
        except TimeoutError:
            raise self._client.too_slow(self._client.timeouts.total) from None
        self._last = await self._end() if self._stopped else self._cut()
        yield self._last

    async def save_again(self) -> Finished | Failed:
        """Let the server store the end of a turn that is over, if it has not; return it as it is now."""
        last = self._last
        assert last is not None  # noqa: S101 - only a turn that is over is saved again
        path = f"/threads/{last.thread_id}/turns/{last.turn_id}/save"
        try:
            turn = await self._client.ask("PUT", path, read_turn)
        except ChatcliError as error:
            return Failed(last.thread_id, last.turn_id, last.state, False, error)
        if turn.answer.startswith("".join(self._pieces)):
            return Finished(last.thread_id, turn.id, turn.state, True, turn.finish_reason, turn.usage)
        less = NotSaved(
            f"the server kept the turn as {turn.state.value}, without all of the answer that is here",
            hint="it is on the screen, and in /copy",
        )
        return Failed(last.thread_id, last.turn_id, turn.state, False, less)

    # Asking ------------------------------------------------------------------------------------

    async def _begin(self) -> "Response":
        """Ask for the turn; if its thread is in use, say so, and ask again with the wish to wait."""
        try:
            return await self._ask("reject")
        except ThreadBusy:
            if self._request.wait <= 0:
                raise
        if self._request.on_wait is not None:
            self._request.on_wait()
        return await self._ask("wait")

    async def _ask(self, on_busy: str) -> "Response":
        body = json.dumps({**self._compose(), "on_busy": on_busy}).encode()
        key = self._request.idempotency_key
        headers = {} if key is None else {"idempotency-key": key}
        self._sending = asyncio.ensure_future(self._client.send("POST", "/chat/stream", body, headers))
        if self._stopped:
            self._sending.cancel()
        return await self._sending

    def _compose(self) -> dict[str, object]:
        request = self._request
        wishes = {
            "input": request.prompt if isinstance(request.prompt, str) else list(request.prompt),
            "thread_id": self._thread_id,
            "must_exist": request.must_exist or None,
            "model": request.model or None,
            "system": request.system,
            "language": request.language,
            "title": request.title,
            "temperature": request.options.temperature,
            "max_tokens": request.options.max_tokens,
            "save": None if request.save else False,
            "wait": min(request.wait, LONGEST_WAIT),
            "hold": False,
        }
        return {name: value for name, value in wishes.items() if value is not None}

    # Reading -----------------------------------------------------------------------------------

    async def _read(self, response: "Response", deadline: float) -> AsyncIterator[Event]:
        """Yield the events of a stream; one that ends without its last raises `ConnectionFailed`."""
        held = b""
        while True:
            async with asyncio.timeout_at(deadline):
                data = await response.read()
            if not data:
                raise ConnectionFailed
            *lines, held = (held + data).split(b"\n")
            if len(held) > LONGEST_LINE:
                raise self._client.stranger()
            for line in lines:
                try:
                    event = read_event(json.loads(line))
                except NOT_AS_EXPECTED:
                    raise self._client.stranger() from None
                if isinstance(event, Finished | Failed):
                    response.release()
                if event is not None:
                    yield event

    # Ends --------------------------------------------------------------------------------------

    def _cut(self) -> Failed:
        """Return the end of a stream whose connection was lost."""
        started = self._started
        if started is None:
            raise self._client.lost()
        error = ProviderIncomplete(
            "the connection to the server was lost before the answer was complete",
            hint=f"chatcli history {started.thread_id} --tail 1 shows what the server kept"
            if self._request.save
            else None,
        )
        return Failed(started.thread_id, started.turn_id, TurnState.INTERRUPTED, False, error)

    async def _end(self) -> Finished:
        """Return how the server ended the turn after the hang-up."""
        turn_id = "" if self._started is None else self._started.turn_id
        for pause in _LOOKS if self._request.save else ():
            await asyncio.sleep(pause)
            try:
                last = await self._service.turns(self._thread_id, tail=1)
            except ChatcliError:  # nothing was begun, or not yet
                continue
            for turn in last:
                if self._is_ours(turn) and turn.state is not TurnState.RUNNING:
                    return Finished(
                        self._thread_id, turn.id, turn.state, True, turn.finish_reason, turn.usage
                    )
        return Finished(self._thread_id, turn_id, TurnState.INTERRUPTED, False)

    def _is_ours(self, turn: Turn) -> bool:
        if self._started is not None:
            return turn.id == self._started.turn_id
        prompts = [message.content for message in turn.messages if message.role is Role.HUMAN]
        return turn.state in {TurnState.RUNNING, TurnState.INTERRUPTED} and prompts == [self._request.prompt]


async def follow(client: "Client", path: str) -> None:
    """Read the stream of a turn until it has ended; a turn of another process is looked at again."""
    while True:
        try:
            async with await client.send("GET", path) as response:
                while await response.read():
                    pass
                response.release()
        except ThreadBusy as error:
            await asyncio.sleep(max(1.0, error.retry_after or 0.0))
        except ThreadNotFound:
            return
        except ConnectionFailed:
            raise client.lost() from None
        else:
            return
