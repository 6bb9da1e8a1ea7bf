"""The interactive session: `chatcli chat` at a terminal, with no prompt on the command line."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chatcli.models import ModelOptions

if TYPE_CHECKING:
    from chatcli.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the command line says about the session."""

    max_length: int
    thread: str | None = None
    continue_last: bool = False
    model: str | None = None
    system: str | None = None
    language: str | None = None
    title: str | None = None
    options: ModelOptions = field(default_factory=ModelOptions)
    wait: float = 30.0
    stream: bool = True
    markdown: bool = True
    reasoning: bool = True
    quiet: bool = False
    history: bool = True
    """Whether prompts are kept for sessions to come."""


def run(settings: "Settings", opening: Opening) -> int:
    """Talk until the user has enough, and return the exit code."""
    from chatcli.cli import output, runtime
    from chatcli.cli.session.loop import Session

    code = runtime.run(
        lambda service: Session(service, settings, opening).run(), settings, loop=True, threaded=True
    )
    if code:
        # The terminal may have gone: what could not be written is nobody's any more.
        output.settle()
    return code
