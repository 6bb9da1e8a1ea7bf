"""SIGKILL at random moments: nothing that was acknowledged is lost, and no turn is half there.

    uv run pytest tests/acceptance/test_kill.py --kills 300 --timeout 0 -n 0 -s

A victim is killed somewhere on its way to its first answer, or in a turn after some that it finished.
"""

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from chatcli.models import LOCAL_OWNER, Turn, TurnState
from chatcli.stores import open_store
from tests.program import Chatcli
from tests.stores.rival import see_dead
from tests.stores.s3 import ENVIRONMENT

ROOT = Path(__file__).parents[2]
THREAD = "victim"
DEFAULT_KILLS = 25
FEWER_KILLS = 6
"""Where there is a server, unless more than the default are asked for."""
PATIENCE = 120.0
"""Seconds in which a victim does something, however busy the machine is."""
FINISHED = (0, 0, 1, 2)
"""After how many turns of its own a victim may be killed."""


class Nursery:
    """The process that makes the victims, and the lines that they write."""

    def __init__(self, store: str, other_store: str, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.nursery", store, other_store, THREAD],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._store = store
        self._buffer = b""
        self._victims: list[int] = []
        self.acknowledged: list[str] = []

    def start(self) -> int:
        """Return the process id of a new victim."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()
        count = len(self._victims)
        self._read_until(lambda: len(self._victims) > count)
        return self._victims[-1]

    def kill(self, victim: int) -> None:
        """Kill a victim; whoever comes next finds it dead."""
        os.kill(victim, signal.SIGKILL)
        see_dead(self._store)

    def hear(self, count: int) -> None:
        """Read until so many turns are acknowledged."""
        self._read_until(lambda: len(self.acknowledged) >= count)

    def read_for(self, seconds: float) -> None:
        """Read all that is written in so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._read(left)

    def close(self) -> None:
        """End it, and take in the last words."""
        self.process.kill()
        self._take_in(self.process.communicate()[0])

    def _read_until(self, is_enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not is_enough():
            left = deadline - time.monotonic()
            assert left > 0, "a victim does nothing"
            self._read(left)

    def _read(self, seconds: float) -> None:
        """Take in what was written, waiting for it at most so long."""
        assert self.process.stdout is not None
        if select.select([self.process.stdout], [], [], seconds)[0]:
            said = os.read(self.process.stdout.fileno(), 65536)
            assert said, "the nursery is closed"
            self._take_in(said)

    def _take_in(self, said: bytes) -> None:
        *lines, self._buffer = (self._buffer + said).split(b"\n")
        for line in lines:
            pid, word = line.decode().split()
            if word == "started":
                self._victims.append(int(pid))
            else:
                self.acknowledged.append(word)


def kill_many(nursery: Nursery, kills: int, dice: random.Random) -> None:
    """Kill victims at any moment on the way to their next answer.

    How long that takes is measured with each victim that gets there, the first one twice.
    """
    longest = [0.0, 0.0]  # seconds to the first answer of a process, and to a later one
    for finished in (2, *(dice.choice(FINISHED) for _ in range(kills - 1))):
        victim, began = nursery.start(), time.monotonic()
        heard = len(nursery.acknowledged)
        for turn in range(finished):
            nursery.hear(heard + turn + 1)
            longest[turn > 0], began = time.monotonic() - began, time.monotonic()
        nursery.read_for(dice.uniform(0, longest[finished > 0]))
        nursery.kill(victim)


def check(turns: tuple[Turn, ...], acknowledged: list[str]) -> int:
    """Compare what is stored with what was acknowledged; return how many turns are complete."""
    assert [turn.index for turn in turns] == list(range(1, len(turns) + 1))
    for turn in turns:
        assert turn.state in (TurnState.COMPLETE, TurnState.INTERRUPTED)
        assert len(turn.messages) == (2 if turn.state is TurnState.COMPLETE else 1)
        if turn.state is TurnState.COMPLETE:
            assert turn.answer.startswith("This is the offline model")
            assert turn.messages[0].text in turn.answer
    complete = [turn.messages[0].text for turn in turns if turn.state is TurnState.COMPLETE]
    assert set(acknowledged) <= set(complete), "an acknowledged turn is lost"
    assert len(set(complete)) == len(complete)
    return len(complete)


@pytest.fixture(params=["sqlite", "postgres", "s3"])
def stores(request: pytest.FixtureRequest, chatcli: Chatcli) -> tuple[str, str]:
    """The URLs of a store and of another one of the same kind; victims' sessions have a name of their own."""
    if request.param == "sqlite":
        return f"sqlite:///{chatcli.database}", f"sqlite:///{chatcli.database}.other"
    server = request.getfixturevalue(f"{request.param}_server")
    if request.param == "postgres":
        return server.url(application_name="victims"), server.url()
    return server.url(), server.url()


async def test_no_acknowledged_turn_is_lost(
    stores: tuple[str, str], chatcli: Chatcli, pytestconfig: pytest.Config
) -> None:
    """After each of many kills the thread holds every acknowledged turn, whole, in order, once."""
    kills = pytestconfig.getoption("--kills")
    if kills <= DEFAULT_KILLS and not stores[0].startswith("sqlite:"):
        kills = min(kills, FEWER_KILLS)
    program = chatcli.with_environment(CHATCLI_STORE=stores[0], **ENVIRONMENT)
    nursery = Nursery(*stores, environment=program.environment)
    try:
        kill_many(nursery, kills, random.Random(20261120))
    finally:
        nursery.close()

    store = open_store(stores[0])
    turns = await store.turns(LOCAL_OWNER, THREAD)
    complete = check(turns, nursery.acknowledged)
    done = program("chat", "--no-stdin", "-m", "offline", "-t", THREAD, "And now?")
    assert done.returncode == 0, done.stderr.decode()
    later = await store.turns(LOCAL_OWNER, THREAD, after=len(turns))
    await store.aclose()
    assert [turn.messages[0].text for turn in later] == ["And now?"]
    print(
        f"{kills} kills: {len(nursery.acknowledged)} acknowledged, {complete} complete, "
        f"{len(turns) - complete} interrupted, 0 lost, 0 half"
    )
