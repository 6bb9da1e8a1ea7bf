"""`RemoteService`: the threads behind a running server, used as if their store were here."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

from chatcli.errors import ChatcliError, InvalidRequest
from chatcli.models import Page, Thread, Turn
from chatcli.service import ChatService, TurnRequest
from chatcli.service.remote.client import Client
from chatcli.service.remote.documents import read_hit, read_thread, read_turn
from chatcli.stores.base import Hit, ThreadStore
from chatcli.text import check_text, check_thread_id

if TYPE_CHECKING:
    from chatcli.config import Settings
    from chatcli.service.turn import RunningTurn

LARGEST_PAGE = 100
"""Threads that a server lists at a time."""


class RemoteService(ChatService):
    """The threads of one owner, over the API of the server that the settings name.

    Lists, threads, turns and errors are those of a `ChatService`. What the API does not offer raises
    `InvalidRequest`: whoever needs it runs where the store is.
    """

    def __init__(self, settings: "Settings") -> None:
        super().__init__(cast("ThreadStore", _Elsewhere()), settings)
        self._client = Client(settings)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    # Reading -----------------------------------------------------------------------------------

    async def thread(self, thread_id: str) -> Thread:
        """Return the thread with exactly this id."""
        return await self._client.get(_path(thread_id), read_thread, {"tail": 0})

    async def turns(self, thread_id: str, *, tail: int | None = None) -> tuple[Turn, ...]:
        """Return the turns of a thread, oldest first; with `tail` only so many of the newest."""
        return await self._client.get(_path(thread_id), _turns, {"tail": tail})

    async def threads(
        self,
        *,
        limit: int,
        cursor: str | None = None,
        archived: bool | None = False,
        prefix: str = "",
    ) -> Page:
        """Return threads, last used first; never more than `LARGEST_PAGE`."""
        query: dict[str, str | int | None] = {
            "limit": min(limit, LARGEST_PAGE),
            "cursor": cursor,
            "archived": _kinds(archived),
            "prefix": prefix or None,
        }
        return await self._client.get("/threads", _page, query)

    async def search(self, text: str, *, limit: int, archived: bool | None = False) -> tuple[Hit, ...]:
        """Return the threads in which all words of `text` stand, best match first."""
        check_text(text, source="the search")
        if limit > LARGEST_PAGE:
            raise InvalidRequest(
                f"a server finds at most {LARGEST_PAGE} threads at a time", hint=f"-n {LARGEST_PAGE}"
            )
        query: dict[str, str | int | None] = {"search": text, "limit": limit, "archived": _kinds(archived)}
        return await self._client.get("/threads", _hits, query)

    async def check_store(self) -> tuple[str, ...]:
        """Ask the server whether its store answers."""
        await self._client.call("GET", "/readyz")
        return ()

    # Changing ----------------------------------------------------------------------------------

    async def clear(self, thread_id: str) -> Thread:
        """Remove the turns and keep the thread. Raises `ThreadBusy`."""
        await self._client.call("PUT", f"{_path(thread_id)}/clear")
        return await self.thread(thread_id)

    async def delete(self, thread_id: str) -> None:
        """Remove the thread with all that belongs to it. Raises `ThreadBusy`."""
        await self._client.call("DELETE", _path(thread_id))

    async def archive(self, thread_id: str, *, archived: bool = True) -> Thread:
        """Set the archived mark, or take it off. Raises `ThreadBusy`."""
        await self._client.call("PUT" if archived else "DELETE", f"{_path(thread_id)}/archive")
        return await self.thread(thread_id)

    # Turns -------------------------------------------------------------------------------------

    def check_model(self, spec: str | None, thread: Thread | None) -> None:
        """Raise `InvalidRequest`: the server alone knows which models it has."""
        del spec, thread
        raise _refusal()

    async def models(self, spec: str | None = None) -> Sequence[str]:
        """Raise `InvalidRequest`: the API does not tell."""
        del spec
        raise _refusal()

    @asynccontextmanager
    async def turn(self, request: TurnRequest) -> AsyncIterator["RunningTurn"]:
        """Let the server run a turn; leaving the block hangs up, and the server ends it if it still runs.

        The request is sent when the first event is asked for, and what is wrong with it is raised there.
        """
        from chatcli.service.remote.turn import RemoteTurn

        request.check()
        running = RemoteTurn(self._client, self, request)
        try:
            # Whoever shows a turn reads it and stops it, and that is what it can do.
            yield cast("RunningTurn", running)
        finally:
            running.hang_up()


class _Elsewhere:
    """Stands where a store would be; whatever is wanted of it has to be done where the store is."""

    def __getattr__(self, name: str) -> NoReturn:
        raise _refusal()


def _refusal() -> ChatcliError:
    return InvalidRequest(
        "a server does not offer this", hint="run it where the store is, without --server or CHATCLI_SERVER"
    )


def _path(thread_id: str) -> str:
    return f"/threads/{check_thread_id(thread_id)}"


def _kinds(archived: bool | None) -> str:  # noqa: FBT001 - the value of a query
    return "all" if archived is None else "true" if archived else "false"


def _turns(document: Any) -> tuple[Turn, ...]:
    return tuple(map(read_turn, document["turns"]))


def _page(document: Any) -> Page:
    return Page(tuple(map(read_thread, document["threads"])), document["next_cursor"])


def _hits(document: Any) -> tuple[Hit, ...]:
    return tuple(map(read_hit, document["threads"]))
