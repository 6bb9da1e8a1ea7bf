"""Many processes find no store, and all of them make it at once."""

import subprocess
import sys
from pathlib import Path

from tests.program import Chatcli

ROUNDS, PROCESSES = 4, 6
OPENER = """
import sys
from chatcli.models import LOCAL_OWNER
from chatcli.stores import open_store

store = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for step in (store.rename(LOCAL_OWNER, "none", "title"), store.aclose()):
    try:
        step.send(None)
    except StopIteration:
        pass
    except Exception as error:
        assert type(error).__name__ == "ThreadNotFound", error
"""


def test_first_openings_at_once_all_succeed(chatcli: Chatcli, tmp_path: Path) -> None:
    """Whoever makes the file, nobody sees a store that is missing, foreign, damaged or half made."""
    for number in range(ROUNDS):
        url = f"sqlite:///{tmp_path}/{number}/chatcli.db"
        openers = [
            subprocess.Popen(
                [sys.executable, "-c", OPENER, url],
                env=chatcli.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for _ in range(PROCESSES)
        ]
        for opener in openers:
            assert opener.stdout is not None
            assert opener.stdout.readline() == b"ready\n"
        for opener in openers:
            assert opener.stdin is not None
            opener.stdin.write(b"go\n")
            opener.stdin.flush()
        ends = [(opener.communicate(timeout=60)[1], opener.returncode) for opener in openers]
        assert ends == [(b"", 0)] * PROCESSES
