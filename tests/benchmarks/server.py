"""What `chatcli serve` costs, beside the plain design and beside bare relays, in the same run.

    uv run --group bench python -m tests.benchmarks.server [--rounds 3] [--only burst,paced,…] [--turns 4000]

All servers stand before one fake provider and are asked by one load generator, each a process of its
own; every turn begins a thread. The servers take turns in each round, so that a noisy machine hits
all of them; what is shown is the median, and that of the ratios within rounds. CPU is that of the
server's process, user and system, in microseconds a token or milliseconds a turn. At the end each row
that has a target is told with it. Needs Linux.
"""

import argparse
import json
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from tests.benchmarks.serving import NAMES, Load, Server, servers

STREAMS = (1, 16, 128, 512)
TURNS = 4000
"""Turns after which memory is looked at; 100,000 take a quarter of an hour."""


class Row(NamedTuple):
    """A figure that has a target: a number after ``<=`` or ``>=``."""

    name: str
    figure: float
    target: str

    @property
    def is_met(self) -> bool:
        """Whether the figure is on the right side of its target."""
        sign, _, bound = self.target.partition(" ")
        return self.figure <= float(bound) if sign == "<=" else self.figure >= float(bound)

    def __str__(self) -> str:
        return f"{self.name:<60} {self.figure:>8.3f}  {self.target:<8} {'' if self.is_met else 'MISSED'}"


Servers: TypeAlias = dict[str, Server]
Rounds: TypeAlias = list[dict[str, Load]]
Figure: TypeAlias = Callable[[Load], float]


def _token_us(load: Load) -> float:
    return load.cpu / load.tokens * 1e6


def _turn_ms(load: Load) -> float:
    return load.cpu / load.turns * 1e3


def _rate(load: Load) -> float:
    return load.turns / load.seconds


def collect(
    running: Servers,
    rounds: int,
    model: str,
    clients: int,
    turns: int,
    *,
    names: tuple[str, ...] = NAMES,
) -> Rounds:
    """Return the figures of all servers in all rounds, after a few turns to warm them up."""
    for name in names:
        running[name].load(model, min(clients, 16), min(turns, 32))
    return [{name: running[name].load(model, clients, turns) for name in names} for _ in range(rounds)]


def show(what: str, unit: str, rounds: Rounds, figure: Figure, against: Sequence[str] = ()) -> list[float]:
    """Print the medians; return, and print, those of chatcli's ratios to `against`."""
    print(f"\n{what}")
    for name in rounds[0]:
        print(f"  {name:<10} {statistics.median(figure(one[name]) for one in rounds):>9.2f} {unit}")
    found = [
        statistics.median(figure(one["chatcli"]) / figure(one[other]) for one in rounds) for other in against
    ]
    for other, ratio in zip(against, found, strict=True):
        print(f"  chatcli / {other:<10} {ratio:>9.3f}")
    sys.stdout.flush()
    return found


def burst(running: Servers, rounds: int) -> list[Row]:
    """16 streams of 200 tokens, as fast as they go."""
    found = collect(running, rounds, "burst-200", 16, 64)
    what = "16 streams in bursts"
    plain, raw, _ = show(what, "us CPU/token", found, _token_us, ("plain", "raw", "relay"))
    return [
        Row(f"{what}, CPU a token / plain design", plain, "<= 0.125"),
        Row(f"{what}, CPU a token / raw relay", raw, "<= 6.5"),
    ]


def paced(running: Servers, rounds: int) -> list[Row]:
    """25 streams with 25 ms between tokens."""
    found = collect(running, rounds, "paced-25-60", 25, 50)
    what = "25 streams, 25 ms apart"
    plain, relay = show(what, "us CPU/token", found, _token_us, ("plain", "relay"))
    return [
        Row(f"{what}, CPU a token / plain design", plain, "<= 0.333"),
        Row(f"{what}, CPU a token / Starlette relay", relay, "<= 2.6"),
    ]


def short(running: Servers, rounds: int) -> list[Row]:
    """Turns of 20 tokens, 64 at once."""
    found = collect(running, rounds, "burst-20", 64, 512)
    what = "20-token turns, 64 at once"
    plain, memory = show(what, "turns/s", found, _rate, ("plain", "memory"))
    show("the same", "ms CPU/turn", found, _turn_ms, ("plain", "memory"))
    return [
        Row(f"{what}, turns a second / plain design", plain, ">= 4"),
        Row(f"{what}, turns a second / memory store", memory, ">= 0.85"),
    ]


def sweep(running: Servers, rounds: int) -> list[Row]:
    """CPU of tokens and turns at different numbers of streams, all of them in each round."""
    names = ("plain", "chatcli")
    loads = [(streams, model) for streams in STREAMS for model in ("burst-200", "burst-20")]
    found: dict[tuple[int, str], Rounds] = {load: [] for load in loads}
    for streams, model in loads:
        collect(running, 0, model, streams, max(32, streams), names=names)
    for _ in range(rounds):
        for streams, model in loads:
            turns = max(64, streams)
            found[streams, model].append({name: running[name].load(model, streams, turns) for name in names})
    for (streams, model), loaded in found.items():
        unit, figure = ("us CPU/token", _token_us) if model == "burst-200" else ("ms CPU/turn", _turn_ms)
        show(f"{streams} streams, {model}", unit, loaded, figure, ("plain",))
    ratios = {
        name: statistics.median(
            _token_us(many[name]) / _token_us(few[name])
            for many, few in zip(found[512, "burst-200"], found[16, "burst-200"], strict=True)
        )
        for name in names
    }
    print(
        "\n" + "".join(f"  {name:<10} {ratios[name]:>9.2f} x a token, 512 streams to 16\n" for name in names)
    )
    return [Row("512 streams, CPU a token / 16 streams", ratios["chatcli"], "<= 1.25")]


