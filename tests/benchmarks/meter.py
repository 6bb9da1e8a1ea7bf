"""A forwarder that counts what goes over a connection: bytes both ways, and how often somebody waits."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PIECE = 65536


@dataclass
class Meter:
    """What went over all connections since the last `reset`."""

    trips: int = 0
    """How often a server answered after something was asked, each connection for itself."""
    total: int = 0
    """Bytes, both ways."""

    thread: threading.Thread | None = None

    @property
    def seconds(self) -> float:
        """The CPU that counting took, which is nobody else's."""
        if self.thread is None or self.thread.ident is None:
            return 0.0
        return time.clock_gettime(time.pthread_getcpuclockid(self.thread.ident))

    def reset(self) -> None:
        """Begin again."""
        self.trips = self.total = 0

    async def forward(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Hand everything on until one side hangs up."""
        asked = False

        async def pump(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
        ) -> None:
            nonlocal asked
            while piece := await reader.read(PIECE):
                self.total += len(piece)
                self.trips += is_answer and asked
                asked = not is_answer
                writer.write(piece)
                await writer.drain()

        tasks = [
            asyncio.create_task(pump(near[0], far[1], is_answer=False)),
            asyncio.create_task(pump(far[0], near[1], is_answer=True)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in (near[1], far[1]):
            writer.close()


@contextmanager
def metered(upstream: Path | int, listen: Path | None = None) -> Iterator[tuple[Meter, int]]:
    """Forward to a socket file, or a port of this machine, on a thread; yield the meter and the port.

    With a socket file as upstream, `listen` is the one to listen on, and the port is 0.
    """
    meter, loop = Meter(), asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(upstream, Path):
            far = await asyncio.open_unix_connection(upstream)
        else:
            far = await asyncio.open_connection("127.0.0.1", upstream)
        with suppress(asyncio.CancelledError):  # it is all over
            await meter.forward((reader, writer), far)

    async def start() -> asyncio.Server:
        if listen is not None:
            return await asyncio.start_unix_server(serve, listen)
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    meter.thread = thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result()

    async def stop() -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    try:
        yield meter, 0 if listen is not None else server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
