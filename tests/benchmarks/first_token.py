"""How long until a one-shot shows its first token, and what it costs, beside `llm` and curl.

    uv run python -m tests.benchmarks.first_token [--rounds 10]

Every program continues a thread of five turns against the same fake provider on this machine; the thin
client (``--server unix://…``) does it on a server that is running, beside `llm` without a thread. The
programs take turns, so that a noisy machine hits all of them; ratios are those of each round, and medians
are shown. Times are milliseconds from the start of the process to the first token on its standard output;
CPU is user and system time of the whole process.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.server import Row
from tests.benchmarks.startup import TURNS, environment_of, own_program, peer_program
from tests.fake_provider import FakeProvider, running

AT_ONCE, LATER = "tokens-20", "paced-400-20-20"
"""The fake provider's models: the first token comes at once, or after 400 ms."""
_FIRST_TOKEN = b"w0"


class Cost(NamedTuple):
    """Milliseconds to the first token and to the end, and of CPU."""

    first: float
    end: float
    cpu: float


def run(command: list[str], environment: dict[str, str]) -> Cost:
    """Measure one run of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    seen = piece = b""
    while _FIRST_TOKEN not in seen and (piece := os.read(process.stdout.fileno(), 65536)):
        seen += piece
    first = time.perf_counter()
    process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    end = time.perf_counter()
    process.returncode = os.waitstatus_to_exitcode(status)
    assert status == 0, process.stderr.read()
    assert piece, seen
    process.stdout.close()
    process.stderr.close()
    return Cost((first - start) * 1e3, (end - start) * 1e3, (used.ru_utime + used.ru_stime) * 1e3)


def begin_threads(home: Path, provider: FakeProvider, chatcli: str, llm: str) -> dict[str, str]:
    """Give both programs a thread of five turns; return their environment."""
    (home / "extra-openai-models.yaml").write_text(
        "".join(
            f"- model_id: {model}\n  model_name: {model}\n  api_base: {provider.url}\n"
            for model in (AT_ONCE, LATER)
        )
    )
    environment = {
        **environment_of(home),
        "OPENAI_API_KEY": "sk-benchmark",
        "OPENAI_BASE_URL": provider.url,
        "RATE_LIMIT_CALLS": "100000",
        "CHATCLI_CLIENT_RATE": "100000/minute",
    }
    for turn in range(TURNS):
        run([chatcli, "chat", "-t", "demo", "-m", f"openai:{AT_ONCE}", "hi"], environment)
        run([llm, *(["-c"] if turn else []), "-m", AT_ONCE, "hi"], environment)
    return environment


def curl(provider: FakeProvider, model: str) -> list[str]:
    """Return the command that asks the same of the provider, without a thread."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    words = ["curl", "-sN", "-H", "content-type: application/json", "-d", json.dumps(body)]
    return [*words, f"{provider.url}/chat/completions"]


@contextmanager
def serving(chatcli: str, socket: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a server on a Unix socket until the end of the block."""
    with subprocess.Popen(
        [chatcli, "serve", "--uds", str(socket)], env=environment, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        while not socket.exists():
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.05)
        yield
        process.terminate()


class Rounds:
    """What the programs took, taking turns."""

    def __init__(
        self, title: str, commands: dict[str, list[str]], environment: dict[str, str], rounds: int
    ) -> None:
        for command in commands.values():
            run(command, environment)  # warms everything up
        self._found = [
            {program: run(command, environment) for program, command in commands.items()}
            for _ in range(rounds)
        ]
        print(f"\n{title:<24} {'first ms':>9} {'end ms':>9} {'CPU ms':>9}")
        for program in commands:
            costs = [one[program] for one in self._found]
            shown = (statistics.median(getattr(cost, field) for cost in costs) for field in Cost._fields)
            print(f"{program:<24}" + "".join(f" {value:>9.1f}" for value in shown))

    def median(self, figure: Callable[[dict[str, Cost]], float]) -> float:
        """Return the median of a figure of the rounds."""
        return statistics.median(map(figure, self._found))


def measure(rounds: int = 10) -> list[Row]:
    """Run all programs, print what they took, and return the rows."""
    with tempfile.TemporaryDirectory() as name, running() as provider:
        home = Path(name)
        chatcli, llm = own_program(home / "venv"), peer_program()
        environment = begin_threads(home, provider, chatcli, llm)
        chat = [chatcli, "chat", "-c", "hi", "-m"]
        commands = {"chatcli": [*chat, f"openai:{AT_ONCE}"], "llm": [llm, "-c", "hi", "-m", AT_ONCE]}
        at_once = Rounds("one-shot, model at once", commands, environment, rounds)
        rows = [
            Row("first token of a one-shot / llm -c", at_once.median(_first("chatcli", "llm")), "<= 0.2"),
            Row("CPU of a one-shot / llm -c", at_once.median(_cpu("chatcli", "llm")), "<= 0.85"),
        ]
        if shutil.which("curl"):
            commands = {
                "chatcli": [*chat, f"openai:{LATER}"],
                "curl": curl(provider, LATER),
                "llm": [llm, "-c", "hi", "-m", LATER],
            }
            later = Rounds("model after 400 ms", commands, environment, rounds)
            own, peer = later.median(_after("chatcli")), later.median(_after("llm"))
            rows.append(Row("first token after curl's, model after 400 ms (ms)", own, "<= 110"))
            rows.append(Row("the same / llm -c", own / peer, "<= 0.208"))
        with serving(chatcli, home / "socket", environment):
            thin = [*chat[:-1], "--server", f"unix://{home / 'socket'}", "-m", f"openai:{AT_ONCE}"]
            commands = {"thin client": thin, "llm": [llm, "hi", "-m", AT_ONCE]}
            over = Rounds("over a server", commands, environment, rounds)
        rows += [
            Row("first token of the thin client / llm", over.median(_first("thin client", "llm")), "<= 0.12"),
            Row("CPU of the thin client / llm", over.median(_cpu("thin client", "llm")), "<= 0.1"),
        ]
    return rows


def _first(own: str, peer: str) -> Callable[[dict[str, Cost]], float]:
    return lambda one: one[own].first / one[peer].first


def _after(program: str) -> Callable[[dict[str, Cost]], float]:
    return lambda one: one[program].first - one["curl"].first


def _cpu(own: str, peer: str) -> Callable[[dict[str, Cost]], float]:
    return lambda one: one[own].cpu / one[peer].cpu


def main() -> None:
    """Print the tables, and the rows that have targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    print("", *measure(parser.parse_args().rounds), sep="\n")


if __name__ == "__main__":
    main()
