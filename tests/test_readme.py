"""The README tells the truth: every shell line in it runs, and it names every command there is."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    config = chatcli.home / ".config" / "chatcli"
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
        XDG_CONFIG_HOME=str(chatcli.home / ".config"),
        XDG_DATA_HOME=str(chatcli.home / ".local" / "share"),
        OPENAI_API_KEY="sk-readme",
        OPENAI_BASE_URL=fake_provider.url,
        GROQ_API_KEY="gsk-readme",
        RATE_LIMIT_CALLS="1000",
        UV_CACHE_DIR=os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv")),
        UV_OFFLINE="1",
    )


def test_every_shell_line_runs(home: Chatcli) -> None:
    """Each block of shell lines, in the order of the page, ends well and without a word of error."""
    assert BLOCKS
    port = free_port()
    with ExitStack() as background:
        for block in BLOCKS:
            if block.strip() == THIS_VERY_RUN:
                continue
            lines = block.replace("localhost:8000", f"localhost:{port}")
            if lines.rstrip().endswith("&"):
                background.enter_context(serving(home, f"{lines.rstrip()[:-1]} --port {port}", port))
                continue
            done = run(home, lines)
            assert done.returncode == 0, f"{lines}\n{done.stderr.decode()}"
            assert b"error:" not in done.stderr, f"{lines}\n{done.stderr.decode()}"


def run(home: Chatcli, lines: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a block as a person would: in the checkout where it says ``uv run``, at home else."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=ROOT if "uv run" in lines else home.home,
        env=home.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
        check=False,
    )


@contextmanager
def serving(home: Chatcli, line: str, port: int) -> Iterator[None]:
    """Run a line in the background until the server that it starts is ready, and end it afterwards."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {line}"], cwd=home.home, env=home.environment, stderr=subprocess.PIPE
    ) as server:
        try:
            deadline = time.monotonic() + 60
            while not answers(port):
                assert server.poll() is None
                assert time.monotonic() < deadline
            yield
        finally:
            server.terminate()
            server.communicate()


def answers(port: int) -> bool:
    """Tell whether somebody listens on the port."""
    with socket.socket() as caller:
        caller.settimeout(1)
        return caller.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as keeper:
        keeper.bind(("127.0.0.1", 0))
        port: int = keeper.getsockname()[1]
        return port


def test_every_command_is_named(chatcli: Chatcli) -> None:
    """The table of commands holds each command of ``--help``, and no other."""
    shown = chatcli("--help").stdout.decode().partition("Commands:")[2]
    commands = set(re.findall(r"^  (\w+) ", shown, re.MULTILINE))
    assert commands == set(re.findall(r"^\| `chatcli (\w+)", README, re.MULTILINE))
