"""What lists and cleanup ask of S3 where there are many threads: requests, seconds, CPU and peak memory.

    uv run python -m tests.benchmarks.bucket [--sizes 1000,10000]

Half of the threads was last used three years ago (imported), half just now (a turn each); the server is
moto's. Commands are whole processes: seconds by the clock on the wall, CPU in seconds, and the peak of
resident memory. A full run takes ten minutes, most of it for what is written first.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from chatcli.models import LOCAL_OWNER, Message, Role, Thread, Turn, TurnState, utc_now
from chatcli.stores import open_store
from chatcli.stores.base import ThreadStore, message_id
from chatcli.text import new_id
from tests.benchmarks.scale import run
from tests.stores import s3
from tests.stores.talk import say

WRITERS = 8
AGE = timedelta(days=3 * 365)
TEXT = ("The quick brown fox jumps over the lazy dog. " * 9)[:400]


async def write(store: ThreadStore, *, is_old: bool) -> None:
    """Write a thread with one turn."""
    thread_id = new_id()
    if not is_old:
        await say(store, thread_id, TEXT, TEXT)
        return
    moment, turn_id = utc_now() - AGE, new_id()
    said = tuple(
        Message(message_id(turn_id, index), role, TEXT, moment)
        for index, role in enumerate((Role.HUMAN, Role.AI))
    )
    turn = Turn(turn_id, 1, TurnState.COMPLETE, moment, "offline:echo", said, moment)
    await store.import_thread(Thread(thread_id, LOCAL_OWNER, "Fox", "English", 1, moment, moment), [turn])


async def fill(url: str, threads: int) -> None:
    """Write the threads, several at the same time, old and new ones in turns."""
    store = open_store(url)
    numbers = iter(range(threads))

    async def write_some() -> None:
        for number in numbers:
            await write(store, is_old=number % 2 == 0)

    await asyncio.gather(*(write_some() for _ in range(WRITERS)))
    await store.aclose()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000")
    parser.add_argument("--fill", help="only write as many threads into the store at this URL")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    if arguments.fill is not None:
        asyncio.run(fill(arguments.fill, *sizes))
        return
    with tempfile.TemporaryDirectory() as name, s3.running() as server:
        home = {"XDG_DATA_HOME": name, "XDG_CONFIG_HOME": str(Path(name) / "config")}
        print(f"{'':<34}{'s':>8}{'CPU':>8}{'peak':>12}  requests")
        for size in sizes:
            url = server.url()
            begun = time.perf_counter()
            # In a process of its own, past the proxy: what is forked from a large process counts as large.
            past = url.replace(f":{server.proxy_port}", f":{server.endpoint.port}")
            command = [sys.executable, "-m", "tests.benchmarks.bucket", "--sizes", str(size), "--fill", past]
            subprocess.run(command, check=True)
            print(f"{size} threads written in {time.perf_counter() - begun:.0f} s", flush=True)
            for words in (
                ("history", "--limit", "20"),
                ("history", "--limit", "20"),
                ("cleanup", "--older-than", "1y", "--yes"),
                ("cleanup", "--older-than", "1y", "--yes"),
            ):
                server.traffic(url).counts()
                environment = {**os.environ, **home, "CHATCLI_STORE": url}
                cost = run([sys.executable, "-m", "chatcli", *words], environment)
                counts = ", ".join(
                    f"{count} {method}" for method, count in server.traffic(url).counts().items()
                )
                print(
                    f"{' '.join(words):<34}{cost.wall:>8.1f}{cost.cpu / 1000:>8.1f}"
                    f"{cost.memory / 1024:>8.1f} MiB  {counts}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
