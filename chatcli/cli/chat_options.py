"""The options of the command `chat`: names, help, and what completes them."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from chatcli.cli import completion

Words: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PROMPT]...", help="The prompt; '-' reads it from standard input."),
]
ThreadId: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "-t",
        "--thread",
        metavar="ID",
        help="Use this thread; make it if there is none.",
        autocompletion=completion.threads,
    ),
]
Continue: TypeAlias = Annotated[
    bool, typer.Option("-c", "--continue", help="Continue the thread that was used last.")
]
Model: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        metavar="PROVIDER:MODEL",
        help="The model to ask, or an alias.",
        autocompletion=completion.models,
    ),
]
System: TypeAlias = Annotated[
    str | None,
    typer.Option("-s", "--system", metavar="TEXT", help="System prompt; '@FILE' reads it from a file."),
]
Language: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "-l",
        "--language",
        metavar="NAME",
        help="Language of the answers, kept with the thread [English].",
    ),
]
Temperature: TypeAlias = Annotated[float | None, typer.Option(min=0.0, max=2.0, help="Sampling temperature.")]
MaxTokens: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Most tokens of the answer.")]
Title: TypeAlias = Annotated[str | None, typer.Option(metavar="TEXT", help="Name the thread.")]
Files: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", metavar="PATH", help="Add a text file or an image; repeatable."),
]
Retry: TypeAlias = Annotated[
    bool, typer.Option("--retry", help="Ask the thread's last prompt again; a fork keeps the old answer.")
]
Undo: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Take the last N turns off the thread first, into a fork."),
]
NoStream: TypeAlias = Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is whole.")]
Raw: TypeAlias = Annotated[bool, typer.Option("--raw", help="Do not render Markdown.")]
NoReasoning: TypeAlias = Annotated[
    bool, typer.Option("--no-reasoning", help="Do not show what the model says to itself.")
]
NoSave: TypeAlias = Annotated[bool, typer.Option("--no-save", help="Store nothing.")]
NoStdin: TypeAlias = Annotated[bool, typer.Option("--no-stdin", help="Ignore standard input.")]
IdempotencyKey: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="KEY", help="Run again with the same key on the same thread: print the stored answer."
    ),
]
Wait: TypeAlias = Annotated[
    float,
    typer.Option(min=0.0, metavar="SECONDS", help="How long to wait for a thread that is in use."),
]
