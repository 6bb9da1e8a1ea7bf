"""Options that several commands have in common, declared once."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Store: TypeAlias = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Where threads are kept, as sqlite:///PATH or memory://."),
]
Server: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--server", metavar="URL", help="Use the threads of this server: http://…, https://… or unix:///PATH."
    ),
]
EnvFile: TypeAlias = Annotated[
    Path | None, typer.Option("--env-file", metavar="PATH", help="Read variables from this file.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Write JSON, errors on standard error too.")]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("-q", "--quiet", help="Say nothing but the answer and errors.")
]
