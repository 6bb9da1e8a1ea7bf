"""Where the time goes: one-shots, turns of a server, and a cleanup, sampled 500 times a second.

    uv run --group bench python -m tests.benchmarks.profile [--only one-shot,server,cleanup] [--output FOLDER]

For each path the packages, modules and functions are shown that use most CPU: what was sampled in them
(self), and in them or in what they called (total), in percent. The stacks are kept in FOLDER, a line each,
for https://www.speedscope.app or flamegraph.pl. The sampler is py-spy; it stands outside the process, so
that importing, which is most of a one-shot, is seen like everything else.
"""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TypeAlias

import psutil  # type: ignore[import-untyped]

from tests.benchmarks.scale import fill, moment_of
from tests.benchmarks.startup import ROOT
from tests.fake_provider import FakeProvider, running

MODEL = "openai:tokens-20"
ONE_SHOTS = 5
TURNS = 1000
THREADS = 10_000
MOST = 15
"""Lines of a table."""

Stacks: TypeAlias = Counter[tuple[str, ...]]
"""How often each stack was seen; frames are ``function (file:line)``, the outermost one first."""

_ROOTS = re.compile(rf"^(.*/site-packages|.*/python3\.[0-9]+|{re.escape(str(ROOT))})/")
_FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(:(?P<line>\d+))?\)")
_MACHINERY = "<frozen importlib"
_WAITING = re.compile(r"(\w+Selector\.select|_worker|wait) \(")
"""Frames of threads that wait, whatever the sampler takes them for."""
_NO_FRAME = "the interpreter itself"


@dataclass(frozen=True)
class Place:
    """A home of its own, before the fake provider."""

    home: Path
    environment: Mapping[str, str]
    provider: FakeProvider

    @property
    def stacks(self) -> Path:
        """The file that the sampler writes."""
        return self.home / "stacks"

    @contextmanager
    def sampled(self, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run chatcli with these words under the sampler, until the block and the run are over."""
        sampler = shutil.which("py-spy", path=Path(sys.executable).parent)
        assert sampler is not None, "py-spy is in the dependency group bench"
        record = [sampler, "record", "--rate", "500", "--format", "raw", "--full-filenames"]
        command = [*record, "--output", str(self.stacks), "--", sys.executable, "-m", "chatcli", *words]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(
            command, env=self.environment, stdin=quiet, stdout=quiet, stderr=subprocess.PIPE
        ) as process:
            yield process
            _, said = process.communicate()
        assert process.returncode == 0, said.decode()

    def read(self) -> Stacks:
        """Return what the sampler wrote."""
        stacks: Stacks = Counter()
        for line in self.stacks.read_text().splitlines():
            frames, _, count = line.rpartition(" ")
            stack = tuple((frames or _NO_FRAME).split(";"))
            if _WAITING.match(stack[-1]) is None:
                stacks[stack] += int(count)
        return stacks


def one_shot(place: Place) -> Stacks:
    """Sample commands that go on with a thread of some turns."""
    stacks: Stacks = Counter()
    for number in range(ONE_SHOTS + 1):
        with place.sampled("chat", "-t", "demo", "--model", MODEL, "hi"):
            pass
        if number:  # the first one makes the store
            stacks += place.read()
    return stacks


def server(place: Place) -> Stacks:
    """Sample turns of a server, one after the other on one thread, without its start."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with place.sampled("serve", "--port", str(port)) as sampler:
        deadline = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert sampler.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.05)
        connection = HTTPConnection("127.0.0.1", port)
        body = f'{{"input": "hi", "thread_id": "demo", "model": "{MODEL}"}}'
        for _ in range(TURNS):
            connection.request("POST", "/chat/stream", body, {"Content-Type": "application/json"})
            answer = connection.getresponse().read()
            assert b'"completed"' in answer, answer
        connection.close()
        for process in psutil.Process(sampler.pid).children():
            process.terminate()
    found = place.read()
    started = Counter({stack: count for stack, count in found.items() if _is_of_the_start(stack)})
    return found - started


def _is_of_the_start(stack: tuple[str, ...]) -> bool:
    return any(_MACHINERY in frame or frame.startswith("import_graph ") for frame in stack)


def cleanup(place: Place) -> Stacks:
    """Sample the removal of half of many threads."""
    path = place.home / "many" / "chatcli.db"
    fill(path, THREADS)
    words = ("--older-than", f"{moment_of(THREADS // 2):%Y-%m-%d}", "--yes", "--force-clock")
    with place.sampled("cleanup", "--store", f"sqlite:///{path}", *words):
        pass
    return place.read()


PATHS = {"one-shot": one_shot, "server": server, "cleanup": cleanup}


def package_of(frame: str) -> str:
    """Return the package, or the module of the standard library, that a frame is in."""
    return module_of(frame).partition(".")[0]


def module_of(frame: str) -> str:
    """Return the module that a frame is in."""
    found = _FRAME.fullmatch(frame)
    file = frame if found is None else found["file"]
    if file.startswith("<"):
        return file.strip("<>").removeprefix("frozen ")
    return _ROOTS.sub("", file).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def function_of(frame: str) -> str:
    """Return the function that a frame is in; `<module>` is the body of a module, run when it is imported."""
    found = _FRAME.fullmatch(frame)
    return frame if found is None else f"{module_of(frame)}:{found['function']}"


def show(stacks: Stacks) -> None:
    """Print the tables of one path."""
    everything = stacks.total()
    levels: tuple[Callable[[str], str], ...] = (package_of, module_of, function_of)
    for level in levels:
        own: Counter[str] = Counter()
        total: Counter[str] = Counter()
        for stack, count in stacks.items():
            # What the import system does, it does for the module that imports.
            inner = next((frame for frame in reversed(stack) if _MACHINERY not in frame), stack[-1])
            own[level(inner)] += count
            for name in {level(frame) for frame in stack}:
                total[name] += count
        print(f"\n  {'self':>6} {'total':>6}  {level.__name__.partition('_')[0]}")
        for name, count in own.most_common(MOST):
            print(f"  {count / everything:>6.1%} {total[name] / everything:>6.1%}  {name}")


def main() -> None:
    """Print the tables of all paths, or of those asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PATHS))
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir(), "chatcli-profile"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.only.split(","):
        with tempfile.TemporaryDirectory() as home, running() as provider:
            environment = {
                **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
                "XDG_DATA_HOME": home,
                "XDG_CONFIG_HOME": home,
                "OPENAI_API_KEY": "sk-benchmark",
                "OPENAI_BASE_URL": provider.url,
                "RATE_LIMIT_CALLS": "1000000",
                "CHATCLI_CLIENT_RATE": "1000000/minute",
                "LOG_LEVEL": "WARNING",
            }
            stacks = PATHS[name](Place(Path(home), environment, provider))
        kept = arguments.output / f"{name}.stacks"
        kept.write_text("".join(f"{';'.join(stack)} {count}\n" for stack, count in stacks.items()))
        print(f"\n{name}: {stacks.total()} samples, in {kept}")
        show(stacks)


if __name__ == "__main__":
    main()
