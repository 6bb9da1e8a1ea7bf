"""The real program in processes of its own, with a home that nobody else uses."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

TIMEOUT = 60.0
"""Seconds after which a run counts as hung."""


@dataclass
class Running:
    """A run that is not over yet."""

    process: "subprocess.Popen[bytes]"
    seen: bytes = b""

    def read_until(self, wanted: bytes) -> bool:
        """Read standard output until `wanted` was seen; False if it ends before."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + TIMEOUT
        while wanted not in self.seen:
            ready, _, _ = select.select([self.process.stdout], [], [], deadline - time.monotonic())
            assert ready, f"nothing more came after {self.seen!r}"
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                return False
            self.seen += piece
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def finish(self) -> int:
        """Read to the end and return the exit code; standard error is in `errors` then."""
        output, self.errors = self.process.communicate(timeout=TIMEOUT)
        self.seen += output or b""
        return self.process.returncode


@dataclass(frozen=True)
class Chatcli:
    """Runs `chatcli` in an environment that has nothing of the developer's in it."""

    home: Path
    environment: Mapping[str, str]
    command: tuple[str, ...] = (sys.executable, "-m", "chatcli")

    @classmethod
    def at(cls, home: Path) -> "Chatcli":
        """Return the program with everything it keeps below `home`."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "TERM": "xterm-256color",
            "TZ": "UTC",
        }
        return cls(home, environment)

    def with_environment(self, **variables: str) -> "Chatcli":
        """Return the same program with more variables in its environment."""
        return replace(self, environment={**self.environment, **variables})

    @property
    def database(self) -> Path:
        """The file of the default store."""
        return self.home / "data" / "chatcli" / "chatcli.db"

    def __call__(
        self,
        *words: str,
        input: bytes = b"",  # noqa: A002 - as subprocess calls it
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run with these words, `input` on standard input, and `env` over the environment."""
        return subprocess.run(
            [*self.command, *words],
            input=input,
            env={**self.environment, **(env or {})},
            cwd=self.home,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )

    @contextlib.contextmanager
    def start(self, *words: str, **options: Any) -> Iterator[Running]:
        """Start a run with empty standard input and pipes for the rest, and end it afterwards."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [*self.command, *words]
        with subprocess.Popen(command, env=self.environment, cwd=self.home, **{**streams, **options}) as it:
            try:
                yield Running(it)
            finally:
                it.kill()

    def on_terminal(
        self, *words: str, env: Mapping[str, str] | None = None, stdin: bool = True, typed: bytes = b""
    ) -> tuple[int, str]:
        """Run with a terminal of 80 columns for all streams; return the exit code and what it showed.

        `typed` is what a person types ahead.
        """
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*self.command, *words],
            stdin=theirs if stdin else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**self.environment, "COLUMNS": "80", **(env or {})},
            cwd=self.home,
            start_new_session=True,
        )
        os.close(theirs)
        os.write(ours, typed)
        shown = bytearray()
        try:
            while piece := _read(ours):
                shown += piece
            return process.wait(TIMEOUT), shown.decode().replace("\r\n", "\n")
        finally:
            process.kill()
            process.wait()
            os.close(ours)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # what Linux says when the last writer has closed its end
        return b""
