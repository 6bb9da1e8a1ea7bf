"""How long until a one-shot shows its first token, and what it costs, beside `llm -c` and curl.

    uv run python -m tests.benchmarks.first_token [--rounds 10]

Every program continues a thread of five turns against the same fake provider on this machine. The
programs take turns, so that a noisy machine hits all of them; ratios are those of each round, and
medians are shown. Times are milliseconds from the start of the process to the first byte of the
answer on its standard output; CPU is user and system time of the whole process.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.startup import own_program, peer_program
from tests.fake_provider import FakeProvider, running

TURNS = 5
MODELS = {"0 ms": "tokens-20", "400 ms": "paced-400-20-20"}
"""The fake provider's models, by their time to the first token."""


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Return milliseconds to the first byte and to the end, and of CPU, of one run."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    first_byte = process.stdout.read(1)
    first = time.perf_counter()
    process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    end = time.perf_counter()
    assert first_byte, process.stderr.read()
    assert status == 0, process.stderr.read()
    return (first - start) * 1e3, (end - start) * 1e3, (used.ru_utime + used.ru_stime) * 1e3


def prepare(home: Path, provider: FakeProvider, llm: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the environment, and each program's command up to the model's name."""
    (home / "extra-openai-models.yaml").write_text(
        "".join(
            f"- model_id: {model}\n  model_name: {model}\n  api_base: {provider.url}\n"
            for model in MODELS.values()
        )
    )
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "LLM_USER_PATH": str(home),
        "XDG_DATA_HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "OPENAI_API_KEY": "sk-benchmark",
        "OPENAI_BASE_URL": provider.url,
        "RATE_LIMIT_CALLS": "100000",
    }
    chatcli = own_program(home / "venv")
    return environment, {
        "llm -c": [llm, "-c", "hi", "-m"],
        "chatcli -c": [chatcli, "chat", "-c", "hi", "-m"],
    }


def curl(provider: FakeProvider, model: str) -> list[str]:
    """Return the command that asks the same of the provider, without a thread."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    words = ["curl", "-sN", "-H", "content-type: application/json", "-d", json.dumps(body)]
    return [*words, f"{provider.url}/chat/completions"]


def name_of(program: str, model: str) -> str:
    """Return the model as the program names it."""
    return f"openai:{model}" if program.startswith("chatcli") else model


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running() as provider:
        environment, programs = prepare(Path(folder), provider, peer_program())
        for program, command in programs.items():
            begin = [word for word in command if word != "-c"]
            for turn in range(TURNS):
                words = [*(command if turn else begin), name_of(program, MODELS["0 ms"])]
                measure(words, environment)
        for latency, model in MODELS.items():
            commands = {program: [*command, name_of(program, model)] for program, command in programs.items()}
            if shutil.which("curl"):
                commands["curl"] = curl(provider, model)
            rounds = [
                {program: measure(command, environment) for program, command in commands.items()}
                for _ in range(arguments.rounds)
            ]
            show(latency, rounds)


def show(latency: str, rounds: list[dict[str, tuple[float, float, float]]]) -> None:
    """Print the medians of one latency."""

    def median(take: Callable[[dict[str, tuple[float, float, float]]], float]) -> float:
        return statistics.median(take(one) for one in rounds)

    print(f"\nprovider's first token after {latency}")
    print(f"{'':<12} {'first ms':>9} {'x llm':>7} {'end ms':>9} {'CPU ms':>9} {'x llm':>7}")
    for program in rounds[0]:
        print(
            f"{program:<12} {median(lambda one: one[program][0]):>9.0f}"  # noqa: B023 - used at once
            f" {median(lambda one: one[program][0] / one['llm -c'][0]):>7.2f}"  # noqa: B023
            f" {median(lambda one: one[program][1]):>9.0f} {median(lambda one: one[program][2]):>9.0f}"  # noqa: B023
            f" {median(lambda one: one[program][2] / one['llm -c'][2]):>7.2f}"  # noqa: B023
        )


if __name__ == "__main__":
    main()