def many(running: Servers, rounds: int) -> list[Row]:
    """500 streams of 20 tokens a second: what comes through, and how much later than from the provider."""
    streams, rate, count = 500, 20, 400
    names = ("upstream", "chatcli")
    found = [
        {name: running[name].load(f"timed-{1000 // rate}-{count}", streams, streams) for name in names}
        for _ in range(rounds)
    ]
    show("500 streams of 20 tokens a second", "of the tokens", found, lambda one: _share(one, streams * rate))
    show("the same, while all run", "of them", found, lambda one: one.rate / (streams * rate))
    show("the same", "ms later", found, lambda one: one.delay_ms)
    share = statistics.median(_share(one["chatcli"], streams * rate) for one in found)
    added = statistics.median(one["chatcli"].delay_ms - one["upstream"].delay_ms for one in found)
    return [
        Row("500 streams of 20 tokens/s, share delivered in time", share, ">= 0.9"),
        Row("500 streams of 20 tokens/s, median delay added, ms", added, "<= 6"),
    ]


def _share(load: Load, offered: float) -> float:
    return load.tokens / load.seconds / offered


def first(running: Servers, rounds: int) -> list[Row]:
    """What is added to the provider's time to the first token, with one client."""
    names = ("upstream", *NAMES)
    found = [{name: running[name].load("burst-20", 1, 60) for name in names} for _ in range(rounds + 1)][1:]
    print("\nfirst token later than the provider's")
    added = [{name: one[name].first_ms - one["upstream"].first_ms for name in NAMES} for one in found]
    for name in NAMES:
        print(f"  {name:<10} {statistics.median(one[name] for one in added):>9.2f} ms")
    ratio = statistics.median(one["chatcli"] / one["plain"] for one in added)
    print(f"  chatcli / plain      {ratio:>9.3f}", flush=True)
    return [Row("first token added, one stream / plain design", ratio, "<= 0.667")]


def idle(running: Servers, rounds: int) -> list[Row]:
    """Memory of 1,000 streams that wait for their second token."""
    del rounds
    print("\n1,000 streams that wait")
    found: dict[str, float] = {}
    for name in ("plain", "chatcli", "relay"):
        server = running[name]
        server.load("burst-20", 64, 256)
        before = server.memory()
        command = server.command("held-1", 1000, 1000, 2)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as load:
            assert load.stdout is not None
            load.stdout.readline()
            found[name] = (server.memory() - before) / 1000
            print(f"  {name:<10} {found[name]:>9.1f} KiB/stream", flush=True)
            load.stdout.read()
    return [Row("memory of an idle stream at 1,000, KiB", found["chatcli"], "<= 125")]


def lasting(running: Servers, rounds: int, turns: int = TURNS) -> list[Row]:
    """Memory after many turns, beside that after a fifth of them."""
    del rounds
    server, grown = running["chatcli"], []
    for _ in range(5):
        server.load("burst-20", 64, turns // 5)
        grown.append(server.memory())
    print(f"\nmemory after {turns} turns, MiB\n  {[round(size / 1024, 1) for size in grown]}", flush=True)
    return [Row(f"memory after {turns} turns / after a fifth of them", grown[-1] / grown[0], "<= 1.1")]


def stalled(running: Servers, rounds: int) -> list[Row]:
    """Memory of a server while a client takes nothing of an answer of 400,000 tokens."""
    del rounds
    print("\na client that reads nothing, KiB more after 5, 10, 15 s")
    body = json.dumps({"input": "hello", "model": "openai:burst-400000"}).encode()
    head = "POST /chat/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    for name in ("plain", "chatcli"):
        server = running[name]
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            before = server.memory()
            client.connect(("127.0.0.1", server.port))
            client.sendall(request)
            grown = []
            for _ in range(3):
                time.sleep(5)
                grown.append(server.memory() - before)
            print(f"  {name:<10} {grown}", flush=True)
    return []


PARTS = {part.__name__: part for part in (burst, paced, short, sweep, many, first, idle, lasting, stalled)}


def measure(parts: Sequence[str] = tuple(PARTS), *, rounds: int = 3, turns: int = TURNS) -> list[Row]:
    """Run parts of the benchmark, print what they find, and return the rows that have targets."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    rows: list[Row] = []
    with servers() as running:
        for part in parts:
            rows += lasting(running, rounds, turns) if part == "lasting" else PARTS[part](running, rounds)
    return rows


def main() -> None:
    """Print all tables, or the ones that were asked for, and the rows that have targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--turns", type=int, default=TURNS)
    arguments = parser.parse_args()
    rows = measure(arguments.only.split(","), rounds=arguments.rounds, turns=arguments.turns)
    print("", *rows, sep="\n")


if __name__ == "__main__":
    main()
