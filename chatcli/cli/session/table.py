"""The slash commands: how they are called, what they take, what they say of themselves."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum, auto

_NAME = re.compile(r"/[A-Za-z][A-Za-z-]*")


class Takes(Enum):
    """What the argument of a command is, where Tab can complete it."""

    THREAD = auto()
    MODEL = auto()
    PATH = auto()


@dataclass(frozen=True, slots=True)
class Command:
    """One slash command."""

    name: str
    argument: str
    help: str
    completes: Takes | None = None

    @property
    def takes(self) -> bool:
        """Whether there may be an argument."""
        return bool(self.argument)

    @property
    def usage(self) -> str:
        """The command with its argument."""
        return f"{self.name} {self.argument}".rstrip()


COMMANDS = (
    Command("/help", "[COMMAND]", "Show the commands, or one of them."),
    Command("/history", "[N]", "Show the last N turns of this thread; all without N."),
    Command("/threads", "[TEXT]", "List the threads, last used first, or those in which TEXT stands."),
    Command("/switch", "ID", "Go on with another thread: its id or the beginning of it.", Takes.THREAD),
    Command("/new", "[TITLE]", "Begin a new thread; this one stays as it is."),
    Command("/title", "TEXT", "Name this thread."),
    Command("/model", "[SPEC]", "Ask this model from now on; without SPEC, say which it is.", Takes.MODEL),
    Command("/system", "[TEXT]", "Set the system prompt, @FILE reads it; without TEXT, show it."),
    Command("/language", "[NAME]", "Have answers in this language; without NAME, say which it is."),
    Command("/retry", "", "Ask the last prompt again; a fork keeps the answer that was there."),
    Command("/undo", "[N]", "Take back the last turn, or the last N; a fork keeps them."),
    Command("/edit", "", "Change the last prompt and ask again; a fork keeps it as it was."),
    Command("/file", "[PATH]", "Send this file with the next prompt; without PATH, forget them.", Takes.PATH),
    Command("/save", "PATH", "Write the thread to a file: Markdown, or JSON for .json.", Takes.PATH),
    Command("/copy", "[N]", "Copy the last answer, or the Nth block of code in it."),
    Command("/usage", "", "Show the tokens of the last turn and of the thread, and what they cost."),
    Command("/clear", "", "Remove all turns of this thread, after a question."),
    Command("/archive", "", "Put this thread away, and begin a new one."),
    Command("/delete", "", "Delete this thread, after a question, and begin a new one."),
    Command("/exit", "", "End the session, as Ctrl-D does."),
)
BY_NAME = {command.name: command for command in COMMANDS}


def split_command(text: str) -> tuple[str, str] | None:
    """Return the command that `text` is, and its argument; None if it is a prompt.

    Paths and longer texts that begin with a slash are prompts, and so is everything behind two.
    """
    name, _, argument = text.strip().partition(" ")
    if name in BY_NAME and "\n" not in text.strip():
        return name, argument.strip()
    if _NAME.fullmatch(name) and "\n" not in text.strip():
        return name, argument.strip()
    return None


def prompt_of(text: str) -> str:
    """Return the prompt that `text` is: a second slash at its beginning is there to escape the first."""
    return text[1:] if text.startswith("//") else text


def nearest(name: str) -> str | None:
    """Return the command that was probably meant."""
    if starting := [known for known in BY_NAME if known.startswith(name)]:
        return starting[0]
    near = get_close_matches(name, BY_NAME, n=1, cutoff=0.5)
    return near[0] if near else None


def help_lines(name: str | None = None) -> list[str]:
    """Return the help of one command, or of all and of the keys."""
    if name is not None:
        command = BY_NAME[name]
        return [f"{command.usage}    {command.help}"]
    width = max(len(command.usage) for command in COMMANDS)
    lines = [f"{command.usage:<{width}}  {command.help}" for command in COMMANDS]
    keys = (
        ("Enter", "send; Alt-Enter or Ctrl-J begins a new line"),
        ("Ctrl-C", "stop an answer, or clear the line"),
        ("Ctrl-R", "search the prompts of all sessions"),
        ("Ctrl-X Ctrl-E", "write the prompt in $EDITOR"),
        ("Ctrl-D", "end the session"),
        ("//…", "a prompt that begins with a slash"),
    )
    return [*lines, "", *(f"{key:<{width}}  {what}" for key, what in keys)]
