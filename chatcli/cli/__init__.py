"""The commands, and the one place that turns errors into lines and exit codes."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from chatcli import __version__
from chatcli.cli import output
from chatcli.cli.chat import chat
from chatcli.cli.cleanup import cleanup
from chatcli.cli.completion import Program
from chatcli.cli.history import history
from chatcli.cli.info import info
from chatcli.cli.threads import archive, clear, delete, fork, title
from chatcli.cli.transfer import export, import_
from chatcli.errors import ChatcliError, InvalidRequest

PROGRAM = "chatcli"
INTERRUPTED = 130

app = typer.Typer(
    cls=Program,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(chat)
app.command()(history)
app.command()(title)
app.command()(fork)
app.command()(clear)
app.command()(delete)
app.command()(archive)
app.command()(cleanup)
app.command()(export)
app.command("import")(import_)
app.command()(info)


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer calls it
    if value:
        output.write(f"{PROGRAM} {__version__}\n")
        raise typer.Exit


@app.callback()
def _program(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Chat with language models; conversations last."""


def main(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` name and return the exit code; nothing is raised out of here."""
    try:
        output.prepare()
        code = _call(arguments)
        output.flush()
    except BrokenPipeError:
        code = 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except ChatcliError as error:
        code = _report(error, arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is, nobody gets a traceback unasked
        code = _report(_internal(error), arguments)
    output.settle()
    return code


def _call(arguments: Sequence[str]) -> int:
    if output.is_terminal(sys.stdout) and not output.terminal().no_color:
        app.rich_markup_mode = "rich"
    command = typer.main.get_command(app)
    try:
        result = command.main(list(arguments) or ["--help"], prog_name=PROGRAM, standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except typer.TyperException as error:
        raise _usage(error) from None
    except SystemExit as leaving:
        # Completion leaves like this; so does typer where the reader of the output is gone.
        if isinstance(leaving.__context__, BrokenPipeError):
            return 0
        return leaving.code if isinstance(leaving.code, int) else 0
    except OSError:
        # Where it was typer that could not write, what it wrote still waits, and fails again.
        output.flush()
        raise
    if not arguments:
        return InvalidRequest.exit_code
    return result if isinstance(result, int) else 0


def _usage(error: typer.TyperException) -> InvalidRequest:
    """Return our error for one of typer's, which knows the command that it is about."""
    context = getattr(error, "ctx", None)
    path = PROGRAM if context is None else context.command_path
    message = " ".join(error.format_message().split()).rstrip(".")
    return InvalidRequest(message, hint=f"{path} --help shows what it takes")


def _internal(error: Exception) -> ChatcliError:
    """Return the error that stands for a bug.

    The exception's own text is left out even from the traceback: foreign libraries put keys there.
    """
    if _debugging():
        import traceback

        frames = "".join(traceback.format_tb(error.__traceback__))
        output.say(f"Traceback (most recent call last):\n{frames}{type(error).__qualname__}")
    return ChatcliError(
        f"a bug in {PROGRAM} ({type(error).__name__})",
        hint="LOG_LEVEL=DEBUG shows where; the store is as the last finished turn left it",
    )


def _debugging() -> bool:
    from chatcli.cli import runtime

    try:
        return runtime.load().log_level == "DEBUG"
    except Exception:  # noqa: BLE001 - the settings may be what is broken
        return False


def _report(error: ChatcliError, arguments: Sequence[str]) -> int:
    """Say what went wrong on standard error, as JSON where JSON was asked for."""
    output.settle()
    output.say_problem(error, as_json=_wants_json(arguments))
    return error.exit_code


def _wants_json(arguments: Sequence[str]) -> bool:
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options
