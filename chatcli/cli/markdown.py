"""Markdown on a terminal, through Rich: nothing is cut, nothing is padded, no link is hidden.

Importing this costs about 70 ms; only a terminal ever does.
"""

import io
import re

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, TableElement
from rich.syntax import Syntax
from rich.table import Table

from chatcli.cli.terminal import visible

_LINE_END = re.compile(r"(?: |\x1b\[[0-9;]*m)+$", re.MULTILINE)


class _Code(CodeBlock):
    """Code without a box, so that what is copied from the screen is the code."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        yield Syntax(code, self.lexer_name, theme=self.theme, word_wrap=True, background_color="default")


class _Heading(Heading):
    """A heading at the left."""

    LEVEL_ALIGN = dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), "left")


class _Table(TableElement):
    """A table that folds what does not fit, where Rich would cut it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in super().__rich_console__(console, options):
            if isinstance(part, Table):
                for column in part.columns:
                    column.overflow = "fold"
            yield part


class _Document(Markdown):
    elements = {  # noqa: RUF012 - as in the base class
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
        "table_open": _Table,
    }


def render(text: str, *, width: int, color: bool) -> str:
    """Return Markdown of unknown origin as lines for a terminal of this width, ending in a line end.

    Markup of Rich in it is text, and links show their address.
    """
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system="auto" if color else None,
        legacy_windows=False,
        emoji=False,
        highlight=False,
    )
    document = _Document(visible(text), code_theme="ansi_dark", hyperlinks=False)
    with console.capture() as capture:
        console.print(document)
    # Rich fills lines up with blanks, which would be copied with them.
    return _LINE_END.sub(lambda match: match[0].replace(" ", ""), capture.get())
