"""The house is in order: style, types, layers and the lock file, checked by the tools that own them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {"pyproject.toml", "README.md", "LICENSE", "uv.lock", "chatcli", "tests", "completions"}


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports", "--no-cache"],
        ["uv", "lock", "--check", "--offline"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_tool_is_content(command: list[str]) -> None:
    """Each tool, with the settings of pyproject.toml, finds nothing."""
    path = Path(sys.executable).with_name(command[0])
    program = str(path) if path.exists() else command[0]
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_top_level_holds_only_what_the_project_is_made_of() -> None:
    """Nothing but the project's own shape, and hidden files, is tracked at the top level."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    top = {name.split("/")[0] for name in tracked}
    assert {name for name in top if not name.startswith(".")} <= ALLOWED


def test_ci_calls_the_test_command_of_the_readme() -> None:
    """`.ci/run` runs what the README tells a person to run."""
    assert "uv run pytest" in (ROOT / "README.md").read_text()
    assert "uv run --locked pytest" in (ROOT / ".ci" / "run").read_text()
