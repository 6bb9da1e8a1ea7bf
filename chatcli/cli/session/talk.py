"""What a session knows of its conversation, and what can be done with it; no key is read here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from chatcli.cli.oneshot import Manner
from chatcli.cli.session import Opening, tally, view
from chatcli.cli.session.asking import Exchange, exchange
from chatcli.cli.session.signals import SessionSignals
from chatcli.cli.session.tally import Tally
from chatcli.errors import ChatcliError, InvalidRequest, NotSaved, ThreadNotFound
from chatcli.events import Failed
from chatcli.models import Content, Thread, Turn, TurnState
from chatcli.service.requests import TurnRequest
from chatcli.service.threads import candidates
from chatcli.text import is_generated_id

if TYPE_CHECKING:
    from chatcli.service import ChatService


@dataclass
class Choices:
    """What was chosen for the turns to come."""

    model: str | None = None
    system: str | None = None
    language: str | None = None
    title: str | None = None
    files: list[Path] = field(default_factory=list)


class Talk:
    """One conversation at a time: its thread, as far as it was seen, and what comes next."""

    def __init__(
        self, service: "ChatService", opening: Opening, signals: SessionSignals, manner: Manner
    ) -> None:
        self.service = service
        self.opening = opening
        self.manner = manner
        self.choices = Choices(opening.model, opening.system, opening.language, opening.title)
        self.thread: Thread | None = None
        self.tally = Tally()
        self.last_answer = ""
        self.read_only = False
        self._signals = signals
        self._wanted: str | None = None
        """The id of a thread that is yet to be made."""
        self._seen = 0
        """Index of the last turn that was shown."""
        self._model = "no model"
        self._own: set[str] = set()
        """Turns of this session."""

    # Threads -----------------------------------------------------------------------------------

    async def open(self, thread_id: str, *, make: bool = False) -> Turn | None:
        """Go on with a thread and show where it was left; with `make` it need not be there yet.

        Return the turn that another session is running on it.
        """
        try:
            thread = await self.service.thread(thread_id)
        except ThreadNotFound:
            if not make:
                raise
            alike = [it for it in await self.service.beginning_with(thread_id) if is_generated_id(it.id)]
            if alike:
                raise InvalidRequest(
                    f"there is no thread {thread_id}, and it is the beginning of other ids",
                    hint=candidates(alike),
                ) from None
            self.begin(thread_id)
            return None
        self.begin()
        self.thread = thread
        turns = await self.service.turns(thread.id, tail=view.RECENT)
        running = turns[-1] if turns and turns[-1].state is TurnState.RUNNING else None
        if running is not None:
            turns = turns[:-1]
        view.show_opening(thread, turns, markdown=self.manner.markdown)
        self._seen = turns[-1].index if turns else 0
        self.last_answer = turns[-1].answer if turns else ""
        self.tally = await tally.count(self.service, thread.id)
        if thread.archived_at is not None:
            view.tell(
                "this thread is archived and takes no prompts; chatcli archive --restore brings it back"
            )
        return running

    def begin(self, thread_id: str | None = None) -> None:
        """Begin a new thread with the next prompt."""
        self.thread, self._wanted = None, thread_id
        self.tally, self.last_answer = Tally(), ""
        self._seen, self.read_only = 0, False

    async def catch_up(self) -> None:
        """Show the turns that others added to the thread."""
        if self.thread is None:
            return
        try:
            self.thread, turns = await self.service.news(self.thread.id, self._seen)
        except ThreadNotFound:
            view.tell("the thread was deleted elsewhere; the next prompt begins a new one")
            self.begin()
            return
        if self.thread.turn_count < self._seen:
            view.tell("turns were taken off the thread elsewhere")
            self._seen = self.thread.turn_count
            await self._count_again()
            return
        finished = [turn for turn in turns if turn.state is not TurnState.RUNNING]
        foreign = [turn for turn in finished if turn.id not in self._own]
        if foreign:
            view.tell("meanwhile, from elsewhere:")
            view.show_turns(foreign, markdown=self.manner.markdown)
        if turns and turns[-1].state is TurnState.RUNNING and turns[-1].id not in self._own:
            view.tell(view.describe_running(turns[-1]))
        if finished:
            self._seen = finished[-1].index
            self.tally.add(finished)

    async def _count_again(self) -> None:
        assert self.thread is not None  # noqa: S101 - who calls has looked
        self.tally = await tally.count(self.service, self.thread.id)

    # Turns -------------------------------------------------------------------------------------

    async def ask(self, content: Content) -> Exchange | None:
        """Send a prompt and show the answer; None if it was stopped before the model was asked."""
        done = await exchange(self.service, self._request(content), self.manner, self._signals)
        if done is None:
            view.tell("stopped before the model was asked; nothing was stored")
            return None
        self.choices.system = self.choices.language = self.choices.title = None
        self.choices.files.clear()
        self.last_answer = done.text
        self._own.add(done.last.turn_id)
        if done.last.saved:
            await self._settle(done)
        elif self.thread is None:
            self._wanted = done.last.thread_id
        return done

    async def _settle(self, done: Exchange) -> None:
        """Take note of the thread as the turn left it."""
        try:
            self.thread = await self.service.thread(done.last.thread_id)
            await self.catch_up()
        except ChatcliError as error:
            view.tell_error(error)

    async def save_again(self, done: Exchange) -> ChatcliError | None:
        """Try once more to store a turn; return why it still can't be."""
        last = await done.turn.save_again()
        if not last.saved:
            return last.error if isinstance(last, Failed) else NotSaved("the answer was not stored")
        done.last = replace(done.last, saved=True)
        await self._settle(done)
        return None

    def _request(self, content: Content) -> TurnRequest:
        choices, opening = self.choices, self.opening
        return TurnRequest(
            prompt=content,
            max_length=opening.max_length,
            thread_id=self._wanted if self.thread is None else self.thread.id,
            must_exist=self.thread is not None,
            model=choices.model,
            system=choices.system,
            language=choices.language,
            title=choices.title,
            options=opening.options,
            wait=opening.wait,
            on_wait=lambda: view.tell(
                "waiting for the thread: another turn is running on it; Ctrl-C gives up"
            ),
        )

    async def undo(self, turns: int) -> Thread:
        """Take turns off the thread, and return the fork that keeps them."""
        thread = self.require_thread()
        fork = await self.service.undo(thread.id, turns=turns)
        self.thread = await self.service.thread(thread.id)
        self._seen = self.thread.turn_count
        recent = await self.service.turns(thread.id, tail=1)
        self.last_answer = recent[-1].answer if recent else ""
        await self._count_again()
        return fork

    def require_thread(self) -> Thread:
        """Return the thread; without one raise an error that says so."""
        if self.thread is None:
            raise ThreadNotFound("nothing was said yet", hint="the first prompt makes the thread")
        return self.thread

    # What the status line shows ----------------------------------------------------------------

    async def find_model(self) -> str:
        """Return the model that will be asked, and note it for the status line."""
        self._model = "no model"
        self._model = await self.service.find_model(self.choices.model, self.thread)
        return self._model

    def status(self, width: int) -> str:
        """Return the line under the prompt: model, title, and what the thread has used."""
        from chatcli.cli.render import cells, shorten
        from chatcli.cli.terminal import visible_line

        limit = self.service.context_messages
        right = f"{self.tally.tokens:,} tokens · context {min(self.tally.messages, limit)}/{limit}"
        files = len(self.choices.files)
        marks = [tally.count_of(files, "file")] * bool(files) + ["read only"] * self.read_only
        title = "new thread" if self.thread is None else self.thread.title
        left = visible_line(" · ".join([self._model, title, *marks]))
        room = width - cells(right) - 2
        if room < len("new thread"):
            return shorten(left, width)
        left = shorten(left, room)
        return left + " " * (width - cells(left) - cells(right)) + right
