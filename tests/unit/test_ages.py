"""What an age means, and which clock is believed."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from chatcli.errors import InvalidRequest
from chatcli.service.cleanup import EPOCH, check_clock, moment_of

NOW = datetime(2026, 3, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "moment"),
    [
        ("12h", NOW - timedelta(hours=12)),
        ("1d", NOW - timedelta(hours=24)),
        ("090d", NOW - timedelta(days=90)),
        ("2w", NOW - timedelta(days=14)),
        ("1y", NOW - timedelta(days=365)),
        ("2026-03-29", datetime(2026, 3, 29, tzinfo=UTC)),
        ("2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        ("99999y", EPOCH),
        ("1000y", EPOCH),
        ("0001-01-01", EPOCH),
    ],
)
def test_an_age_is_a_moment_in_utc(age: str, moment: datetime) -> None:
    """Days have 24 hours and years 365 days; dates begin in UTC; nothing lies before 1970."""
    assert moment_of(age, now=NOW) == moment


@pytest.mark.parametrize(
    "age", ["", "0d", "-1d", "90", "d", "5x", "1 d", "90D", "2026-02-30", "2026-3-1", "٣d", "123456d", "1.5d"]
)
def test_what_is_no_age_is_refused(age: str) -> None:
    """Text that is no age never becomes one."""
    with pytest.raises(InvalidRequest):
        moment_of(age, now=NOW)


def test_a_date_to_come_is_refused() -> None:
    """A date that has not begun would take the threads with it that are in use."""
    assert moment_of("2026-03-29", now=NOW) < NOW
    with pytest.raises(InvalidRequest, match="future"):
        moment_of("2026-03-30", now=NOW)


ASK = """
import sys
from datetime import datetime
from chatcli.models import format_time
from chatcli.service.cleanup import moment_of
print(format_time(moment_of(sys.argv[1], now=datetime.fromisoformat(sys.argv[2]))))
"""


@pytest.mark.parametrize("moment", ["2026-03-29T01:30:00+00:00", "2026-10-25T01:30:00+00:00"])
@pytest.mark.parametrize("age", ["1d", "12h", "2026-03-28"])
def test_time_zones_have_no_effect(moment: str, age: str) -> None:
    """Whatever TZ says, and on the days on which clocks change, an age means the same."""
    found = {
        subprocess.run(
            [sys.executable, "-c", ASK, age, moment],
            env={**os.environ, "TZ": zone},
            capture_output=True,
            check=True,
        ).stdout
        for zone in ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati")
    }
    assert len(found) == 1


def test_a_clock_that_can_not_be_right_is_refused() -> None:
    """A thread used more than a day after now means that a clock is wrong; an hour does not."""
    check_clock(NOW, None)
    check_clock(NOW, NOW - timedelta(days=1000))
    check_clock(NOW, NOW + timedelta(hours=1))
    check_clock(NOW, (NOW + timedelta(hours=23)).astimezone(timezone(timedelta(hours=14))))
    with pytest.raises(InvalidRequest, match="nothing was removed"):
        check_clock(NOW, NOW + timedelta(days=1, seconds=1))
