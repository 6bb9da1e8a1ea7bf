"""How the finds of a search look: the thread, and under it the line that matches, its words in bold."""

from collections.abc import Iterator, Sequence

from chatcli.cli import output
from chatcli.cli.render import cells, shorten, thread_rows, thread_table
from chatcli.cli.terminal import visible_line
from chatcli.stores.records import Hit

_INDENT = "  "
_ELLIPSIS = "…"


def hit_document(hit: Hit) -> dict[str, object]:
    """Return the wire form: the thread, and where in it the match stands."""
    match = {"turn_index": hit.turn_index, "line": hit.line, "marks": [list(mark) for mark in hit.marks]}
    return {**hit.thread.to_json(), "match": match}


def hit_rows(hits: Sequence[Hit]) -> Iterator[str]:
    """Yield `thread_rows` with two more fields: the number of the turn, and the line that matches."""
    for row, hit in zip(thread_rows([hit.thread for hit in hits]), hits, strict=True):
        yield "\t".join((row, str(hit.turn_index), " ".join(hit.line.split())))


def hit_table(hits: Sequence[Hit], *, width: int) -> Iterator[str]:
    """Yield `thread_table` with a line under each thread: the number of the turn, and what matches."""
    details = []
    for hit in hits:
        number = f"{_INDENT}[{hit.turn_index}] "
        details.append(number + marked_line(hit.line, hit.marks, width=max(1, width - len(number))))
    return thread_table([hit.thread for hit in hits], width=width, details=details)


def marked_line(line: str, marks: Sequence[tuple[int, int]], *, width: int) -> str:
    """Return as much of `line` around the first mark as fits into `width` columns, gated, marks in bold."""
    first = marks[0][0] if marks else 0
    start = first - width // 3 if first > width * 2 // 3 else 0
    shown = [_ELLIPSIS] if start else []
    left = width - len(shown)
    # Every character takes a column or more, but for combining ones: a line may be a megabyte long.
    end = start + 2 * left
    pieces = [(visible_line(text), bold) for text, bold in _pieces(line, marks, start, end)]
    whole = end >= len(line) and sum(cells(text) for text, _ in pieces) <= left
    left -= not whole
    for text, bold in pieces:
        fits = cells(text) <= left
        # With one more character even a text that is just too long gets its ellipsis.
        piece = text if fits else shorten(f"{text} ", left + 1)
        shown.append(output.styled(piece, "bold") if bold and piece else piece)
        if not fits:
            return "".join(shown)
        left -= cells(text)
    return "".join(shown if whole else [*shown, _ELLIPSIS])


def _pieces(line: str, marks: Sequence[tuple[int, int]], start: int, end: int) -> Iterator[tuple[str, bool]]:
    """Yield ``line[start:end]`` in pieces, and whether each is marked."""
    place = start
    for first, last in marks:
        yield line[place : min(first, end)], False
        yield line[max(place, first) : min(last, end)], True
        place = max(place, last)
    yield line[place:end], False
