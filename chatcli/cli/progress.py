"""A bar on standard error for work on many threads, if somebody watches."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chatcli.cli import output

Show = Callable[[int, str], None]
"""Takes how many threads are done, and some words about them."""


@contextmanager
def progress(what: str, *, total: int | None, quiet: bool) -> Iterator[Show]:
    """Show a bar named `what` for `total` threads (None: nobody knows), and yield what moves it on."""
    if quiet or not output.is_terminal(sys.stderr) or output.terminal().dumb:
        yield lambda _done, _words: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn(what, markup=False),
        BarColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True, no_color=output.terminal().no_color, width=output.screen_size().columns)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total, words="")
        yield lambda done, words: bar.update(task, completed=done, words=words)
