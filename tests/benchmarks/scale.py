"""What commands cost in a small store and in a huge one, beside `llm logs -n 1` on a log of its own.

    uv run python -m tests.benchmarks.scale [--threads 100000] [--rounds 5] [--keep FOLDER]

Every thread has 10 turns of about 400 characters; one thread in a hundred, but 20 at most, says
'heliotrope'. Commands are whole processes: user and system milliseconds of CPU, the median of rounds in
which both sizes take turns. Cleanup removes half of the threads, in a store that was searched before:
threads a second by the clock on the wall, and the peak of resident memory. The stores are written by
SQL, past the program; a full run takes 20 minutes and 2 GB, most of it for what is searched first.
"""

import argparse
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chatcli.models import format_time
from chatcli.stores import open_store
from tests.benchmarks.server import Row
from tests.benchmarks.startup import own_program, peer_program

SMALL = 100
TURNS = 10
START = datetime(2024, 1, 1, tzinfo=UTC)
RARE = "heliotrope"
COMMON = "word0"


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    cpu: float
    """User and system milliseconds."""
    wall: float
    """Seconds."""
    memory: int
    """Peak of resident memory in KiB."""


def run(command: Sequence[str], environment: dict[str, str]) -> Cost:
    """Run a command to its end, which must be a good one."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: {said.decode()}")
    return Cost((usage.ru_utime + usage.ru_stime) * 1000, time.perf_counter() - begun, usage.ru_maxrss)


def id_of(number: int) -> str:
    """Return the id of a thread, a UUIDv7 of the minute in which it was last used."""
    moment = int(moment_of(number).timestamp() * 1000)
    tail = random.Random(number).getrandbits(74)
    digits = f"{moment << 80 | 0x7 << 76 | (tail >> 62) << 64 | 0x2 << 62 | tail & 2**62 - 1:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def moment_of(number: int) -> datetime:
    """Return when a thread was last used."""
    return START + timedelta(minutes=5 * number)


def fill(path: Path, threads: int) -> None:
    """Make a store and write the threads into it."""
    store = open_store(f"sqlite:///{path}")
    for step in (store.check(), store.aclose()):
        with suppress(StopIteration):
            step.send(None)
    chance = random.Random(1)
    words = [f"word{number}" for number in range(5000)]
    weights = [1 / (number + 1) for number in range(5000)]
    texts = [" ".join(chance.choices(words, weights, k=30)) for _ in range(5000)]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF").fetchall()
        for first in range(0, threads, 1000):
            numbers = range(first, min(first + 1000, threads))
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO threads (key, owner, id, title, language, model, created_at, updated_at, used,"
                " turn_count) VALUES (?, 'local', ?, ?, 'English', 'offline', ?, ?, ?, ?)",
                _threads(numbers),
            )
            connection.executemany(
                "INSERT INTO turns (thread, idx, id, state, started_at, finished_at, model, finish_reason)"
                " VALUES (?, ?, ?, 'complete', ?, ?, 'offline', 'stop')",
                _turns(numbers),
            )
            connection.executemany(
                "INSERT INTO messages (thread, turn, position, role, content, timestamp)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                _messages(numbers, chance, texts),
            )
            connection.execute("COMMIT")
        connection.execute("UPDATE counters SET value = ? WHERE name = 'used'", (threads,))


def _threads(numbers: range) -> Iterator[tuple[object, ...]]:
    for number in numbers:
        now = format_time(moment_of(number))
        yield number + 1, id_of(number), f"Title of thread {number}", now, now, number + 1, TURNS


def _turns(numbers: range) -> Iterator[tuple[object, ...]]:
    for number in numbers:
        now, thread_id = format_time(moment_of(number)), id_of(number)
        for index in range(1, TURNS + 1):
            yield number + 1, index, f"{thread_id[:34]}{index:02}", now, now


def _messages(numbers: range, chance: random.Random, texts: list[str]) -> Iterator[tuple[object, ...]]:
    for number in numbers:
        now = format_time(moment_of(number))
        for index in range(1, TURNS + 1):
            rare = f" {RARE}" if number % 100 == 0 and number < 20 * 100 and index == 5 else ""
            for position, role in enumerate(("human", "ai")):
                yield number + 1, index, position, role, chance.choice(texts) + rare, now


class Bench:
    """Commands on stores of several sizes."""

    def __init__(self, folder: Path, sizes: Sequence[int]) -> None:
        self.folder = folder
        program = folder / "venv" / "bin" / "chatcli"
        self.program = str(program) if program.exists() else own_program(folder / "venv")
        self.environment = {
            **os.environ,
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "LLM_USER_PATH": str(folder / "llm"),
        }
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.deleted = dict.fromkeys(sizes, 0)
        for size in sizes:
            if self.path(size).exists():
                continue
            begun = time.perf_counter()
            fill(self.path(size), size)
            print(f"{size} threads written in {time.perf_counter() - begun:.0f} s", flush=True)
            cost = self.chatcli(size, "history", "--search", RARE)
            megabytes = self.path(size).stat().st_size / 2**20
            print(
                f"indexed in {cost.cpu / 1000:.1f} s of CPU; {megabytes:.0f} MiB with the index", flush=True
            )

    def path(self, size: int) -> Path:
        """Return where the store of this size is."""
        return self.folder / f"{size}" / "chatcli.db"

    def chatcli(self, size: int, *words: str, **environment: str) -> Cost:
        """Run the program on the store of this size."""
        store = {"CHATCLI_STORE": f"sqlite:///{self.path(size)}"}
        return run([self.program, *words], {**self.environment, **store, **environment})

    def commands(self, size: int) -> dict[str, Cost]:
        """Run each command once."""
        self.deleted[size] += 1
        middle = id_of(size // 2 + self.deleted[size])
        line = {"_CHATCLI_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
        return {
            "history": self.chatcli(size, "history"),
            "history --search (rare)": self.chatcli(size, "history", "--search", RARE),
            "history --search (in each turn)": self.chatcli(size, "history", "--search", COMMON),
            "history ID": self.chatcli(size, "history", id_of(size // 3)),
            "history PREFIX": self.chatcli(size, "history", id_of(size // 3)[:30]),
            "completion of 4 characters": self.chatcli(
                size, **line, COMP_WORDS=f"chatcli history {middle[:4]}"
            ),
            "delete ID": self.chatcli(size, "delete", "--yes", middle),
        }

    def cleanup(self, size: int) -> tuple[float, Cost]:
        """Remove the older half; return threads a second, and the cost of it."""
        date = f"{moment_of(size // 2):%Y-%m-%d}"
        with closing(sqlite3.connect(self.path(size))) as connection:
            count = "SELECT count(*) FROM threads"
            (before,) = connection.execute(count).fetchone()
            cost = self.chatcli(size, "cleanup", "--older-than", date, "--yes", "--force-clock")
            (after,) = connection.execute(count).fetchone()
        return (before - after) / cost.wall, cost


def measure(threads: int = 100_000, rounds: int = 5, keep: Path | None = None) -> list[Row]:
    """Print the tables, and return the rows that have targets."""
    with tempfile.TemporaryDirectory() as name:
        folder = keep or Path(name)
        bench = Bench(folder, (SMALL, 10 * SMALL, threads))
        peer = _peer_log(folder / "llm", bench.environment)
        peers: list[float] = []
        costs: dict[int, dict[str, list[float]]] = {SMALL: {}, threads: {}}
        for number in range(rounds + 1):
            peers.append(run(peer, bench.environment).cpu)
            for size, times in costs.items():
                for command, cost in bench.commands(size).items():
                    times.setdefault(command, [])
                    if number:  # the first round warms everything up
                        times[command].append(cost.cpu)
        base = statistics.median(peers[1:])
        print(f"\n{'llm logs -n 1':<34}{base:>8.0f} ms")
        print(f"{'':<34}{SMALL:>11}{threads:>11}   ratio  of llm")
        ratios = {}
        for command in costs[SMALL]:
            few, many = (statistics.median(costs[size][command]) for size in (SMALL, threads))
            ratios[command] = many / few
            print(f"{command:<34}{few:>8.0f} ms{many:>8.0f} ms{many / few:>8.2f}{many / base:>8.2f}")
        print(f"\n{'cleanup of half':<34}{'threads/s':>11}{'CPU':>11}{'peak':>12}")
        for size in (10 * SMALL, threads):
            speed, cost = bench.cleanup(size)
            print(
                f"{size:<34}{speed:>11.0f}{cost.cpu / 1000:>9.1f} s{cost.memory / 1024:>8.1f} MiB", flush=True
            )
    return [
        Row(f"CPU of {command}, {threads:,} threads / {SMALL}", ratios[command], "<= 1.2")
        for command in ("history", "history ID", "completion of 4 characters")
    ]


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="make the stores there, and use those that are there")
    arguments = parser.parse_args()
    print("", *measure(arguments.threads, arguments.rounds, arguments.keep), sep="\n")


def _peer_log(folder: Path, environment: dict[str, str]) -> list[str]:
    """Give `llm` a log of 20 answers; return its command."""
    program = peer_program()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / "logs.db"
    path.touch()
    run([program, "logs", "-n", "1"], environment)  # makes the tables
    with closing(sqlite3.connect(path)) as connection:
        for number in range(20):
            connection.execute(
                "INSERT INTO responses (id, model, prompt, response, datetime_utc) VALUES (?, ?, ?, ?, ?)",
                (f"{number:026}", "offline", "How hot?", "80 degrees. " * 20, "2026-01-01T00:00:00"),
            )
        connection.commit()
    return [program, "logs", "-n", "1"]


if __name__ == "__main__":
    main()
