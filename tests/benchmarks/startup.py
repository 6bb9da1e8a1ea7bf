"""What the short commands cost: CPU of the whole process, beside a like command of `llm` in the same rounds.

    uv run python -m tests.benchmarks.startup [--rounds 10]

The commands take turns, so that a noisy machine hits all of them; the ratio is that of each round, and the
median is shown. The thread has five turns, and so has the log of `llm` 0.36, which uv installs into an
environment of its own.
"""

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
from pathlib import Path

from tests.benchmarks.server import Row

ROOT = Path(__file__).parents[2]
TURNS = 5
COMPLETION = {"_CHATCLI_COMPLETE": "complete_bash", "COMP_CWORD": "2", "COMP_WORDS": "chatcli history d"}

PEERS = {"--version": ["--version"], "--help": ["--help"], "logs -n 1": ["logs", "-n", "1"]}
"""Commands of `llm`."""
COMMANDS = {
    "--version": (["--version"], "--version", "<= 0.03"),
    "--help": (["--help"], "--help", "<= 0.12"),
    "completion of an id": ([], "--help", "<= 0.15"),
    "history ID": (["history", "demo"], "logs -n 1", "<= 0.12"),
    "history": (["history"], "logs -n 1", "<= 0.12"),
}
"""Our own, each with the one of `llm` that it is compared with and its target."""


def cpu_of(command: list[str], environment: dict[str, str]) -> float:
    """Return user and system milliseconds of one run of `command`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ((after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)) * 1000


def own_program(folder: Path) -> str:
    """Return the path of chatcli in an environment of its own, without the tools of developers."""
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = ["uv", "sync", "--quiet", "--no-dev", "--locked", "--compile-bytecode"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return str(folder / "bin" / "chatcli")


def peer_program() -> str:
    """Return the path of `llm`, past uv's own start."""
    script = "import shutil; print(shutil.which('llm'))"
    found = subprocess.run(
        ["uvx", "--quiet", "--from", "llm==0.36", "python", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()


def environment_of(home: Path) -> dict[str, str]:
    """Return variables that keep both programs below `home`, and let byte code be written."""
    environment = {**os.environ, "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**environment, "LLM_USER_PATH": str(home)}


def measure(rounds: int = 10) -> list[Row]:
    """Run all commands, print what they took, and return the rows."""
    from tests.benchmarks.first_token import begin_threads
    from tests.fake_provider import running

    with tempfile.TemporaryDirectory() as name, running() as provider:
        home = Path(name)
        programs = own_program(home / "venv"), peer_program()
        environment = begin_threads(home, provider, *programs)
        own = {
            command: ([programs[0], *words], environment if words else {**environment, **COMPLETION})
            for command, (words, _, _) in COMMANDS.items()
        }
        peers = {command: ([programs[1], *words], environment) for command, words in PEERS.items()}
        found: list[tuple[dict[str, float], dict[str, float]]] = []
        for number in range(rounds + 1):
            costs = tuple({command: cpu_of(*run) for command, run in runs.items()} for runs in (own, peers))
            if number:  # the first round warms everything up
                found.append((costs[0], costs[1]))
    print(f"\n{'CPU ms':<24} {'chatcli':>8} {'llm':>8}")
    rows = []
    for command, (_, peer, target) in COMMANDS.items():
        ours, theirs = (
            statistics.median(one[side][name] for one in found) for side, name in ((0, command), (1, peer))
        )
        print(f"{command:<24} {ours:>8.1f} {theirs:>8.1f}  llm {peer}")
        ratio = statistics.median(one[0][command] / one[1][peer] for one in found)
        rows.append(Row(f"CPU of {command} / llm {peer}", ratio, target))
    return rows


def main() -> None:
    """Print the table, and the rows that have targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    print("", *measure(parser.parse_args().rounds), sep="\n")


if __name__ == "__main__":
    main()
