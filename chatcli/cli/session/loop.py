"""The session itself: prompt, command or turn, and again, until somebody has enough."""

import asyncio
import logging
from typing import TYPE_CHECKING

from chatcli.cli import output, prompt
from chatcli.cli.oneshot import Manner
from chatcli.cli.session import Opening, actions, thread_actions, view
from chatcli.cli.session.asking import Exchange
from chatcli.cli.session.keyboard import has_gone, silent_keys
from chatcli.cli.session.prompter import Ended, Prompter
from chatcli.cli.session.signals import HUNG_UP, SessionSignals
from chatcli.cli.session.table import nearest, prompt_of, split_command
from chatcli.cli.session.talk import Talk
from chatcli.errors import ChatcliError, InvalidRequest, OutputClosed, ThreadArchived
from chatcli.events import Failed
from chatcli.models import Turn, TurnState, text_of
from chatcli.text import check_thread_id

if TYPE_CHECKING:
    from chatcli.config import Settings
    from chatcli.service import ChatService

LAST_USED = "@last"
logger = logging.getLogger(__name__)


class Session:
    """Reads prompts and shows answers; errors are shown and never end it."""

    def __init__(self, service: "ChatService", settings: "Settings", opening: Opening) -> None:
        self.service = service
        self.signals = SessionSignals()
        manner = Manner(
            json=False,
            quiet=False,
            stream=opening.stream,
            markdown=opening.markdown,
            reasoning=opening.reasoning,
        )
        self.talk = Talk(service, opening, self.signals, manner)
        self.prompter = Prompter(
            service,
            self.signals,
            status=self.talk.status,
            past=settings.data_dir if opening.history else None,
        )
        self.draft = ""
        """What stands at the next prompt to begin with."""
        self.editing = False
        """Whether the next prompt replaces the last one."""
        self.over = False

    async def run(self) -> int:
        """Talk until the end and return the exit code."""
        with silent_keys(), self.signals.watched():
            try:
                await self._open()
                while not self.over and self.signals.ended_by is None:
                    await self._step()
            except (EOFError, Ended):
                # The signal of a terminal that has gone may come a moment after its last byte.
                await asyncio.sleep(0)
            except (OSError, OutputClosed):
                if not has_gone():
                    raise
                return self.signals.exit_code or HUNG_UP
            return self.signals.exit_code

    async def _open(self) -> None:
        opening, talk = self.talk.opening, self.talk
        if opening.continue_last:
            await self.switch((await self.service.last_used()).id)
        elif opening.thread is not None:
            await self.switch(opening.thread, make=True)
        await talk.find_model()
        if not opening.quiet:
            view.tell("/help shows the commands, Ctrl-D ends the session")

    async def switch(self, reference: str, *, make: bool = False) -> None:
        """Go on with the thread that is named; if another session runs a turn on it, wait or only read."""
        exact = make and reference != LAST_USED
        thread_id = check_thread_id(reference) if exact else await self.service.resolve(reference)
        running = await self.talk.open(thread_id, make=make)
        if running is not None:
            await self._share(running)

    async def _share(self, running: Turn) -> None:
        view.show([view.describe_running(running)])
        if not await self.prompter.confirm("Wait for it?", default=True):
            self.talk.read_only = True
            view.tell("read only: /switch or /new leaves the thread, /switch back to it looks again")
            return
        await thread_actions.wait_for_turn(self, running)

    async def _step(self) -> None:
        draft, self.draft = self.draft, ""
        failure = ""
        text = await self.prompter.ask(draft)
        editing, self.editing = self.editing, False
        if not text.strip():
            if editing:
                view.tell("the last prompt stays as it was")
            return
        try:
            command = split_command(text)
            if command is not None:
                await self._obey(*command, text=text)
            else:
                await self.send(prompt_of(text), editing=editing)
        except (OutputClosed, EOFError, Ended):
            raise
        except ChatcliError as error:
            failure = error.message
            view.tell_error(error)
        except Exception as error:
            if has_gone():
                raise
            # Whatever it is, it is not worth the conversation.
            logger.debug("a command failed", exc_info=True)
            view.tell_error(
                ChatcliError(f"a bug in chatcli ({type(error).__name__})", hint="LOG_LEVEL=DEBUG shows where")
            )
            self.draft = self.draft or text
        if self.signals.ended_by is None:
            await self._look_around(failure)

    async def _look_around(self, failure: str) -> None:
        """Look what has changed; what can't be found out is told, but not the same twice."""
        try:
            await self.talk.catch_up()
            await self.talk.find_model()
        except ChatcliError as error:
            if error.message != failure:
                view.tell_error(error)

    async def _obey(self, name: str, argument: str, *, text: str) -> None:
        action = actions.ACTIONS.get(name)
        if action is None:
            near = nearest(name)
            meant = f"did you mean {near}?" if near else "/help lists them."
            self.draft = text
            raise InvalidRequest(f"there is no command {name}", hint=f"{meant} A prompt may begin with //")
        await action(self, argument)

    async def send(self, text: str, *, editing: bool) -> None:
        """Send a prompt with the files that were chosen; what can't be sent comes back for editing.

        With `editing` it takes the place of the last one.
        """
        talk = self.talk
        if talk.read_only:
            self.draft = text
            raise ThreadArchived(
                "the thread is open read only", hint="/switch to it again to look whether it is free"
            )
        files = tuple(talk.choices.files)
        try:
            content = prompt.compose([text], None, files, limit=talk.opening.max_length)
            if editing:
                await self.take_back(1)
            output.write("\n")
            output.flush()
            done = await talk.ask(content)
        except ChatcliError:
            self.draft = text
            raise
        if done is None:
            self.draft = text
            return
        if isinstance(done.last, Failed) and not done.text:
            self.draft, talk.choices.files = text, list(files)
        await self.conclude(done)

    async def take_back(self, turns: int) -> None:
        """Take turns off the thread and say where they are kept."""
        fork = await self.talk.undo(turns)
        what = "the last turn" if turns == 1 else f"the last {turns} turns"
        view.tell(f"took back {what} · as it was: /switch {fork.id}")

    async def conclude(self, done: Exchange) -> None:
        """Say what the answer does not show of how its turn ended."""
        last = done.last
        if isinstance(last, Failed):
            view.tell_error(last.error)
        elif last.state is TurnState.INTERRUPTED:
            view.tell("interrupted; what arrived is kept" if last.saved else "interrupted")
        elif last.state is TurnState.TRUNCATED:
            view.tell(f"the answer is cut short: the provider stopped it ({last.finish_reason})")
        if not last.saved:
            await self._offer_to_save(done)
        if self.signals.ended_by is None:
            output.write("\n")
            output.flush()

    async def _offer_to_save(self, done: Exchange) -> None:
        """Say what is not stored, and try again as often as the user wants."""
        view.show(["Not saved: this prompt and its answer, which is above and in /copy."])
        while self.signals.ended_by is None and await self.prompter.confirm(
            "Try to save it again?", default=True
        ):
            error = await self.talk.save_again(done)
            if error is None:
                view.tell("saved")
                return
            view.tell_error(error)

    async def ask_again(self) -> None:
        """Ask the last prompt once more; a fork keeps the answer that was there."""
        thread = self.talk.require_thread()
        content = await self.service.last_prompt(thread.id)
        await self.take_back(1)
        output.write("\n")
        try:
            done = await self.talk.ask(content)
        except ChatcliError:
            self.draft = text_of(content)
            raise
        if done is None:
            self.draft = text_of(content)
            return
        await self.conclude(done)
