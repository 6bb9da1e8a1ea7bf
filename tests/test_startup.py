"""Start-up is a feature: what the cheap commands must never import."""

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from chatcli.cli import COMMANDS
from chatcli.models import TurnState
from tests.cli.seed import keep
from tests.program import Chatcli

HEAVY = {
    "asyncio",
    "httpx",
    "httpx._main",
    "langchain_core",
    "langchain_groq",
    "langchain_openai",
    "langgraph",
    "langsmith",
    "msgspec",
    "openai",
    "pydantic",
    "requests",
    "rich",
    "sqlite3.dbapi2",
    "typer",
}
STORE = {"sqlite3.dbapi2"}
PROGRAM = {"typer"}

SPY = f"""
import sys
from chatcli.__main__ import main
try:
    main()
finally:
    with open("imported", "w") as file:
        print(*sorted({HEAVY!r} & set(sys.modules)), file=file)
"""


def imported(chatcli: Chatcli, *words: str, **env: str) -> set[str]:
    """Run the program and return which of the heavy modules it had at its end."""
    done = replace(chatcli, command=(sys.executable, "-c", SPY))(*words, env=env)
    assert done.returncode == 0, done.stderr
    return set((chatcli.home / "imported").read_text().split())


@pytest.fixture
def chatcli(tmp_path: Path) -> Chatcli:
    """The program, with one thread in its store."""
    program = Chatcli.at(tmp_path)
    keep(program, "demo", [("hello", "hi", TurnState.COMPLETE)], title="Größe")
    return program


def test_version_imports_nothing(chatcli: Chatcli) -> None:
    """The version is answered before there is a command line."""
    assert imported(chatcli, "--version") == set()


@pytest.mark.parametrize("words", [["--help"], ["history", "--help"], ["chat", "--help"]])
def test_help_imports_typer_only(chatcli: Chatcli, words: list[str]) -> None:
    """Help in a pipe needs no Rich, no store and no settings."""
    assert imported(chatcli, *words) == PROGRAM


def test_the_table_of_commands_says_what_they_say() -> None:
    """The help is written from the table; a command's own help begins with the same words."""
    for name, entry in COMMANDS.items():
        module, _, function = entry.place.partition(":")
        text = getattr(import_module(module), function).__doc__
        assert text.partition("\n")[0] == entry.summary, name


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_imports_the_store_only(chatcli: Chatcli, shell: str) -> None:
    """Completing a command needs nothing, completing a thread the store; never Rich or an event loop."""
    asked = {"_CHATCLI_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert imported(chatcli, _TYPER_COMPLETE_ARGS="chatcli his", **asked) == PROGRAM
    assert imported(chatcli, _TYPER_COMPLETE_ARGS="chatcli history d", **asked) == PROGRAM | STORE
    assert imported(chatcli, _TYPER_COMPLETE_ARGS="chatcli info --model o", **asked) == PROGRAM


@pytest.mark.parametrize(
    "words", [["history"], ["history", "demo"], ["history", "demo", "--json"], ["history", "--json"]]
)
def test_history_imports_the_store_only(chatcli: Chatcli, words: list[str]) -> None:
    """Reading threads in a pipe needs neither an event loop nor anything of a provider."""
    assert imported(chatcli, *words) == PROGRAM | STORE


@pytest.mark.parametrize(
    "words",
    [
        ["history", "--search", "hello"],
        ["history", "--search", "hello", "--json"],
        ["history", "demo", "--format", "html"],
        ["title", "demo", "New"],
        ["fork", "demo", "--json"],
        ["clear", "demo", "--yes"],
        ["delete", "demo", "--yes", "--json"],
        ["delete", "demo", "--dry-run"],
        ["archive", "demo"],
        ["cleanup", "--older-than", "1h", "--json"],
        ["cleanup", "--older-than", "1h", "--dry-run"],
        ["export"],
        ["chat", "-t", "demo", "--undo", "1"],
    ],
)
def test_the_life_of_threads_imports_the_store_only(chatcli: Chatcli, words: list[str]) -> None:
    """Changing, cleaning up and moving threads needs neither an event loop nor a provider."""
    assert imported(chatcli, *words) == PROGRAM | STORE


def test_a_turn_in_a_pipe_imports_no_screen(chatcli: Chatcli) -> None:
    """LangGraph brings httpx along, but not httpx's command line, and with it Rich."""
    assert not {"rich", "httpx._main"} & imported(chatcli, "chat", "--model", "offline", "hi")


def test_import_imports_the_store_only(chatcli: Chatcli) -> None:
    """Reading an export needs nothing but the store."""
    (chatcli.home / "threads.jsonl").write_bytes(chatcli("export").stdout)
    assert imported(chatcli, "import", "threads.jsonl", "--json") == PROGRAM | STORE


def test_info_imports_no_provider(chatcli: Chatcli) -> None:
    """Showing the settings asks nobody."""
    assert imported(chatcli, "info", "--model", "openai:any") == PROGRAM
