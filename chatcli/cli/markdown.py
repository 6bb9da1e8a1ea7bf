"""Markdown on a terminal, through Rich: nothing is cut, nothing is padded, no link is hidden.

A text is a sequence of units: its top-level blocks, and of lists the items. Each is rendered by
itself, so that a unit that is finished looks the same whatever comes after it. Importing this costs
about 70 ms; only a terminal ever does.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import dropwhile
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.theme import Theme

from chatcli.cli.elements import Document
from chatcli.cli.rows import Row, Span, columns, encode, make_row, split_row
from chatcli.cli.terminal import visible

if TYPE_CHECKING:
    from rich.style import Style

NARROWEST = 8
"""Columns below which nothing is gained by wrapping at words."""

_THEME = Theme(
    {
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.h4": "italic bold",
        "markdown.code": "cyan",
        "markdown.code_block": "none",
        "markdown.a": "underline",
        "markdown.block_quote": "italic",
        "markdown.item.bullet": "bold",
        "markdown.item.number": "bold",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
        "markdown.hr": "dim",
    }
)
_COLORS = {
    "standard": ColorSystem.STANDARD,
    "256": ColorSystem.EIGHT_BIT,
    "truecolor": ColorSystem.TRUECOLOR,
}
_CODE = frozenset({"fence", "code_block"})
_NO_BACKGROUND = ";49"
"""What Rich says for code although nothing else was there before."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a text that is rendered by itself."""

    kind: str
    """Type of its first token, such as ``paragraph_open``."""
    tokens: tuple[Token, ...]
    line: int
    """The line, from 0, on which its block begins."""
    part: int
    """Its place among the units of its block: 0 but for the later items of a list."""


@cache
def _parser() -> MarkdownIt:
    # HTML is text, not something to leave out; a link's address stays where it was written.
    return MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable("reference")


def parse(text: str) -> list[Unit]:
    """Return the units of a gated text."""
    units: list[Unit] = []
    for block in _blocks(_parser().parse(text)):
        line = block[0].map[0] if block[0].map else 0
        units.extend(
            Unit(block[0].type, tuple(tokens), line, part) for part, tokens in enumerate(_parts(block))
        )
    return units


def _blocks(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []


def _parts(block: list[Token]) -> Iterator[list[Token]]:
    """Yield the block; of a list each item as a list of its own, with its number."""
    opening, closing = block[0], block[-1]
    if not opening.type.endswith("_list_open"):
        yield block
        return
    number = int(opening.attrs.get("start", 1))
    item: list[Token] = []
    for token in block[1:-1]:
        item.append(token)
        if token.type == "list_item_close" and token.level == 1:
            yield [opening.copy(attrs={"start": number}), *item, closing]
            number += 1
            item = []


class Renderer:
    """Renders units for a terminal, in colour or without."""

    def __init__(self, *, color: bool) -> None:
        self._console = Console(
            file=io.StringIO(),
            force_terminal=color,
            color_system="auto" if color else None,
            no_color=not color,
            legacy_windows=False,
            emoji=False,
            highlight=False,
            theme=_THEME,
        )
        self._colors = _COLORS.get(self._console.color_system or "")
        self._styles: dict[Style | None, str] = {None: ""}

    def rows(self, units: Sequence[Unit], *, width: int, first: bool) -> list[Row]:
        """Return the rows of `units`, an empty one between blocks, and before the `first` if it is not."""
        rows: list[Row] = []
        for unit in units:
            if not unit.part and not (first and unit is units[0]):
                rows.append(())
            rows.extend(self.unit_rows(unit, width=width))
        return rows

    def unit_rows(self, unit: Unit, *, width: int) -> list[Row]:
        """Return the rows of one unit: at most `width` columns on any terminal."""
        rows = self._render(unit, width)
        excess = max(map(columns, rows), default=0) - width
        if excess > 0 and unit.kind not in _CODE and width - excess >= NARROWEST:
            rows = self._render(unit, width - excess)
        return [piece for row in rows for piece in split_row(row, width)]

    def _render(self, unit: Unit, width: int) -> list[Row]:
        options = self._console.options.update(width=width, height=None)
        try:
            lines = self._console.render_lines(Document(unit.tokens), options, pad=False)
        except Exception:  # noqa: BLE001 - text that a renderer can't take is shown as it is
            plain = visible("".join(token.content for token in unit.tokens)).expandtabs()
            return [make_row([Span(line, "")]) for line in plain.splitlines()]
        rows = [make_row(self._span(segment) for segment in line) for line in lines]
        while rows and not rows[-1]:
            rows.pop()
        if unit.kind not in _CODE:
            rows = list(dropwhile(lambda row: not row, rows))
        return rows or [()]

    def _span(self, segment: Segment) -> Span:
        style = self._styles.get(segment.style)
        if style is None:
            assert segment.style is not None  # noqa: S101 - None is there from the start
            style = segment.style.render("\0", color_system=self._colors).partition("\0")[0]
            style = style.replace(_NO_BACKGROUND, "").replace("\x1b[49m", "")
            self._styles[segment.style] = style
        return Span(segment.text, style)


def render(text: str, *, width: int, color: bool) -> str:
    """Return Markdown of unknown origin as lines for a terminal of this width, ending in a line end.

    Markup of Rich in it is text, and links show their address.
    """
    rows = Renderer(color=color).rows(parse(visible(text)), width=width, first=True)
    return "".join(encode(row) + "\n" for row in rows)
