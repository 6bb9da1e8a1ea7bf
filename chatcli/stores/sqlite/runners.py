"""Where the blocking calls of SQLite happen: right here, or on a thread of their own.

asyncio and concurrent.futures are imported only by the threaded runner, when it is used.
"""

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")


class Runner(Protocol):
    """Runs blocking calls one after the other."""

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns."""

    async def wait(self, seconds: float) -> None:
        """Let some time pass."""

    def submit(self, call: Callable[[], object]) -> None:
        """Run `call` after all earlier ones; nobody learns how it went."""

    def expect(self) -> "asyncio.Future[None] | None":
        """Return what a coroutine waits for until a call says `tell`; None where calls are run at once."""

    def tell(self, waiting: "Iterable[asyncio.Future[None] | None]") -> None:
        """Let those who wait go on; all of them are woken at once."""

    def close(self) -> None:
        """Release what the runner holds; it can be used again all the same."""


class Inline:
    """Runs each call at once; its coroutines never suspend, so ``coroutine.send(None)`` drives them."""

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns."""
        return call()

    async def wait(self, seconds: float) -> None:
        """Block for some time."""
        time.sleep(seconds)  # noqa: ASYNC251 - blocking is what this runner is for

    def submit(self, call: Callable[[], object]) -> None:
        """Run `call`, whatever comes of it."""
        with suppress(Exception):
            call()

    def expect(self) -> None:
        """Return nothing: what is submitted is done."""

    def tell(self, waiting: "Iterable[asyncio.Future[None] | None]") -> None:
        """Do nothing: nobody waits."""

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class Threaded:
    """Runs the calls on one thread of its own.

    A call that began is always run to its end, even if the task that waits for it is cancelled.
    """

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._pid = 0

    def _threads(self) -> "ThreadPoolExecutor":
        if self._executor is None or self._pid != os.getpid():  # threads do not survive a fork
            from concurrent.futures import ThreadPoolExecutor

            self._executor = ThreadPoolExecutor(1, thread_name_prefix="chatcli-sqlite")
            self._pid = os.getpid()
        return self._executor

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns."""
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(self._threads(), call)

    async def wait(self, seconds: float) -> None:
        """Let other tasks run for some time."""
        import asyncio

        await asyncio.sleep(seconds)

    def submit(self, call: Callable[[], object]) -> None:
        """Run `call` after all earlier ones; the executor keeps its exception to itself."""
        self._threads().submit(call)

    def expect(self) -> "asyncio.Future[None]":
        """Return a future."""
        import asyncio

        return asyncio.get_running_loop().create_future()

    def tell(self, waiting: "Iterable[asyncio.Future[None] | None]") -> None:
        """Set the futures, each group that shares a loop with one call into it."""
        futures = [future for future in waiting if future is not None]
        for loop in {future.get_loop() for future in futures}:
            with suppress(RuntimeError):  # closed: nobody waits there any more
                loop.call_soon_threadsafe(_set, [future for future in futures if future.get_loop() is loop])

    def close(self) -> None:
        """End the thread once it has run what it was given."""
        if self._executor is not None and self._pid == os.getpid():
            self._executor.shutdown(wait=True)
        self._executor = None


def _set(futures: "Iterable[asyncio.Future[None]]") -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
