"""Several processes on one socket: started, watched, started again, and stopped together."""

import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from chatcli.errors import ChatcliError
from chatcli.server import logs
from chatcli.server.options import ServeOptions
from chatcli.server.run import run

if TYPE_CHECKING:
    from chatcli.config import Settings

logger = logs.get_logger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REFUSED = 3
"""Exit code of a worker that could not start: another one could not either."""
_LOOK_SECONDS = 0.2
_PAUSE_SECONDS = 1.0
"""Seconds before a worker that died is started again."""
_AFTER_GRACE = 15.0
"""Seconds that a worker gets beyond the grace period before it is killed."""


def supervise(settings: "Settings", options: ServeOptions, listener: socket.socket) -> int:
    """Keep `options.workers` processes serving on `listener` until a signal comes."""
    logs.start(settings)
    directory = Path(tempfile.mkdtemp(prefix="chatcli-metrics-"))
    # By this variable the library decides, when a worker imports it, where it counts.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    try:
        return _Supervisor(replace(options, metrics_dir=directory), listener).run()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class _Supervisor:
    def __init__(self, options: ServeOptions, listener: socket.socket) -> None:
        self._options = options
        self._listener = listener
        self._spawn = multiprocessing.get_context("spawn")
        self._workers: list[SpawnProcess] = []
        self._stopping = False

    def run(self) -> int:
        for number in _SIGNALS:
            signal.signal(number, self._stop)
        self._workers = [self._start() for _ in range(self._options.workers)]
        while not self._stopping:
            for index, worker in enumerate(self._workers):
                worker.join(_LOOK_SECONDS / len(self._workers))
                if worker.exitcode is None or self._stopping:
                    continue
                if worker.exitcode == _REFUSED:
                    self._stop(signal.SIGTERM, None)
                    self._join()
                    return 1
                logger.warning("worker died", pid=worker.pid, code=worker.exitcode)
                time.sleep(_PAUSE_SECONDS)
                self._workers[index] = self._start()
        self._join()
        return 0

    def _start(self) -> SpawnProcess:
        worker = self._spawn.Process(
            target=_work, args=(self._options, self._listener), name="chatcli worker"
        )
        worker.start()
        return worker

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Pass a signal on to all workers; each of them ends in good order."""
        del frame
        self._stopping = True
        for worker in self._workers:
            if worker.pid is not None and worker.exitcode is None:
                os.kill(worker.pid, number)

    def _join(self) -> None:
        deadline = time.monotonic() + self._options.grace + _AFTER_GRACE
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
            if worker.exitcode is None:
                worker.kill()
                worker.join()


def _work(options: ServeOptions, listener: socket.socket) -> None:
    """Serve in a process of its own; the settings are read again, for secrets are not handed around."""
    from chatcli.config import load_settings

    try:
        settings = load_settings(
            {
                "CHATCLI_STORE": options.store,
                "CHATCLI_ENV_FILE": None if options.env_file is None else str(options.env_file),
                "CHATCLI_MODEL": options.model,
            }
        )
        run(settings, options, listener)
    except ChatcliError as error:
        failure = error
    else:
        return
    logger.error("worker refused to start", error=failure.message, hint=failure.hint)
    sys.exit(_REFUSED)
