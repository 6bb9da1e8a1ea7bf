"""`RemoteService`: the threads behind a running server, used as if their store were here."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

from chatcli.errors import ChatcliError, InvalidRequest
from chatcli.frozen import Frozen, replace
from chatcli.models import Page, Thread, Turn
from chatcli.service import ChatService, TurnRequest
from chatcli.service.remote.client import Client
from chatcli.service.remote.documents import read_hit, read_thread, read_turn
from chatcli.service.requests import check_search
from chatcli.stores.base import Expiry, Hit, Sweep, ThreadStore
from chatcli.text import check_text, check_thread_id, new_id

if TYPE_CHECKING:
    from datetime import datetime

    from chatcli.config import Settings
    from chatcli.service.turn import RunningTurn

LARGEST_PAGE = 1000
"""Threads that a server lists at a time."""


class RemoteService(ChatService):
    """The threads of one owner, over the API of the server that the settings name.

    Lists, threads, turns and errors are those of a `ChatService`. What is done to a store as a whole
    (its audit, its keys) raises `InvalidRequest`: whoever needs it runs where the store is.
    """

    def __init__(self, settings: "Settings") -> None:
        super().__init__(cast("ThreadStore", _Elsewhere()), settings)
        self._client = Client(settings)
        self._models: dict[tuple[str | None, str | None], _Models] = {}

    def when_limited(self, tell: Callable[[float], object]) -> None:
        """Call `tell` with the seconds whenever the server's limit on requests is waited for."""
        self._client.on_limit = tell

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def check_server(self) -> str:
        """Return the version of the server, if it answers and takes the token."""
        await self._client.call("GET", "/healthz")
        return await self._client.get("/info", lambda document: str(document["service"]["version"]))

    # Reading -----------------------------------------------------------------------------------

    async def thread(self, thread_id: str) -> Thread:
        """Return the thread with exactly this id."""
        return await self._client.get(_path(thread_id), read_thread, {"tail": 0})

    async def turns(self, thread_id: str, *, tail: int | None = None) -> tuple[Turn, ...]:
        """Return the turns of a thread, oldest first; with `tail` only so many of the newest."""
        return await self._client.get(_path(thread_id), _turns, {"tail": tail})

    async def turns_after(self, thread_id: str, index: int, *, limit: int | None = None) -> tuple[Turn, ...]:
        """Return the turns of a thread behind an index, oldest first, at most `limit`."""
        return await self._client.get(_path(thread_id), _turns, {"after": index, "limit": limit})

    async def news(self, thread_id: str, index: int) -> tuple[Thread, tuple[Turn, ...]]:
        """Return a thread as it is now, and its turns behind an index."""
        return await self._client.get(_path(thread_id), _both, {"after": index})

    async def turn_ended(self, thread_id: str, turn: Turn) -> None:
        """Return when a turn that somebody else runs has ended, or is gone: read its stream to the end."""
        from chatcli.service.remote.turn import follow

        await follow(self._client, f"{_path(thread_id)}/turns/{turn.id}/stream")

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
        check_search(text)
        query: dict[str, str | int | None] = {"search": text, "archived": _kinds(archived)}
        found = await self._client.get("/threads", _hits, {**query, "limit": min(limit, LARGEST_PAGE)})
        if len(found) == LARGEST_PAGE < limit:
            raise InvalidRequest(
                f"a server finds at most {LARGEST_PAGE} threads at a time", hint=f"-n {LARGEST_PAGE}"
            )
        return found

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

    async def rename(self, thread_id: str, title: str) -> Thread:
        """Give the thread a title."""
        check_text(title, source="the title")
        return await self._client.ask("PATCH", _path(thread_id), read_thread, {"title": title})

    async def fork(
        self,
        thread_id: str,
        *,
        turns: int | None = None,
        title: str | None = None,
        fork_id: str | None = None,
    ) -> Thread:
        """Return a new thread with the first `turns` turns of this one, or with all of them."""
        if title is not None:
            check_text(title, source="the title")
        # With an id of its own a request that is sent again can't make two of them.
        wishes = {"turns": turns, "title": title, "fork_id": fork_id or new_id()}
        return await self._client.ask("POST", f"{_path(thread_id)}/fork", read_thread, wishes)

    async def undo(self, thread_id: str, *, turns: int = 1, fork_id: str | None = None) -> Thread:
        """Take the last `turns` turns off the thread, and return a new one that still has them all."""
        wishes = {"turns": turns, "fork_id": fork_id or new_id()}
        return await self._client.ask("POST", f"{_path(thread_id)}/undo", read_thread, wishes)

    # Many threads ------------------------------------------------------------------------------

    async def cleanup(
        self, expiry: Expiry, *, now: "datetime", dry_run: bool = False, force_clock: bool = False
    ) -> AsyncIterator[Sweep]:
        """Let the server remove the expired threads step by step; its own clock has to be right, too."""
        from chatcli.service.remote.moving import sweep

        del now
        async for step in sweep(self._client, expiry, dry_run=dry_run, force_clock=force_clock):
            yield step

    async def export(
        self, thread_ids: Sequence[str] | None = None
    ) -> AsyncIterator[tuple[Thread, tuple[Turn, ...]]]:
        """Yield threads with their turns, one at a time: those named, or all, least recently used first."""
        from chatcli.service.remote.moving import export_all

        if thread_ids is None:
            async for whole in export_all(self._client):
                yield whole
            return
        for thread_id in thread_ids:
            thread, turns = await self.news(thread_id, 0)
            yield replace(thread, turn_count=len(turns)), turns

    async def import_thread(self, thread: Thread, turns: Sequence[Turn]) -> bool:
        """Write a whole thread as one of this owner; False if the very same one is there already."""
        async for _, outcome in self.import_threads([(thread, tuple(turns))]):
            if isinstance(outcome, ChatcliError):
                raise outcome
            return outcome
        raise self._client.stranger()

    async def import_threads(
        self, threads: Iterable[tuple[Thread, tuple[Turn, ...]]], *, dry_run: bool = False
    ) -> AsyncIterator[tuple[Thread, bool | ChatcliError]]:
        """Import threads, some at a time, and yield what became of each."""
        from chatcli.service.remote.moving import import_all

        async for outcome in import_all(self._client, threads, dry_run=dry_run):
            yield outcome

    # Models ------------------------------------------------------------------------------------

    @property
    def context_messages(self) -> int:
        """How many messages of a thread the server sends to a model, as far as it has said so."""
        for known in self._models.values():
            return known.context_messages
        return self.settings.max_conversation_length

    async def find_model(self, spec: str | None, thread: Thread | None) -> str:
        """Return the model that the server would ask."""
        return (await self._look_up(spec, thread)).model

    async def model_names(self) -> Sequence[str]:
        """Return what may stand for a model of the server."""
        return (await self._look_up("offline", None)).names

    async def models(self, spec: str | None = None) -> Sequence[str]:
        """Let the server ask the provider of `spec` (or of its settings) for the models that it offers."""
        query = {"model": spec or None, "offered": "true"}
        return await self._client.get("/models", lambda document: tuple(document["offered"]), query)

    async def _look_up(self, spec: str | None, thread: Thread | None) -> "_Models":
        """Return what the server says of a model; it is asked once."""
        key = (spec, None if thread is None else thread.model)
        if key not in self._models:
            query = {"model": spec or None, "thread_id": None if thread is None else thread.id}
            self._models[key] = await self._client.get("/models", _read_models, query)
        return self._models[key]

    # Turns -------------------------------------------------------------------------------------

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


class _Models(Frozen):
    """What a server says of its models."""

    model: str
    names: tuple[str, ...]
    context_messages: int


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


def _both(document: Any) -> tuple[Thread, tuple[Turn, ...]]:
    return read_thread(document), _turns(document)


def _read_models(document: Any) -> _Models:
    return _Models(document["model"], tuple(document["names"]), document["context_messages"])


def _page(document: Any) -> Page:
    return Page(tuple(map(read_thread, document["threads"])), document["next_cursor"])


def _hits(document: Any) -> tuple[Hit, ...]:
    return tuple(map(read_hit, document["threads"]))
