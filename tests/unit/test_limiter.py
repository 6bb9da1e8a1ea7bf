"""The limit on calls holds over processes, and a broken file never stops anybody."""

import fcntl
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chatcli.config import Settings, load_settings
from chatcli.errors import RateLimited
from chatcli.providers.limiter import FILE_NAME, Limiter

CLAIMS = """
import asyncio, os, sys
from chatcli.config import load_settings
from chatcli.errors import RateLimited
from chatcli.providers.limiter import Limiter

async def main():
    limiter, allowed = Limiter(load_settings(environ=dict(os.environ))), 0
    for _ in range(10):
        try:
            await limiter.wait(at_most=1)
            allowed += 1
        except RateLimited:
            pass
    print(allowed)

asyncio.run(main())
"""


def environ_for(home: Path, *, calls: int, period: float = 600) -> dict[str, str]:
    return {
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "RATE_LIMIT_CALLS": str(calls),
        "RATE_LIMIT_PERIOD": str(period),
    }


def settings_for(home: Path, *, calls: int, period: float = 600) -> Settings:
    return load_settings(environ=environ_for(home, calls=calls, period=period))


async def count(limiter: Limiter, tries: int) -> int:
    allowed = 0
    for _ in range(tries):
        try:
            await limiter.wait(at_most=0.5)
        except RateLimited:
            continue
        allowed += 1
    return allowed


def test_processes_share_the_limit(tmp_path: Path) -> None:
    """Four processes at once, ten tries each, twenty-five allowed: exactly twenty-five get through."""
    command = [sys.executable, "-c", CLAIMS]
    environ = environ_for(tmp_path, calls=25)
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen(command, cwd=root, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert sum(int(process.communicate()[0]) for process in running) == 25


async def test_refused_with_the_time(tmp_path: Path) -> None:
    """A call that can't be made in time is refused at once, with the time, and is not counted."""
    limiter = Limiter(settings_for(tmp_path, calls=1, period=60))
    await limiter.wait(at_most=1)
    for _ in range(2):
        with pytest.raises(RateLimited) as caught:
            await limiter.wait(at_most=30)
        assert caught.value.retry_after is not None
        assert 30 < caught.value.retry_after <= 60
        assert "RATE_LIMIT_CALLS" in str(caught.value.hint)
    assert len((settings_for(tmp_path, calls=1).data_dir / FILE_NAME).read_text().split()) == 1


async def test_a_call_waits_for_its_turn(tmp_path: Path) -> None:
    """With room before the deadline, the call is made when the period is over."""
    limiter = Limiter(settings_for(tmp_path, calls=2, period=0.3))
    start = time.monotonic()
    for _ in range(4):
        await limiter.wait(at_most=30)
    assert time.monotonic() - start >= 0.3


async def test_the_file_is_private(tmp_path: Path) -> None:
    """Folder 0700, file 0600, whatever the umask."""
    before = os.umask(0)
    try:
        settings = settings_for(tmp_path, calls=1)
        await Limiter(settings).wait(at_most=1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((settings.data_dir / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"garbage\n", b"\xff\xfe\n", b"nan\ninf\n", b"1e300\n" * 50, b"-1\n"]
)
async def test_times_that_make_no_sense_do_not_count(tmp_path: Path, content: bytes) -> None:
    """Damaged files, and times of before a reboot (they lie in the future), are dropped."""
    settings = settings_for(tmp_path, calls=3)
    settings.data_dir.mkdir(parents=True)
    (settings.data_dir / FILE_NAME).write_bytes(content)
    assert await count(Limiter(settings), 5) == 3


async def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    """Then the limit holds for the process."""
    (tmp_path / "data").write_text("not a folder")
    assert await count(Limiter(settings_for(tmp_path, calls=3)), 5) == 3


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Nobody gets a file of the user's overwritten by putting a link there."""
    settings = settings_for(tmp_path, calls=3)
    settings.data_dir.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (settings.data_dir / FILE_NAME).symlink_to(precious)
    assert await count(Limiter(settings), 5) == 3
    assert precious.read_text() == "precious"


async def test_a_lock_that_is_never_let_go(tmp_path: Path) -> None:
    """A stopped process with the lock delays a call by a second, and stops nobody."""
    settings = settings_for(tmp_path, calls=3)
    settings.data_dir.mkdir(parents=True)
    with (settings.data_dir / FILE_NAME).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        await Limiter(settings).wait(at_most=30)
