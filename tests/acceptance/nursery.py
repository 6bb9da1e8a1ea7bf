"""Processes that take turns without end, forked from one that has imported everything: cheap to kill.

    python -m tests.acceptance.nursery STORE OTHER_STORE THREAD

What a turn needs is imported by a turn on the other store. Each line on standard input starts a child,
whose process id is answered. A child runs one turn after the other on the thread and writes
``PID PROMPT`` as soon as a turn is acknowledged as stored.
"""

import asyncio
import os
import sys

from chatcli.config import Settings, load_settings
from chatcli.events import Finished
from chatcli.service import TurnRequest, open_service


async def take_turns(settings: Settings, thread: str, *, turns: int | None = None) -> None:
    """Run so many turns unheard, or until the process is killed, each of them acknowledged."""
    service = open_service(settings, threaded=True)
    number = 0
    while number != turns:
        number += 1
        prompt = f"{os.getpid()}-{number}"
        request = TurnRequest(prompt=prompt, max_length=1000, thread_id=thread, model="offline")
        async with service.turn(request) as turn:
            async for event in turn:
                if turns is None and isinstance(event, Finished) and event.saved:
                    os.write(1, f"{os.getpid()} {prompt}\n".encode())
    await service.aclose()


def main(store: str, other_store: str, thread: str) -> None:
    """Fork a child for each line."""
    settings = load_settings({"CHATCLI_STORE": store})
    # What a turn imports is imported here, once, and not in every child.
    asyncio.run(take_turns(load_settings({"CHATCLI_STORE": other_store}), thread, turns=1))
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(take_turns(settings, thread))
        os.write(1, f"{child} started\n".encode())
        # The child is reaped by whoever kills it: this process only makes them.
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
