"""The command `cleanup`: exactly the old threads go, whatever the clock, the zone and the terminal."""

import json
import re
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from chatcli.models import format_time, utc_now
from tests.cli.seed import archive, insert, keep, running, thread_ids

if TYPE_CHECKING:
    from tests.program import Chatcli

DAY = timedelta(days=1)


def days_ago(days: float) -> datetime:
    """Return a moment in the past."""
    return utc_now() - days * DAY


@pytest.fixture
def aged(chatcli: "Chatcli") -> "Chatcli":
    """The program, with threads of all ages."""
    ages = (400, 100, 91, 89, 10, 0.9, 0.1)
    insert(chatcli, *((f"age-{age}", days_ago(age)) for age in ages))
    return chatcli


def test_old_threads_go_and_a_receipt_comes(aged: "Chatcli") -> None:
    """What was not used for that long goes, the rest stays, and the receipt counts."""
    done = aged("cleanup", "--older-than", "90d")
    assert (done.returncode, done.stderr) == (0, b"")
    assert re.fullmatch(
        r"7 scanned, 3 removed, 0 kept because busy, \d+ bytes freed, \d+\.\d s\n",
        done.stdout.decode(),
    )
    assert thread_ids(aged) == {"age-89", "age-10", "age-0.9", "age-0.1"}
    assert aged("cleanup", "--older-than", "12h", "--quiet").stdout == b""
    assert thread_ids(aged) == {"age-0.1"}


def test_the_receipt_as_json(aged: "Chatcli") -> None:
    """Machines get one document, of a run that had nothing to do, too."""
    receipt = json.loads(aged("cleanup", "--older-than", "1y", "--json").stdout)
    assert list(receipt) == ["dry_run", "before", "scanned", "removed", "busy", "bytes_freed", "seconds"]
    assert (receipt["removed"], receipt["busy"], receipt["dry_run"]) == (1, 0, False)
    text = "human of age-400" + "ai of age-400"
    assert receipt["bytes_freed"] == len(text)
    assert json.loads(aged("cleanup", "--older-than", "1y", "--json").stdout)["removed"] == 0


@pytest.mark.parametrize(
    "scope",
    [
        ["--older-than", "90d"],
        ["--older-than", "1d", "--keep", "4"],
        ["--older-than", "1d", "--archived"],
        ["--older-than", "1970-01-02"],
        ["--older-than", "9d", "--keep", "100"],
    ],
)
def test_a_dry_run_shows_exactly_what_goes(aged: "Chatcli", scope: list[str]) -> None:
    """What is listed is what is removed afterwards, and listing removes nothing."""
    archive(aged, "age-100")
    archive(aged, "age-0.1")
    before = thread_ids(aged)
    text = aged("cleanup", "--dry-run", *scope)
    lines = aged("cleanup", "--dry-run", "--json", *scope)
    assert thread_ids(aged) == before
    listed = [json.loads(line)["id"] for line in lines.stdout.splitlines()]
    assert [line.split("\t")[0] for line in text.stdout.decode().splitlines()] == listed
    assert json.loads(lines.stderr)["removed"] == len(listed)
    assert b" to remove, " in text.stderr
    assert aged("cleanup", *scope).returncode == 0
    assert before - thread_ids(aged) == set(listed)


def test_the_age_of_the_settings(aged: "Chatcli") -> None:
    """CHATCLI_RETENTION counts where the option is missing; with neither, nothing happens."""
    done = aged("cleanup")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--older-than" in done.stderr
    assert aged("cleanup", env={"CHATCLI_RETENTION": "90d"}).returncode == 0
    assert len(thread_ids(aged)) == 4
    assert aged("cleanup", "--older-than", "5d", env={"CHATCLI_RETENTION": "1h"}).returncode == 0
    assert thread_ids(aged) == {"age-0.9", "age-0.1"}


@pytest.mark.parametrize("age", ["0d", "5", "5m", "2999-01-01", "yesterday"])
def test_a_wrong_age_removes_nothing(aged: "Chatcli", age: str) -> None:
    """What can't be understood, or would take everything, is refused."""
    done = aged("cleanup", "--older-than", age, "--yes")
    assert (done.returncode, done.stdout) == (2, b"")
    assert len(thread_ids(aged)) == 7


def test_a_thread_in_use_stays(aged: "Chatcli") -> None:
    """A running turn keeps its thread, however old; so does a turn that came after all."""
    insert(aged, ("running", days_ago(500)), ("used-again", days_ago(500)))
    keep(aged, "used-again")
    with running(aged, "running"):
        receipt = json.loads(aged("cleanup", "--older-than", "90d", "--json").stdout)
        assert receipt["removed"] == 3
        assert {"running", "used-again"} <= thread_ids(aged)


def test_an_implausible_clock_is_refused(aged: "Chatcli") -> None:
    """Where a thread was used long after now, one clock is wrong: nothing goes unless that is said."""
    insert(aged, ("future", days_ago(-1000)))
    for words in ([], ["--dry-run"]):
        done = aged("cleanup", "--older-than", "90d", *words)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"--force-clock" in done.stderr
    assert len(thread_ids(aged)) == 8
    assert aged("cleanup", "--older-than", "90d", "--force-clock").returncode == 0
    assert thread_ids(aged) == {"age-89", "age-10", "age-0.9", "age-0.1", "future"}


