"""Another process on the same store: ``python -m tests.stores.rival URL [KEY]``.

It reads one JSON command a line and answers each with a line: ``{"ok": …}`` or ``{"error": name}``.
"""

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from chatcli.errors import ChatcliError, ThreadBusy
from chatcli.models import LOCAL_OWNER
from chatcli.stores import open_store
from chatcli.stores.base import Lease
from tests.stores.keys import protected
from tests.stores.talk import answer, new_turn, say

ROOT = Path(__file__).parents[2]


class Rival:
    """The other process, seen from the test."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process = process
        self.url = url

    def tell(self, do: str, **options: object) -> None:
        """Give a command without waiting for what comes of it."""
        self._pipe(self.process.stdin).write(json.dumps({"do": do, **options}) + "\n")
        self._pipe(self.process.stdin).flush()

    def hear(self) -> dict[str, Any]:
        """Return the next answer."""
        line = self._pipe(self.process.stdout).readline()
        heard: dict[str, Any] = json.loads(line)
        return heard

    def ask(self, do: str, **options: object) -> dict[str, Any]:
        """Give a command and return its answer."""
        self.tell(do, **options)
        return self.hear()

    def kill(self) -> None:
        """Kill the process as no handler can prevent, and see it dead, also as seen from a server."""
        self.process.kill()
        self.process.wait()
        see_dead(self.url)

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


def see_dead(url: str) -> None:
    """Let the server of a store know that a process which was killed is dead.

    For PostgreSQL its sessions have a name of their own in the URL. For S3 time passes on the server.
    """
    if url.startswith("postgresql:"):
        from tests.stores.postgres import see_gone

        see_gone(url)
    elif url.startswith("s3:"):
        from tests.stores.s3 import let_leases_end

        let_leases_end(url)


@contextmanager
def rival_of(url: str, *keys: str) -> Iterator[Rival]:
    """Run another process on the store at `url`, encrypted where there are keys."""
    if url.startswith("postgresql:"):
        url += f"&application_name=rival-{secrets.token_hex(4)}"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.stores.rival", url, *keys],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Rival(process, url)
        finally:
            process.kill()


class Commands:
    """What the process can be told; each method is a command."""

    def __init__(self, url: str, *keys: str) -> None:
        self.store = protected(open_store(url, threaded=True), *keys)

    async def begin(self, turn: str, thread: str = "tea", prompt: str = "?") -> int:
        """Begin a turn and leave it running."""
        return (await self.store.begin(new_turn(thread, prompt, turn_id=turn))).turn.index

    async def commit(self, turn: str, reply: str, thread: str = "tea") -> int:
        """End a turn, whoever began it."""
        lease = Lease(LOCAL_OWNER, thread, turn)
        return (await self.store.commit(lease, answer(reply, turn_id=turn))).index

    async def say(self, name: str, times: int, thread: str = "tea") -> int:
        """Run whole turns, each as soon as the thread is free."""
        for number in range(times):
            while True:
                try:
                    await say(self.store, thread, f"{name} {number}")
                    break
                except ThreadBusy:
                    await asyncio.sleep(0.002)
        return times

    async def turns(self, thread: str = "tea") -> list[str]:
        """Tell the states of the turns."""
        return [turn.state.value for turn in await self.store.turns(LOCAL_OWNER, thread)]

    async def close(self) -> None:
        """Close the store and stay alive."""
        await self.store.aclose()


async def _serve(url: str, *keys: str) -> None:
    commands = Commands(url, *keys)
    for line in sys.stdin:
        options = json.loads(line)
        try:
            reply = {"ok": await getattr(commands, options.pop("do"))(**options)}
        except ChatcliError as error:
            reply = {"error": error.name}
        print(json.dumps(reply), flush=True)
    await commands.close()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
