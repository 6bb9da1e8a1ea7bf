"""Signals in a session: SIGINT stops what is going on, SIGTERM and SIGHUP end the session, too."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGTERM, signal.SIGHUP)
SIGNAL_BASE = 128
HUNG_UP = SIGNAL_BASE + signal.SIGHUP
"""Exit code of a session whose terminal has gone."""


class SessionSignals:
    """Hands signals to whatever is going on; one that ends the session is remembered."""

    def __init__(self) -> None:
        self.ended_by: int | None = None
        self._stops: list[Callable[[], object]] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take over the signals for the block."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._stop)
        for number in ENDING:
            loop.add_signal_handler(number, self._end, number)
        try:
            yield
        finally:
            for number in (signal.SIGINT, *ENDING):
                loop.remove_signal_handler(number)

    @contextmanager
    def stopping(self, stop: Callable[[], object]) -> Iterator[None]:
        """Call `stop` at a signal within the block; the innermost block counts."""
        self._stops.append(stop)
        try:
            yield
        finally:
            self._stops.remove(stop)

    @property
    def exit_code(self) -> int:
        """The session's, after it was ended."""
        return 0 if self.ended_by is None else SIGNAL_BASE + self.ended_by

    def _stop(self) -> None:
        if self._stops:
            self._stops[-1]()

    def _end(self, number: int) -> None:
        self.ended_by = self.ended_by or number
        self._stop()
