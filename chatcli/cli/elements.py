"""How the elements of Markdown look: Rich's, but for those that would cut, pad or hide something."""

from collections.abc import Iterator, Sequence

from markdown_it.token import Token
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, HorizontalRule, ListElement, ListItem, Markdown, TableElement
from rich.segment import Segment
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax
from rich.table import Table
from rich.text import Text

from chatcli.cli.terminal import visible

RULE_WIDTH = 40
_CODE_THEME = ANSISyntaxTheme(
    # Colours of the terminal's own palette that can be read on light and on dark.
    {
        ("Comment",): Style(dim=True, italic=True),
        ("Keyword",): Style(color="magenta"),
        ("Operator", "Word"): Style(color="magenta"),
        ("Name", "Function"): Style(color="blue", bold=True),
        ("Name", "Class"): Style(color="blue", bold=True),
        ("Name", "Builtin"): Style(color="cyan"),
        ("Name", "Decorator"): Style(color="cyan"),
        ("Name", "Tag"): Style(color="magenta"),
        ("Literal", "String"): Style(color="green"),
        ("Literal", "Number"): Style(color="cyan"),
        ("Generic", "Deleted"): Style(color="red"),
        ("Generic", "Inserted"): Style(color="green"),
        ("Generic", "Heading"): Style(bold=True),
    }
)


class _Code(CodeBlock):
    """Code without a box, so that what is copied from the screen is the code."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).removesuffix("\n")
        yield Syntax(code, self.lexer_name, theme=_CODE_THEME, word_wrap=True, background_color="default")


class _Heading(Heading):
    """A heading at the left."""

    LEVEL_ALIGN = dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), "left")


class _Rule(HorizontalRule):
    """A short line, and no empty one behind it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("─" * min(RULE_WIDTH, options.max_width), style="markdown.hr")


class _Item(ListItem):
    """An item whose place does not depend on how many there are."""

    def render_number(
        self,
        console: Console,
        options: ConsoleOptions,
        number: int,
        last_number: int,  # noqa: ARG002
    ) -> RenderResult:
        """Render the item behind its number."""
        return self._behind(f"{number}. ", "markdown.item.number", console, options)

    def render_bullet(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the item behind a bullet."""
        return self._behind("• ", "markdown.item.bullet", console, options)

    def _behind(self, mark: str, style: str, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.update(width=max(1, options.max_width - len(mark)))
        lines = console.render_lines(self.elements, room, style=self.style, pad=False)
        for index, line in enumerate(lines or [[]]):
            yield Segment(" " * len(mark) if index else mark, None if index else console.get_style(style))
            yield from line
            yield Segment.line()


class _Table(TableElement):
    """A table whose words stay whole: where they don't fit, each row is a list of named values."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = [cell.content for cell in self.header.row.cells] if self.header and self.header.row else []
        rows = [[cell.content for cell in row.cells] for row in self.body.rows] if self.body else []
        needed = sum(
            max(_longest_word(text) for text in column) + 2 for column in zip(names, *rows, strict=False)
        )
        if needed > options.max_width and rows:
            yield from self._list_rows(names, rows)
            return
        for part in super().__rich_console__(console, options):
            if isinstance(part, Table):
                part.show_edge = False
                for column in part.columns:
                    column.overflow = "fold"
            yield part

    def _list_rows(self, names: list[Text], rows: list[list[Text]]) -> RenderResult:
        for index, row in enumerate(rows):
            if index:
                yield Text()
            for name, value in zip(names, row, strict=False):
                label = name.copy()
                label.stylize("markdown.table.header")
                yield Text.assemble(label, ": ", value, overflow="fold")


def _longest_word(text: Text) -> int:
    return max(map(cell_len, text.plain.split()), default=1)


class Document(Markdown):
    """Tokens of Markdown as something that Rich can render."""

    elements = {  # noqa: RUF012 - as in the base class
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
        "hr": _Rule,
        "bullet_list_open": ListElement,
        "ordered_list_open": ListElement,
        "list_item_open": _Item,
        "table_open": _Table,
    }
    inlines = {  # noqa: RUF012 - see above
        *Markdown.inlines,
        "a",
    }

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = [_gated(token) for token in tokens]


def _gated(token: Token) -> Token:
    """Return a token that holds nothing a terminal acts on: entities such as ``&rlm;`` are decoded by now."""
    children = None if token.children is None else list(_spell_out(token.children))
    return token.copy(content=_shown(token.content), children=children)


def _spell_out(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield inline tokens with the address of each link and image behind its text."""
    links: list[tuple[str, list[str]]] = []
    for token in tokens:
        if token.type == "link_open":
            links.append((str(token.attrs.get("href", "")), []))
            yield token.copy(type="anchor_open")
        elif token.type == "link_close" and links:
            address, text = links.pop()
            yield token.copy(type="anchor_close")
            yield from _address(address, "".join(text))
        elif token.type == "softbreak":
            yield token.copy(type="hardbreak")
        elif token.type == "image":
            yield _text(token.content)
            yield from _address(str(token.attrs.get("src", "")), token.content)
        else:
            for _, text in links:
                text.append(token.content)
            yield token.copy(content=_shown(token.content))


def _address(address: str, text: str) -> Iterator[Token]:
    if address and address not in {text, f"mailto:{text}"}:
        yield _text(f" ({address})" if text else address)


def _text(text: str) -> Token:
    return Token("text", "", 0, content=_shown(text))


def _shown(text: str) -> str:
    return visible(text).replace("\t", "    ")
