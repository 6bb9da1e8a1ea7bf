"""The commands, and the one place that turns errors into lines and exit codes."""

import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer
from typer.core import TyperCommand
from typer.main import get_command_from_info
from typer.models import CommandInfo

from chatcli import __version__
from chatcli.cli import output
from chatcli.cli.completion import Program
from chatcli.errors import ChatcliError, InvalidRequest

if TYPE_CHECKING:
    from typer._click import Command, Context, HelpFormatter

PROGRAM = "chatcli"
INTERRUPTED = 130


class Entry(NamedTuple):
    """A command in the table: where it is, and the line that says what it does."""

    place: str
    """``module:function``; only that of the command that runs is imported."""
    summary: str
    """How the function's docstring begins."""


COMMANDS: dict[str, Entry] = {
    "chat": Entry("chatcli.cli.chat:chat", "Ask a model; the conversation is kept."),
    "history": Entry("chatcli.cli.history:history", "List the threads, last used first, or show one."),
    "title": Entry("chatcli.cli.threads:title", "Give a thread a title, or show the one it has."),
    "fork": Entry("chatcli.cli.threads:fork", "Make a new thread from the turns of another, print its id."),
    "clear": Entry("chatcli.cli.threads:clear", "Remove the turns of threads, and keep the threads."),
    "delete": Entry("chatcli.cli.threads:delete", "Remove threads with all their turns, for good."),
    "archive": Entry(
        "chatcli.cli.threads:archive", "Hide threads from lists, and take no turns, until restored."
    ),
    "cleanup": Entry(
        "chatcli.cli.cleanup:cleanup", "Remove threads that were not used for long, and print a receipt."
    ),
    "export": Entry("chatcli.cli.transfer:export", "Write threads as lines of JSON, with a checksum."),
    "import": Entry("chatcli.cli.transfer:import_", "Read threads of an export, of llm, or of ChatGPT."),
    "copy": Entry(
        "chatcli.cli.copy:copy",
        "Copy threads from one store to another, and compare each with what was written.",
    ),
    "rekey": Entry(
        "chatcli.cli.rekey:rekey", "Encrypt all that is stored with the first key of CHATCLI_ENCRYPTION_KEY."
    ),
    "serve": Entry("chatcli.cli.serve:serve", "Serve the HTTP API."),
    "info": Entry(
        "chatcli.cli.info:info",
        "Show the version, the settings in force and their origin, paths, model and store.",
    ),
}
"""All commands, in the order of the help."""


class Commands(Mapping[str, "Command"]):
    """The commands of `COMMANDS`, made when they are looked up."""

    def __getitem__(self, name: str) -> "Command":
        module, _, function = COMMANDS[name].place.partition(":")
        info = CommandInfo(name, callback=getattr(import_module(module), function))
        return get_command_from_info(
            info, pretty_exceptions_short=True, rich_markup_mode=app.rich_markup_mode
        )

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Group(Program):
    """The program's group of commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast("MutableMapping[str, Command]", Commands())

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the help. What the commands do stands in the table: none of them is imported."""
        self.commands = {name: TyperCommand(name, help=entry.summary) for name, entry in COMMANDS.items()}
        super().format_help(ctx, formatter)


app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
