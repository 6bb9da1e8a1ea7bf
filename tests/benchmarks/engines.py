"""What a token costs in each engine, and how soon a request leaves: CPU in this process, one answer at once.

    uv run python -m tests.benchmarks.engines [--rounds 5] [--tokens 4000]

The fake provider runs in a process of its own and sends the whole answer as fast as it can. The engines
take turns; shown are medians. "token" is the CPU of an answer of that many tokens less that of a short
one, "short" that of an answer of 20. "import" is the CPU of a new process that opens the engine, less
that of one that imports asyncio and reads the settings; "leaves" the time from the start of a process
to the arrival of its request.
"""

import argparse
import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import aclosing
from itertools import product
from pathlib import Path

from chatcli.config import Settings, load_settings
from chatcli.models import Message, ModelOptions, Role, utc_now
from chatcli.providers import ModelSpec, open_provider
from chatcli.providers.base import Provider
from chatcli.providers.policy import ask
from tests.benchmarks.startup import cpu_of
from tests.fake_provider import FakeProvider, running

ENGINES = tuple(product(("openai", "groq"), ("wire", "langchain")))
SHORT = 20

IMPORTS = "import asyncio\nfrom chatcli.config import load_settings\nsettings = load_settings()\n"
OPEN = IMPORTS + (
    "from chatcli.providers import ModelSpec, open_provider\n"
    "provider = open_provider(settings, ModelSpec('{provider}', 'tokens-1'))\n"
)
ASK = OPEN + (
    "from chatcli.models import Message, Role, utc_now\n"
    "from chatcli.models import ModelOptions\n"
    "async def main():\n"
    "    async for _ in provider.stream([Message('1', Role.HUMAN, 'hi', utc_now())], ModelOptions()): pass\n"
    "asyncio.run(main())\n"
)


def environment(fake: FakeProvider, home: Path, provider: str, choice: str) -> dict[str, str]:
    """Return the variables under which a provider of the fake uses an engine."""
    config = home / choice / "chatcli" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    if choice != "wire":  # which needs no file to be chosen
        config.write_text(f'[providers.{provider}]\nengine = "{choice}"\n')
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / choice),
        f"{provider.upper()}_API_KEY": "key",
        f"{provider.upper()}_BASE_URL": fake.url,
    }


async def cost_of(provider: Provider, settings: Settings, tokens: int, *, through_policy: bool) -> float:
    """Return the milliseconds of CPU of one answer."""
    messages = [Message("1", Role.HUMAN, "hi", utc_now())]
    options = ModelOptions()
    before = time.process_time()
    if through_policy:
        asked = ask(provider, messages, options, timeouts=settings.timeouts)
    else:
        asked = provider.stream(messages, options)  # type: ignore[assignment]
    count = 0
    async with aclosing(asked):
        async for deltas in asked:
            count += sum(bool(delta.text) for delta in deltas)
    assert count == tokens, count
    return (time.process_time() - before) * 1000


def measure_tokens(settings: Settings, provider: str, tokens: int, rounds: int) -> list[float]:
    """Return microseconds a token, the same through `ask`, and milliseconds of a short answer."""

    async def run() -> list[float]:
        long, short = (
            open_provider(settings, ModelSpec(provider, f"tokens-{count}")) for count in (tokens, SHORT)
        )
        await cost_of(short, settings, SHORT, through_policy=True)
        found: list[tuple[float, ...]] = []
        for _ in range(rounds):
            brief = await cost_of(short, settings, SHORT, through_policy=False)
            bare, asked = [
                await cost_of(long, settings, tokens, through_policy=policy) for policy in (False, True)
            ]
            found.append((*((cost - brief) * 1000 / (tokens - SHORT) for cost in (bare, asked)), brief))
        await long.aclose()
        await short.aclose()
        return [statistics.median(column) for column in zip(*found, strict=True)]

    gc.collect()
    gc.freeze()
    return asyncio.run(run())


def time_to_request(fake: FakeProvider, variables: dict[str, str], code: str) -> float:
    """Return the milliseconds from the start of a process to the arrival of its request."""
    fake.reset()
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], env=variables, check=True)
    return float(fake.requests()[0]["at"] - began) * 1000


def measure(
    fake: FakeProvider, variables: dict[str, str], provider: str, *, tokens: int, rounds: int
) -> list[float]:
    """Return one row of the table."""
    row = measure_tokens(load_settings(environ=variables), provider, tokens, rounds)
    processes: list[tuple[float, ...]] = []
    for _ in range(rounds):
        opened, bare = (
            cpu_of([sys.executable, "-c", code], variables)
            for code in (OPEN.format(provider=provider), IMPORTS)
        )
        leaves = time_to_request(fake, variables, ASK.format(provider=provider))
        processes.append((opened - bare, leaves))
    return [*row, *(statistics.median(column) for column in zip(*processes, strict=True))]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=4000)
    given = parser.parse_args()
    print(f"{'engine':18} {'token':>8} {'in ask':>8} {'short':>8} {'import':>8} {'leaves':>8}")
    print(f"{'':18} {'us':>8} {'us':>8} {'ms':>8} {'ms':>8} {'ms':>8}")
    with running() as fake, tempfile.TemporaryDirectory() as folder:
        for provider, choice in ENGINES:
            variables = environment(fake, Path(folder), provider, choice)
            row = measure(fake, variables, provider, tokens=given.tokens, rounds=given.rounds)
            print(f"{f'{provider} {choice}':18} " + " ".join(f"{value:8.1f}" for value in row))


if __name__ == "__main__":
    main()
