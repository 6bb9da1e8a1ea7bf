"""What a command costs to start: CPU of the whole process, beside `llm --help` in the same rounds.

    uv run python -m tests.benchmarks.startup [--rounds 10]

The commands take turns, so that a noisy machine hits all of them; the ratio is that of each round,
and the median is shown. `llm` 0.36 is installed into an environment of its own by uv.
"""

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        program = own_program(Path(home) / "venv")
        # Byte code is written: the benchmark is of the program, not of the compiler.
        environment = {**os.environ, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home, "LLM_USER_PATH": home}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(5):
            words = [program, "chat", "--model", "offline", "-t", "demo", f"prompt {number}"]
            subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        peer = [peer_program(), "--help"]
        commands = {
            "--version": [program, "--version"],
            "--help": [program, "--help"],
            "history ID": [program, "history", "demo"],
            "history": [program, "history"],
        }
        ratios: dict[str, list[float]] = {name: [] for name in commands}
        times: dict[str, list[float]] = {name: [] for name in commands}
        peers = []
        for warm in [True] + [False] * arguments.rounds:
            base = cpu_of(peer, environment)
            own = {name: cpu_of(command, environment) for name, command in commands.items()}
            if not warm:
                peers.append(base)
                for name, value in own.items():
                    ratios[name].append(value / base)
                    times[name].append(value)
    print(f"{'llm --help':<12} {statistics.median(peers):>7.0f} ms")
    for name in commands:
        print(
            f"{name:<12} {statistics.median(times[name]):>7.0f} ms  x {statistics.median(ratios[name]):.3f}"
        )


if __name__ == "__main__":
    main()
