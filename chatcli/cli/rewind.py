"""`chat --retry` and `chat --undo`: turns come off a thread before the next one, into a fork."""

from typing import TYPE_CHECKING

from chatcli.cli import output
from chatcli.errors import InvalidRequest
from chatcli.frozen import Frozen, replace
from chatcli.models import Thread

if TYPE_CHECKING:
    from chatcli.service import ChatService, TurnRequest


class Rewind(Frozen):
    """How far a thread goes back before it goes on."""

    turns: int
    again: bool
    """Whether the prompt that came off is asked again."""

    async def prepare(self, service: "ChatService", request: "TurnRequest", *, reference: str) -> "Rewound":
        """Take the turns off, and return what was done and the request that goes on from there.

        Whatever can be known to fail is found before anything changes.
        """
        from chatcli.service.waiting import Waiting

        thread = await service.find(reference)
        await service.find_model(request.model, thread)
        if self.again:
            request = replace(request, prompt=await service.last_prompt(thread.id))
        waiting = Waiting(request.wait, request.on_wait)
        fork = await waiting.for_thread(lambda: service.undo(thread.id, turns=self.turns))
        return Rewound(thread, fork, self.turns, replace(request, thread_id=thread.id, must_exist=True))


class Rewound(Frozen):
    """A thread that went back, and the fork that did not."""

    thread: Thread
    fork: Thread
    turns: int
    request: "TurnRequest"

    def tell(self, *, as_json: bool) -> None:
        """Say on standard error where the old version is."""
        if as_json:
            output.say(
                output.json_line({"undone": document(self.thread, self.fork, self.turns)}).rstrip("\n")
            )
        else:
            output.note(_sentence(self.thread, self.fork, self.turns))


def check(
    rewind: Rewind | None, *, named: bool, given: bool, saved: bool, idempotency_key: str | None
) -> None:
    """Refuse what makes no sense together: `named` a thread, `given` a prompt, a turn that is `saved`."""
    if rewind is None:
        return
    option = "--retry" if rewind.again else "--undo"
    if not named:
        raise InvalidRequest(f"{option} needs a thread", hint="name it with -t ID, or take the last one: -c")
    if rewind.again and given:
        raise InvalidRequest(
            "--retry asks the last prompt again and takes no other", hint="use --undo 1 instead"
        )
    if not saved:
        raise InvalidRequest(f"{option} and --no-save exclude each other")
    if idempotency_key is not None:
        raise InvalidRequest(f"{option} and --idempotency-key exclude each other")


async def undo(service: "ChatService", reference: str, turns: int) -> tuple[Thread, Thread]:
    """Take turns off, and return the thread as it is then, and the fork that has them still."""
    thread_id = await service.resolve(reference)
    fork = await service.undo(thread_id, turns=turns)
    return await service.thread(thread_id), fork


def show(thread: Thread, fork: Thread, turns: int, *, as_json: bool, quiet: bool) -> None:
    """Write to standard output what `undo` did."""
    if as_json:
        output.write_json(document(thread, fork, turns))
    elif not quiet:
        output.write(_sentence(thread, fork, turns) + "\n")


def document(thread: Thread, fork: Thread, turns: int) -> dict[str, object]:
    """Return the wire form of what was done."""
    return {"thread_id": thread.id, "turns": turns, "fork_id": fork.id}


def _sentence(thread: Thread, fork: Thread, turns: int) -> str:
    what = "the last turn" if turns == 1 else f"the last {turns} turns"
    return f"took {what} off thread {thread.id} · as it was: chatcli history {fork.id}"