def test_a_clock_an_hour_back_changes_nothing(aged: "Chatcli") -> None:
    """A thread used an hour in the future, as after a clock was set back, is no reason to stop."""
    insert(aged, ("soon", utc_now() + timedelta(hours=1)))
    assert aged("cleanup", "--older-than", "90d").returncode == 0
    assert "soon" in thread_ids(aged)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati", "Etc/GMT+12"])
def test_zones_have_no_effect(aged: "Chatcli", zone: str) -> None:
    """An age is an age and a date begins in UTC, wherever the program runs."""
    today = f"{utc_now():%Y-%m-%d}"
    insert(aged, ("edge", utc_now().replace(hour=0, minute=0, second=0, microsecond=0)))
    for words in (["--older-than", "1d"], ["--older-than", today]):
        here, there = (
            aged("cleanup", "--dry-run", *words, env={"TZ": zone}).stdout for zone in ("UTC", zone)
        )
        assert here == there
        assert here


def test_steps_leave_nothing_behind(chatcli: "Chatcli") -> None:
    """More threads than a step takes go in one run, and none of the others."""
    old = [(f"old-{number}", days_ago(100)) for number in range(1203)]
    insert(chatcli, *old, *((f"new-{number}", days_ago(1)) for number in range(3)))
    listed = chatcli("cleanup", "--dry-run", "--older-than", "90d").stdout.splitlines()
    assert len(listed) == len(old)
    receipt = json.loads(chatcli("cleanup", "--older-than", "90d", "--json").stdout)
    assert (receipt["removed"], thread_ids(chatcli)) == (1203, {"new-0", "new-1", "new-2"})


@pytest.mark.parametrize(("typed", "left"), [(b"y\n", 4), (b"n\n", 7)])
def test_a_terminal_is_asked(aged: "Chatcli", typed: bytes, left: int) -> None:
    """Where a person watches, what goes is shown and has to be agreed to."""
    code, shown = aged.on_terminal("cleanup", "--older-than", "90d", typed=typed)
    assert code == 0
    assert "age-400  About age-400 (1 turn)\n" in shown
    assert "remove 3 threads for good? [y/N] " in shown
    assert ("nothing was removed" in shown) is (left == 7)
    assert len(thread_ids(aged)) == left


def test_nobody_is_asked_elsewhere(aged: "Chatcli") -> None:
    """With --yes, or without a terminal on standard input, the work is done."""
    code, shown = aged.on_terminal("cleanup", "--older-than", "1y", "--yes")
    assert (code, "[y/N]" in shown) == (0, False)
    code, shown = aged.on_terminal("cleanup", "--older-than", "90d", stdin=False)
    assert (code, "[y/N]" in shown) == (0, False)
    assert len(thread_ids(aged)) == 4
    code, shown = aged.on_terminal("cleanup", "--older-than", "90d")
    assert (code, "[y/N]" in shown) == (0, False)


def test_no_escape_sequence_without_colour(aged: "Chatcli") -> None:
    """TERM=dumb gets a plain receipt, without a bar."""
    _, shown = aged.on_terminal("cleanup", "--older-than", "90d", "--yes", env={"TERM": "dumb"})
    assert "\x1b" not in shown
    assert "3 removed" in shown


def test_two_at_once_are_harmless(chatcli: "Chatcli") -> None:
    """Two runs at the same time remove the same threads, once."""
    insert(chatcli, *((f"old-{number}", days_ago(100)) for number in range(1200)), ("new", days_ago(1)))
    command = ("cleanup", "--older-than", "90d", "--json")
    with chatcli.start(*command) as one, chatcli.start(*command) as two:
        codes = [one.finish(), two.finish()]
        removed = [json.loads(it.seen)["removed"] for it in (one, two)]
    assert (codes, sum(removed), thread_ids(chatcli)) == ([0, 0], 1200, {"new"})


def test_the_moment_is_shown(aged: "Chatcli") -> None:
    """The receipt names the moment that the age meant."""
    receipt = json.loads(aged("cleanup", "--older-than", "2020-02-02", "--json").stdout)
    assert (
        receipt["before"]
        == "2020-02-02T00:00:00.000000Z"
        == format_time(datetime.fromisoformat("2020-02-02T00:00Z"))
    )


def test_what_was_done_before_an_error_is_told(chatcli: "Chatcli") -> None:
    """Where a later step fails, the receipt tells of those before, and the error follows."""
    insert(chatcli, *((f"t{number}", days_ago(700 - number)) for number in range(600)))
    with closing(sqlite3.connect(chatcli.database)) as connection:
        connection.execute(
            "CREATE TRIGGER fails BEFORE DELETE ON threads WHEN old.id = 't550'"
            " BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    done = chatcli("cleanup", "--older-than", "1d", "--json")
    assert done.returncode not in (0, 1)
    assert json.loads(done.stdout)["removed"] == 500
    assert done.stderr
    assert len(chatcli("history", "--all", "--limit", "1000").stdout.splitlines()) == 100
