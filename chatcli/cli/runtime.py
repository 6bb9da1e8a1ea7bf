"""Running a command's coroutine: settings in, service opened, and closed again whatever happens."""

import gc
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from chatcli.errors import InvalidRequest
from chatcli.frozen import replace

if TYPE_CHECKING:
    from chatcli.config import Settings
    from chatcli.service import ChatService

Result = TypeVar("Result")

_NEVER_WAITING = ("sqlite:", "memory:")
"""Stores whose coroutines never wait if nobody else shares the process: no event loop is needed."""


def load(
    *,
    store: str | None = None,
    server: str | None = None,
    env_file: Path | None = None,
    model: str | None = None,
) -> "Settings":
    """Return the settings in force, with the flags of the command over everything else.

    A store that is named on the command line counts over a server that is named elsewhere.
    """
    from chatcli.config import load_settings

    if store is not None and server is not None:
        raise InvalidRequest("--store and --server exclude each other")
    settings = load_settings(
        {
            "CHATCLI_STORE": store,
            "CHATCLI_SERVER": server,
            "CHATCLI_ENV_FILE": None if env_file is None else str(env_file),
            "CHATCLI_MODEL": model,
        }
    )
    return settings if store is None or settings.server is None else replace(settings, server=None)


def never_waits(settings: "Settings") -> bool:
    """Say whether the store of `settings` is of this machine, and answers without an event loop."""
    return settings.server is None and settings.store.startswith(_NEVER_WAITING)


def run(
    task: Callable[["ChatService"], Coroutine[Any, Any, Result]],
    settings: "Settings",
    *,
    loop: bool = False,
    threaded: bool = False,
) -> Result:
    """Open the service, run `task` on it, close it, and return what `task` returned.

    Where the store never waits, the coroutine is driven by hand: importing asyncio would cost more
    than the whole command. `loop` asks for an event loop all the same, `threaded` for a store on a
    thread of its own.
    """
    from chatcli.service import open_service

    # What was imported so far stays until the end: the collector need not look at it again.
    gc.freeze()
    gc.enable()
    service = open_service(settings, threaded=threaded)
    if settings.server is not None:
        _tell_of_limits(service)

    async def work() -> Result:
        try:
            return await task(service)
        finally:
            await service.aclose()

    if not loop and never_waits(settings):
        return _drive(work())
    import asyncio

    return asyncio.run(work())


def is_interrupt(error: BaseException) -> bool:
    """Say whether `error` is Ctrl-C, of which an event loop makes a cancellation."""
    loops = sys.modules.get("asyncio")
    return isinstance(
        error, KeyboardInterrupt if loops is None else (KeyboardInterrupt, loops.CancelledError)
    )


def _tell_of_limits(service: "ChatService") -> None:
    """Say on a terminal when the server's limit on requests makes the command wait."""
    from chatcli.cli import output
    from chatcli.service.remote import RemoteService

    if isinstance(service, RemoteService) and output.is_terminal(sys.stderr):
        service.when_limited(
            lambda seconds: output.note(f"waiting {seconds:g} s: the server takes no more requests for now")
        )


def _drive(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a store that was said never to wait did")
