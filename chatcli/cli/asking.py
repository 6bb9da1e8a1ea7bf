"""What the command `chat` does with its command line: take turns back, begin a session, or ask."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from chatcli.cli import output, prompt, rewind, runtime
from chatcli.errors import InvalidRequest
from chatcli.models import ModelOptions
from chatcli.service.requests import TurnRequest

if TYPE_CHECKING:
    from chatcli.config import Settings
    from chatcli.models import Content

MAX_INPUT_LENGTH = 1_000_000
"""Characters of a message from the shell, where no setting says otherwise."""


class Line(NamedTuple):
    """A command line of `chat`, as Typer read it."""

    words: list[str] | None
    thread: str | None
    continue_: bool
    model: str | None
    system: str | None
    language: str | None
    temperature: float | None
    max_tokens: int | None
    title: str | None
    file: list[Path] | None
    retry: bool
    undo: int | None
    no_stream: bool
    raw: bool
    no_reasoning: bool
    no_save: bool
    no_stdin: bool
    idempotency_key: str | None
    wait: float
    store: str | None
    server: str | None
    env_file: Path | None
    json: bool
    quiet: bool

    @property
    def given(self) -> bool:
        """Whether there is something to say on the line itself."""
        return bool(self.words or self.file)

    @property
    def rewind(self) -> rewind.Rewind | None:
        """The turns to take back first."""
        if self.retry or self.undo is not None:
            return rewind.Rewind(self.undo or 1, again=self.retry)
        return None

    @property
    def options(self) -> ModelOptions:
        """What is asked of the model."""
        return ModelOptions(self.temperature, self.max_tokens)

    def load(self) -> "Settings":
        """Return the settings in force."""
        return runtime.load(store=self.store, server=self.server, env_file=self.env_file)


def run(line: Line) -> None:
    """Do what the line says; leave with the exit code of an answer that did not end well."""
    _check(line)
    if line.undo is not None and not line.given:
        _take_back(line, line.undo)
        return
    from chatcli.cli.answer import check_stdout

    check_stdout()
    settings = line.load()
    limit = settings.max_input_length or MAX_INPUT_LENGTH
    has_key = line.idempotency_key is not None
    silent = line.given or line.retry or line.json or line.no_stdin or has_key
    code = _talk(line, settings, limit) if not silent and output.can_talk() else _ask(line, settings, limit)
    if code:
        raise typer.Exit(code)


def _check(line: Line) -> None:
    """Refuse options that do not go together."""
    if line.continue_ and line.thread is not None:
        raise InvalidRequest("--continue and --thread exclude each other")
    if line.retry and line.undo is not None:
        raise InvalidRequest("--retry and --undo exclude each other", hint="--retry takes one turn back")
    rewind.check(
        line.rewind,
        named=line.continue_ or line.thread is not None,
        given=line.given,
        saved=not line.no_save,
        idempotency_key=line.idempotency_key,
    )


def _take_back(line: Line, turns: int) -> None:
    """Take turns off the thread, and ask nothing."""
    output.require_stdout()
    changed, fork = runtime.run(
        lambda service: rewind.undo(service, line.thread or "@last", turns), line.load()
    )
    rewind.show(changed, fork, turns, as_json=line.json, quiet=line.quiet)


def _talk(line: Line, settings: "Settings", limit: int) -> int:
    """Run a session; return the exit code."""
    from chatcli.cli import logs, session

    if line.no_save and settings.server is not None:
        raise InvalidRequest(
            "a session with --no-save keeps its thread in this process, and a server has no part in that",
            hint="give a prompt, or ask a model from here: chatcli chat --no-save --store memory://",
        )
    opening = session.Opening(
        max_length=limit,
        thread=line.thread,
        continue_last=line.continue_,
        model=line.model,
        system=None if line.system is None else prompt.read_system(line.system),
        language=line.language,
        title=line.title,
        options=line.options,
        wait=line.wait,
        stream=not line.no_stream,
        markdown=not line.raw,
        reasoning=not line.no_reasoning,
        quiet=line.quiet,
        history=not line.no_save,
    )
    if line.no_save:
        settings = runtime.load(store="memory://", env_file=line.env_file)
    logs.start(settings)
    return session.run(settings, opening)


def _ask(line: Line, settings: "Settings", limit: int) -> int:
    """Ask once and show the answer; return the exit code."""
    request = TurnRequest(
        prompt=_content(line, limit),
        max_length=limit,
        thread_id=line.thread,
        model=line.model,
        system=None if line.system is None else prompt.read_system(line.system),
        language=line.language,
        title=line.title,
        options=line.options,
        save=not line.no_save,
        idempotency_key=line.idempotency_key,
        wait=line.wait,
        on_wait=None
        if line.quiet
        else lambda: output.note("waiting for the thread: another turn is running on it"),
    )
    from chatcli.cli import logs
    from chatcli.cli.oneshot import Manner, converse

    logs.start(settings)
    manner = Manner(
        json=line.json,
        quiet=line.quiet,
        stream=not line.no_stream,
        markdown=not line.raw,
        reasoning=not line.no_reasoning,
    )
    last = line.continue_ or line.thread == "@last"
    return runtime.run(
        lambda service: converse(service, request, manner, continue_last=last, rewind=line.rewind),
        settings,
        loop=True,
        threaded=True,
    )


def _content(line: Line, limit: int) -> "Content":
    """Return the message: words, data and files; nothing where the last prompt is asked again."""
    if line.retry:
        return ""
    return prompt.gather(
        line.words or [],
        line.file or [],
        use_stdin=not line.no_stdin,
        limit=limit,
        on_silence=lambda: (
            None if line.quiet else output.say("waiting for standard input; --no-stdin ignores it")
        ),
    )
