"""The README tells the truth: every shell line in it runs, and it names every command there is."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.fake_provider import FakeProvider
from tests.program import Chatcli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
THIS_VERY_RUN = "uv run pytest"
"""The one line that can't be run from here."""


@pytest.fixture
def home(chatcli: Chatcli, fake_provider: FakeProvider) -> Chatcli:
    """A person's machine: keys, a repository, and the fake provider wherever a model is."""
    config = chatcli.home / "config" / "chatcli"
    config.mkdir(parents=True)
    (config / "config.toml").write_text(
        "".join(
            f'[providers.{name}]\nbase_url = "{fake_provider.url}"\n{key}'
            for name, key in (("groq", 'api_key_env = "GROQ_API_KEY"\n'), ("ollama", ""))
        )
    )
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "Begin"]):
        subprocess.run([*git, *words], cwd=chatcli.home, check=True)
    return chatcli.with_environment(
        OPENAI_API_KEY="sk-readme",
        OPENAI_BASE_URL=fake_provider.url,
        UV_CACHE_DIR=os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv")),
        UV_OFFLINE="1",
    )


def test_every_shell_line_runs(home: Chatcli) -> None:
    """Each block of shell lines, in the order of the page, ends well and without a word of error."""
    assert BLOCKS
    for block in BLOCKS:
        if block.strip() == THIS_VERY_RUN:
            continue
        in_checkout = "uv run" in block
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=ROOT if in_checkout else home.home,
            env=home.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stderr.decode()}"
        assert b"error" not in done.stderr, f"{block}\n{done.stderr.decode()}"


def test_every_command_is_named(chatcli: Chatcli) -> None:
    """The table of commands holds each command of ``--help``, and no other."""
    shown = chatcli("--help").stdout.decode().partition("Commands:")[2]
    commands = set(re.findall(r"^  (\w+) ", shown, re.MULTILINE))
    assert commands == set(re.findall(r"^\| `chatcli (\w+)", README, re.MULTILINE))
