"""Shell completion: what shells are offered, with real scripts, and never an error."""

import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from chatcli.models import TurnState
from tests.cli.seed import archive, keep
from tests.program import Chatcli

SCRIPTS = {"bash": "chatcli.bash", "zsh": "_chatcli", "fish": "chatcli.fish"}
COMPLETIONS = Path(__file__).parents[2] / "completions"
TALK = (("hello", "hi", TurnState.COMPLETE),)

LIKE_ZSH = """
_arguments() {
    action=${1#*:*:}
    eval "ws=( ${action:2:${#action}-4} )"
    printf '%s\\n' "${ws[@]}"
}
IFS= read -r -d '' script
eval "$script"
"""
"""What zsh does with a completion: it evaluates it, and `_arguments` evaluates the list in it again.
Bash has the same quotes."""


def in_bash(chatcli: Chatcli, words: list[str]) -> list[str]:
    """Return what bash offers for the last of `words`, split into words as bash does it."""
    script = (
        f"source {shlex.quote(str(COMPLETIONS / SCRIPTS['bash']))}\n"
        f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}\n"
        '_chatcli_completion chatcli; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=dict(chatcli.environment),
        cwd=chatcli.home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout.splitlines()


def ask(chatcli: Chatcli, shell: str, line: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Ask as the scripts of zsh and fish do."""
    variables = {"_CHATCLI_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line}
    return chatcli(env={**variables, "_TYPER_COMPLETE_FISH_ACTION": "get-args", **env})


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_scripts_are_those_of_the_program(chatcli: Chatcli, shell: str) -> None:
    """What stands in completions/ is what the program makes."""
    made = chatcli(env={"_CHATCLI_COMPLETE": f"source_{shell}"}).stdout
    path = COMPLETIONS / SCRIPTS[shell]
    assert path.read_bytes() == made, f"_CHATCLI_COMPLETE=source_{shell} chatcli > completions/{path.name}"


def test_the_wheel_brings_the_scripts() -> None:
    """Each script goes where its shell finds what packages bring."""
    settings = tomllib.loads((COMPLETIONS.parent / "pyproject.toml").read_text())
    assert settings["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"] == {
        "completions/chatcli.bash": "share/bash-completion/completions/chatcli",
        "completions/_chatcli": "share/zsh/site-functions/_chatcli",
        "completions/chatcli.fish": "share/fish/vendor_completions.d/chatcli.fish",
    }


@pytest.mark.parametrize(
    ("shell", "path"),
    [
        ("bash", ".bash_completions/chatcli.sh"),
        ("zsh", ".zfunc/_chatcli"),
        ("fish", ".config/fish/completions/chatcli.fish"),
    ],
)
def test_completion_can_be_installed(chatcli: Chatcli, shell: str, path: str) -> None:
    """The option puts a script where the shell looks."""
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = chatcli("--install-completion", shell, env=named)
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"_CHATCLI_COMPLETE=complete_{shell}" in (chatcli.home / path).read_text()


def test_commands_and_options(chatcli: Chatcli) -> None:
    """Commands and options are completed."""
    assert in_bash(chatcli, ["chatcli", "hist"]) == ["history"]
    assert "--tail" in in_bash(chatcli, ["chatcli", "history", "--"])
    assert in_bash(chatcli, ["chatcli", "history", "x", "--format", "j"]) == ["json", "jsonl"]


def test_threads_complete_with_their_titles(chatcli: Chatcli) -> None:
    """Ids come from the store, last used first, archived ones too, with titles where shells show them."""
    keep(chatcli, "alpha", title="The first")
    keep(chatcli, "alphabet", title="The second")
    keep(chatcli, "beta", title="The third")
    archive(chatcli, "alpha")
    assert in_bash(chatcli, ["chatcli", "history", "al"]) == ["alphabet", "alpha"]
    shown = ask(chatcli, "fish", "chatcli history al").stdout.decode()
    assert shown == "alphabet\tThe second\nalpha\tThe first\n"


def test_threads_of_the_store_on_the_command_line(chatcli: Chatcli) -> None:
    """An earlier --store is where threads are looked for."""
    keep(chatcli, "here")
    elsewhere = f"sqlite:///{chatcli.home}/empty.db"
    assert in_bash(chatcli, ["chatcli", "history", "--store", elsewhere, "h"]) == [""]
    assert not (chatcli.home / "empty.db").exists()


def test_models_complete_past_the_colon(chatcli: Chatcli) -> None:
    """To bash a colon is a word of its own; what is offered goes behind it."""
    assert in_bash(chatcli, ["chatcli", "info", "-m", "opena"]) == [
        "openai:",
        "openai:gpt-6-luna",
        "openai:gpt-6-sol",
    ]
    for words in (["openai", ":", "gpt-6-l"], ["openai:gpt-6-l"]):
        assert in_bash(chatcli, ["chatcli", "info", "-m", *words]) == ["gpt-6-luna"]
    assert in_bash(chatcli, ["chatcli", "info", "-m", "openai", ":"]) == ["gpt-6-luna", "gpt-6-sol"]


HOSTILE = (
    "$(touch owned) `touch owned` \\$(touch owned) \\\\`touch owned` '; touch owned; ' \"; touch owned; \" "
    "[/i] [red]x[/red] a:b ) )) \\"
)


@pytest.mark.parametrize("title", [HOSTILE, 'it\'s "quoted" \\ back', "\x1b]0;owned\x07 \u202e", "a:b c"])
def test_a_title_is_never_evaluated(chatcli: Chatcli, title: str) -> None:
    """No title runs a command in the shell that shows it, upsets completion, or reaches the terminal raw."""
    keep(chatcli, "alpha", TALK, title=title)
    for shell in ("zsh", "fish"):
        done = ask(chatcli, shell, "chatcli history al")
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\x1b" not in done.stdout
    done = ask(chatcli, "zsh", "chatcli history al")
    evaluated = subprocess.run(
        ["bash", "--norc", "-c", LIKE_ZSH],
        input=done.stdout,
        env=dict(chatcli.environment),
        cwd=chatcli.home,
        capture_output=True,
        check=True,
    )
    shown = title.replace("\x1b", "␛").replace("\x07", "␇").replace("\u202e", "<U+202E>")
    assert evaluated.stdout.decode() == "alpha:" + shown.replace("\\", "\\\\").replace(":", "\\:") + "\n"
    assert not (chatcli.home / "owned").exists()


@pytest.mark.parametrize("shell", SCRIPTS)
@pytest.mark.parametrize(
    "line", ["chatcli history al", "chatcli nosuch x", 'chatcli history "al', "chatcli info -m x"]
)
def test_trouble_is_silent(chatcli: Chatcli, shell: str, line: str) -> None:
    """With broken settings, a broken store or a broken line nothing is offered and nothing said."""
    chatcli.database.parent.mkdir(parents=True)
    chatcli.database.write_bytes(b"no database at all" * 1000)
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    for env in ({}, {"CHATCLI_STORE": "nonsense"}):
        done = ask(chatcli, shell, line, **words, **env)
        assert done.returncode == 0
        assert done.stderr == b""
        assert b"Traceback" not in done.stdout


@pytest.mark.parametrize("env", [{}, {"COMP_WORDS": "chatcli history", "COMP_CWORD": "x"}])
def test_a_shell_that_says_too_little_gets_nothing(chatcli: Chatcli, env: dict[str, str]) -> None:
    """Variables that are missing or make no sense are trouble, too."""
    done = chatcli(env={"_CHATCLI_COMPLETE": "complete_bash", **env})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
