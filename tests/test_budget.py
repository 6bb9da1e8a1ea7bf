"""What each command may cost to start, in what does not depend on the machine: modules and instructions.

Seconds are for ``python -m tests.benchmarks``. Where a budget is no longer kept, its profile shows why
(``python -m tests.benchmarks.profile``); one that is kept by far is to be lowered.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from chatcli.models import TurnState
from tests.cli.seed import keep
from tests.fake_provider import FakeProvider
from tests.program import Chatcli
from tests.server.peer import TOKENS, serving

COUNTING = """
import sys
before = set(sys.modules)
from chatcli.__main__ import main
code = main()
with open("imported", "w") as file:
    print(len(set(sys.modules) - before), file=file)
sys.exit(code)
"""

YARDSTICK = ("-c", "import asyncio")
"""What instructions are compared with: an import of the standard library, by the same interpreter."""


@dataclass(frozen=True)
class Budget:
    """A command, and the most that it may import and execute."""

    words: str
    modules: int
    """Beside those that the interpreter has when it starts; a tenth above what it was."""
    work: float
    """Instructions, in those of the yardstick; a seventh above what it was."""
    needs: str = "chatcli"
    """The fixture that has what is around the program."""
    always: bool = False
    """Whether its instructions are counted in every run of the tests: that takes seconds."""
    environment: dict[str, str] = field(default_factory=dict)


COMPLETION = {"_CHATCLI_COMPLETE": "complete_bash", "COMP_CWORD": "2", "COMP_WORDS": "chatcli history d"}

BUDGETS = {
    "--version": Budget("--version", 4, 0.27),
    "--help": Budget("--help", 128, 1.09, always=True),
    "completion of an id": Budget("", 190, 1.39, environment=COMPLETION),
    "history": Budget("history", 190, 1.36),
    "history of one thread": Budget("history demo", 190, 1.37, always=True),
    "cleanup --dry-run": Budget("cleanup --older-than 1d --dry-run", 193, 1.4),
    "delete": Budget("delete demo --dry-run", 193, 1.4),
    "chat": Budget("chat -c --model openai:tokens-20 hi", 1245, 13.2, needs="online"),
    "chat --server": Budget("chat -t demo --model openai:tokens-20 hi", 265, 1.98, needs="remote"),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Test each command; count the instructions of all of them only where that is asked for."""
    if "budget" in metafunc.fixturenames:
        every = metafunc.function is test_modules or metafunc.config.getoption("--every-command")
        chosen = {name: budget for name, budget in BUDGETS.items() if every or budget.always}
        metafunc.parametrize("budget", chosen.values(), ids=chosen)


@pytest.fixture
def chatcli(tmp_path: Path) -> Chatcli:
    """The program, with one thread in its store, and with hashes that are the same in each run."""
    program = Chatcli.at(tmp_path).with_environment(PYTHONHASHSEED="0")
    keep(program, "demo", [("hello", "hi", TurnState.COMPLETE)])
    return program


@pytest.fixture
def online(chatcli: Chatcli, fake_provider: FakeProvider) -> Chatcli:
    """The program, with a key and the fake provider behind ``openai:``."""
    return chatcli.with_environment(OPENAI_API_KEY="sk-budget", OPENAI_BASE_URL=fake_provider.url)


@pytest.fixture
def remote(chatcli: Chatcli, fake_provider_process: FakeProvider) -> Iterator[Chatcli]:
    """The program, with a server behind a Unix socket."""
    path = chatcli.home / "s"
    with serving(chatcli.home / "server", "--uds", str(path), provider=fake_provider_process, uds=True):
        yield chatcli.with_environment(
            CHATCLI_SERVER=f"unix://{path}", CHATCLI_API_TOKEN=TOKENS["local"], RATE_LIMIT_CALLS="10000"
        )


@pytest.fixture
def program(request: pytest.FixtureRequest, budget: Budget) -> Chatcli:
    """The program, with what the command needs around it."""
    found: Chatcli = request.getfixturevalue(budget.needs)
    return found.with_environment(**budget.environment)


def test_modules(program: Chatcli, budget: Budget) -> None:
    """A command imports what it needs: a new dependency on its way shows here."""
    done = replace(program, command=(sys.executable, "-c", COUNTING))(*budget.words.split())
    assert done.returncode == 0, done.stderr
    assert int((program.home / "imported").read_text()) <= budget.modules


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_instructions(program: Chatcli, budget: Budget, tmp_path: Path) -> None:
    """A command does no more than it did, on whatever machine and beside whatever else runs."""
    program(*budget.words.split())  # whatever is made once is there now, byte code above all
    unit = instructions(program, tmp_path, *YARDSTICK)
    assert instructions(program, tmp_path, "-m", "chatcli", *budget.words.split()) / unit <= budget.work


def instructions(program: Chatcli, folder: Path, *words: str) -> int:
    """Return how many instructions an interpreter executes with these words."""
    log = folder / "valgrind"
    cachegrind = (
        "--tool=cachegrind",
        "--cache-sim=no",
        "--cachegrind-out-file=/dev/null",
        f"--log-file={log}",
    )
    done = replace(program, command=("valgrind", *cachegrind, sys.executable))(*words)
    assert done.returncode == 0, done.stderr
    found = re.search(r"I +refs: +([0-9,]+)", log.read_text())
    assert found is not None, log.read_text()
    return int(found[1].replace(",", ""))
