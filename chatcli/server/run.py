"""Running: sockets, one process or several, signals, and an end in good order."""

import asyncio
import contextlib
import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from chatcli.errors import ConfigError
from chatcli.server import logs
from chatcli.server.api import Api, check_options, open_api
from chatcli.server.app import create_app
from chatcli.server.connection import connection_class
from chatcli.server.options import ServeOptions

if TYPE_CHECKING:
    from chatcli.config import Settings

logger = logs.get_logger(__name__)

_BACKLOG = 2048
_SEND_BUFFER = 256 * 1024
_LAST_SECONDS = 5
"""Seconds that streams get to send their last lines, after the last turn has ended."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_THRESHOLDS = (50_000, 20, 50)
_SWITCH_SECONDS = 0.0005
"""How long the store's thread waits at most for a busy event loop, after each step of a statement."""


def serve(settings: "Settings", options: ServeOptions) -> int:
    """Serve until a signal comes, and return the exit code.

    Raises `ConfigError` for what can't be served, and what is wrong with the store.
    """
    check_options(settings, options)
    with listen(options) as listener:
        if options.workers > 1:
            from chatcli.server.workers import supervise

            return supervise(settings, options, listener)
        run(settings, options, listener)
    return 0


def run(settings: "Settings", options: ServeOptions, listener: socket.socket) -> None:
    """Serve on `listener` in this process until a signal comes."""
    logs.start(settings)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, options, listener))


async def _serve(settings: "Settings", options: ServeOptions, listener: socket.socket) -> None:
    api = await open_api(settings, options)
    try:
        import chatcli.agent
        import chatcli.service.turn  # noqa: F401 - now, and not in the first turn

        config = uvicorn.Config(
            create_app(api),
            http=connection_class(options.http, receive=options.receive, stall=options.stall),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            workers=1,
            backlog=_BACKLOG,
            proxy_headers=bool(options.trusted_proxies),
            forwarded_allow_ips=list(options.trusted_proxies),
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        # What is there now stays until the end: a full collection would stop all streams for it.
        gc.collect()
        gc.freeze()
        gc.enable()
        gc.set_threshold(*_THRESHOLDS)
        sys.setswitchinterval(_SWITCH_SECONDS)
        logger.info("listening", address=address_of(listener, options), pid=os.getpid())
        await GracefulServer(config, api).serve([listener])
    finally:
        await api.aclose()
        logger.info("stopped", pid=os.getpid())


class GracefulServer(uvicorn.Server):
    """Goes on listening after the first signal while turns run: new ones are refused, old ones end."""

    def __init__(self, config: uvicorn.Config, api: Api) -> None:
        super().__init__(config)
        self._api = api
        self._deadline: float | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals for the time of the block."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second SIGINT does not wait any longer."""
        del frame
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._api.options.grace
            self._api.turns.draining = True
            logger.info("stopping", signal=sig, turns=len(self._api.turns))
        elif sig == signal.SIGINT:
            self._deadline = 0.0

    async def on_tick(self, counter: int) -> bool:
        """Say whether it is time to stop; end what still runs at the end of the grace period."""
        if self._deadline is not None:
            over = asyncio.get_running_loop().time() >= self._deadline
            if over or not self._api.turns:
                await self._api.turns.stop()
                self.should_exit = True
        return await super().on_tick(counter)


@contextlib.contextmanager
def listen(options: ServeOptions) -> Iterator[socket.socket]:
    """Return the socket to listen on; a socket file is the owner's alone, and goes with the server."""
    if options.uds is not None:
        listener = _listen_on_file(options.uds)
        mark = _mark_of(options.uds)
        try:
            yield listener
        finally:
            # Whoever came when this one did not listen any more has a file of its own there.
            if mark is not None and _mark_of(options.uds) == mark:
                options.uds.unlink(missing_ok=True)
            listener.close()
        return
    try:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        listener = socket.create_server((options.host, options.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"can't listen on {options.host}:{options.port}: {error.strerror}", hint="choose another --port"
        ) from None
    # What a client does not take waits here; there is no need for the megabytes that Linux allows.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    with listener:
        yield listener


def _listen_on_file(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        reason = str(error.strerror)
        if taken:
            reason = "somebody else listens there" if path.is_socket() else "it is no socket, and in the way"
        raise ConfigError(f"can't listen on {path}: {reason}", hint="choose another --uds") from None
    return listener


def _mark_of(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a file from another one with its name; its number alone may be used again."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        try:
            caller.connect(str(path))
        except OSError:
            return False
    return True


def address_of(listener: socket.socket, options: ServeOptions) -> str:
    """Return where clients find the server."""
    if options.uds is not None:
        return f"unix:{options.uds}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop
