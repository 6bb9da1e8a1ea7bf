"""A cleanup that is killed at random and run again: exactly the right threads are left."""

import json
import random
import sqlite3
import time
from contextlib import closing
from datetime import timedelta

import pytest

from chatcli.models import utc_now
from tests.cli.seed import insert, thread_ids
from tests.program import Chatcli

OLD, NEW = 3000, 50
COMMAND = ("cleanup", "--older-than", "90d", "--json")
LONGEST_LIFE = 0.6
"""Seconds; a whole run over what is there takes about as long."""


def test_killed_and_run_again(chatcli: Chatcli, pytestconfig: pytest.Config) -> None:
    """Wherever it is killed, no thread is half there, none too many goes, and the next run goes on."""
    kills = max(1, pytestconfig.getoption("--kills") * 2 // 5)
    dice = random.Random(20261120)
    now = utc_now()
    number = 0
    for kill in range(kills):
        if not kill % 10:
            old = [(f"old-{number + extra}", now - timedelta(days=100)) for extra in range(OLD)]
            insert(
                chatcli, *old, *((f"new-{number + extra}", now - timedelta(days=80)) for extra in range(NEW))
            )
            number += OLD
        before = thread_ids(chatcli)
        with chatcli.start(*COMMAND) as victim:
            time.sleep(dice.uniform(0.1, LONGEST_LIFE))
            victim.process.kill()
            victim.finish()
        after = thread_ids(chatcli)
        assert after <= before
        assert {name for name in before if name.startswith("new-")} <= after
        check_whole(chatcli)
    expected = json.loads(chatcli(*COMMAND, "--dry-run").stderr)["removed"]
    assert json.loads(chatcli(*COMMAND).stdout)["removed"] == expected
    left = thread_ids(chatcli)
    assert {name.split("-")[0] for name in left} == {"new"}
    assert len(left) == NEW * -(-kills // 10)
    check_whole(chatcli)


def check_whole(chatcli: Chatcli) -> None:
    """Look for turns and messages without a thread, threads without their turn, and damage."""
    with closing(sqlite3.connect(chatcli.database)) as connection:
        (threads,) = connection.execute("SELECT count(*) FROM threads").fetchone()
        assert connection.execute("SELECT count(*) FROM turns").fetchone() == (threads,)
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (2 * threads,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
