"""SIGKILL at random moments: nothing that was acknowledged is lost, and no turn is half there."""

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chatcli.models import LOCAL_OWNER, TurnState
from chatcli.stores import open_store
from tests.program import Chatcli

ROOT = Path(__file__).parents[2]
THREAD = "victim"
LONGEST_LIFE = 0.15
"""Seconds; a turn takes about a tenth of it."""


class Nursery:
    """The process that makes the victims, and the lines that they write."""

    def __init__(self, home: Chatcli) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.nursery", f"sqlite:///{home.database}", THREAD],
            cwd=ROOT,
            env=home.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._buffer = b""
        self.acknowledged: list[str] = []

    def start(self) -> int:
        """Return the process id of a new victim."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()
        while True:
            for pid, word in self.read(60):
                if word == "started":
                    return int(pid)

    def read(self, seconds: float) -> list[tuple[str, str]]:
        """Return what was written, waiting for it at most so long; prompts go to `acknowledged`."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], max(0.0, seconds))[0]:
            return []
        self._buffer += os.read(self.process.stdout.fileno(), 65536)
        *lines, self._buffer = self._buffer.split(b"\n")
        pairs = [(pid, word) for pid, word in (line.decode().split() for line in lines)]
        self.acknowledged.extend(word for _, word in pairs if word != "started")
        return pairs


async def test_no_acknowledged_turn_is_lost(chatcli: Chatcli, pytestconfig: pytest.Config) -> None:
    """After each of many kills the thread holds every acknowledged turn, whole, in order, once."""
    kills = pytestconfig.getoption("--kills")
    dice = random.Random(20261120)
    nursery = Nursery(chatcli)
    try:
        for _ in range(kills):
            victim = nursery.start()
            end = time.monotonic() + dice.uniform(0, LONGEST_LIFE)
            while (left := end - time.monotonic()) > 0:
                nursery.read(left)
            os.kill(victim, signal.SIGKILL)
        while nursery.read(0):
            pass
    finally:
        nursery.process.kill()
        nursery.process.communicate()

    store = open_store(f"sqlite:///{chatcli.database}")
    turns = await store.turns(LOCAL_OWNER, THREAD)
    await store.aclose()
    assert [turn.index for turn in turns] == list(range(1, len(turns) + 1))
    for turn in turns:
        assert turn.state in (TurnState.COMPLETE, TurnState.INTERRUPTED)
        assert len(turn.messages) == (2 if turn.state is TurnState.COMPLETE else 1)
        if turn.state is TurnState.COMPLETE:
            assert turn.answer.startswith("This is the offline model")
            assert turn.messages[0].text in turn.answer
    complete = [turn.messages[0].text for turn in turns if turn.state is TurnState.COMPLETE]
    assert len(nursery.acknowledged) > kills / 10, "too few turns to say anything"
    assert set(nursery.acknowledged) <= set(complete)
    assert len(set(complete)) == len(complete)
    print(
        f"{kills} kills: {len(nursery.acknowledged)} acknowledged, {len(complete)} complete, "
        f"{len(turns) - len(complete)} interrupted, 0 lost, 0 half"
    )
