"""The command `chat`: one prompt from the command line, a pipe or files, one answer."""

from pathlib import Path
from typing import Annotated

import typer

from chatcli.cli import completion, options, output
from chatcli.errors import InvalidRequest

MAX_INPUT_LENGTH = 1_000_000
"""Characters of a message from the shell, where no setting says otherwise."""


def chat(
    *,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROMPT]...", help="The prompt; '-' reads it from standard input."),
    ] = None,
    thread: Annotated[
        str | None,
        typer.Option(
            "-t",
            "--thread",
            metavar="ID",
            help="Use this thread; make it if there is none.",
            autocompletion=completion.threads,
        ),
    ] = None,
    continue_: Annotated[
        bool, typer.Option("-c", "--continue", help="Continue the thread that was used last.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="PROVIDER:MODEL",
            help="The model to ask, or an alias.",
            autocompletion=completion.models,
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option("-s", "--system", metavar="TEXT", help="System prompt; '@FILE' reads it from a file."),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            "-l",
            "--language",
            metavar="NAME",
            help="Language of the answers, kept with the thread [English].",
        ),
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, max=2.0, help="Sampling temperature.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of the answer.")] = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Name the thread.")] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option("-f", "--file", metavar="PATH", help="Add a text file or an image; repeatable."),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Ask the thread's last prompt again; a fork keeps the old answer.")
    ] = False,
    undo: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Take the last N turns off the thread first, into a fork."),
    ] = None,
    no_stream: Annotated[
        bool, typer.Option("--no-stream", help="Print the answer when it is whole.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Do not render Markdown.")] = False,
    no_reasoning: Annotated[
        bool, typer.Option("--no-reasoning", help="Do not show what the model says to itself.")
    ] = False,
    no_save: Annotated[bool, typer.Option("--no-save", help="Store nothing.")] = False,
    no_stdin: Annotated[bool, typer.Option("--no-stdin", help="Ignore standard input.")] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Run again with the same key on the same thread: print the stored answer."
        ),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(min=0.0, metavar="SECONDS", help="How long to wait for a thread that is in use."),
    ] = 30.0,
    store: options.Store = None,
    server: options.Server = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Ask a model; the conversation is kept.

    Words and piped data make one message: the words first, then the data in a fenced block.
    At a terminal, with no prompt, a session begins: /help there shows what it can do.
    """
    from chatcli.cli import prompt, rewind, runtime
    from chatcli.providers.base import ModelOptions
    from chatcli.service.requests import TurnRequest

    if continue_ and thread is not None:
        raise InvalidRequest("--continue and --thread exclude each other")
    if retry and undo is not None:
        raise InvalidRequest("--retry and --undo exclude each other", hint="--retry takes one turn back")
    back = rewind.Rewind(undo or 1, again=retry) if retry or undo is not None else None
    given = bool(words or file)
    rewind.check(
        back,
        named=continue_ or thread is not None,
        given=given,
        saved=not no_save,
        idempotency_key=idempotency_key,
    )
    if undo is not None and not given:
        output.require_stdout()
        settings = runtime.load(store=store, server=server, env_file=env_file)
        changed, fork = runtime.run(lambda service: rewind.undo(service, thread or "@last", undo), settings)
        rewind.show(changed, fork, undo, as_json=json, quiet=quiet)
        return
    from chatcli.cli.answer import check_stdout

    check_stdout()
    settings = runtime.load(store=store, server=server, env_file=env_file)
    limit = settings.max_input_length or MAX_INPUT_LENGTH
    if not (given or retry or json or no_stdin or idempotency_key) and output.can_talk():
        from chatcli.cli import logs, session

        if settings.server is not None:
            raise InvalidRequest(
                "a session works on a store, not over a server",
                hint="give a prompt, or name a store: chatcli chat --store URL",
            )
        opening = session.Opening(
            max_length=limit,
            thread=thread,
            continue_last=continue_,
            model=model,
            system=None if system is None else prompt.read_system(system),
            language=language,
            title=title,
            options=ModelOptions(temperature, max_tokens),
            wait=wait,
            stream=not no_stream,
            markdown=not raw,
            reasoning=not no_reasoning,
            quiet=quiet,
            history=not no_save,
        )
        if no_save:
            settings = runtime.load(store="memory://", env_file=env_file)
        logs.start(settings)
        if code := session.run(settings, opening):
            raise typer.Exit(code)
        return
    content = (
        ""
        if retry
        else prompt.gather(
            words or [],
            file or [],
            use_stdin=not no_stdin,
            limit=limit,
            on_silence=lambda: (
                None if quiet else output.say("waiting for standard input; --no-stdin ignores it")
            ),
        )
    )
    request = TurnRequest(
        prompt=content,
        max_length=limit,
        thread_id=thread,
        model=model,
        system=None if system is None else prompt.read_system(system),
        language=language,
        title=title,
        options=ModelOptions(temperature, max_tokens),
        save=not no_save,
        idempotency_key=idempotency_key,
        wait=wait,
        on_wait=None
        if quiet
        else lambda: output.note("waiting for the thread: another turn is running on it"),
    )
    from chatcli.cli import logs
    from chatcli.cli.oneshot import Manner, converse

    logs.start(settings)
    manner = Manner(
        json=json, quiet=quiet, stream=not no_stream, markdown=not raw, reasoning=not no_reasoning
    )
    code = runtime.run(
        lambda service: converse(
            service, request, manner, continue_last=continue_ or thread == "@last", rewind=back
        ),
        settings,
        loop=True,
        threaded=True,
    )
    if code:
        raise typer.Exit(code)
