"""Tab, really pressed: bash, zsh and fish on a terminal, with the scripts of `completions/`."""

import os
import pty
import re
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.seed import keep
from tests.program import Chatcli

COMPLETIONS = Path(__file__).parents[2] / "completions"
PATIENCE = 30.0
PROMPT = "ready> "

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f"PS1='{PROMPT}'; source {COMPLETIONS}/chatcli.bash\n"),
    "zsh": (
        ["zsh", "-f", "-i"],
        f"PS1='{PROMPT}'; fpath=({COMPLETIONS} $fpath); autoload -U compinit; compinit -u -D\n",
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        f"function fish_prompt; echo -n '{PROMPT}'; end; source {COMPLETIONS}/chatcli.fish\n",
    ),
}


class Shell:
    """A shell on a terminal of 200 columns."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.seen = ""

    def type(self, text: str) -> None:
        """Press keys."""
        self.seen = ""
        os.write(self._descriptor, text.encode())

    def wait_for(self, pattern: str) -> str:
        """Return what is on the terminal since the last key, without styles, once `pattern` is in it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            plain = re.sub(
                r"\x1b(?:\[[0-9;?>=]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[=>()][0-9A-B]?)",
                "",
                self.seen,
            )
            plain = re.sub(r"\r(?!\n)", "", plain)
            if re.search(pattern, plain):
                return plain
            ready, _, _ = select.select([self._descriptor], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{pattern!r} never came: {plain!r}"
            piece = os.read(self._descriptor, 65536)
            self.seen += piece.decode(errors="replace")
            if b"\x1b[c" in piece or b"\x1b[0c" in piece:  # fish asks which terminal it is on
                os.write(self._descriptor, b"\x1b[?62;c")


@contextmanager
def started(name: str, chatcli: Chatcli) -> Iterator[Shell]:
    """Start a shell that has the script of the project."""
    command, setup = SHELLS[name]
    child, descriptor = pty.fork()
    if child == 0:
        os.chdir(chatcli.home)
        os.execvpe(command[0], command, {**chatcli.environment, "TERM": "xterm", "LC_ALL": "C.UTF-8"})  # noqa: S606
    try:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        shell = Shell(descriptor)
        shell.type(f"{setup.strip()}; echo set-'up'\n")
        shell.wait_for(rf"\nset-up\r?\n(.|\n)*{PROMPT}")
        yield shell
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(descriptor)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Shell]]:
    """A shell, and a store with three threads."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    chatcli = Chatcli.at(tmp_path)
    keep(chatcli, "alpha-one", title="About $HOME `x`")
    keep(chatcli, "alpha-two", title="The second")
    keep(chatcli, "beta", title="The third")
    with started(request.param, chatcli) as shell:
        yield request.param, shell


def test_tab_completes(shell: tuple[str, Shell]) -> None:
    """Commands, options, values and thread ids are offered; one that is unique is put in."""
    name, terminal = shell
    terminal.type("chatcli cleanu\t")
    terminal.wait_for("chatcli cleanup|p ")
    terminal.type("\x15chatcli delete be\t")
    terminal.wait_for("beta|ta ")
    terminal.type("\x15chatcli history beta --format ht\t")
    terminal.wait_for("html|ml ")
    terminal.type("\x15chatcli fork alp\t")
    terminal.wait_for("alpha-|ha-")
    terminal.type("\t\t")
    offered = terminal.wait_for(r"alpha-two(.|\n)*alpha-one|alpha-one(.|\n)*alpha-two")
    assert "beta" not in offered
    if name != "bash":
        assert "The second" in offered
        assert "About $HOME `x`" in offered
