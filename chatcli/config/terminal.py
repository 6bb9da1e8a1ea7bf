"""What the environment says about the terminal and the programs around it."""

import os
import re
from collections.abc import Mapping

from chatcli.frozen import Frozen


class TerminalSettings(Frozen):
    """The usual variables of terminal programs; None where one is not set."""

    no_color: bool
    """NO_COLOR is set, or TERM is ``dumb``."""
    term: str
    columns: int | None
    pager: str | None
    """Command line of PAGER."""
    editor: str | None
    """Command line of VISUAL, else EDITOR."""
    less: str | None
    """LESS as it is: set and empty is a choice too."""

    @property
    def dumb(self) -> bool:
        """Whether the terminal can do nothing but print lines."""
        return self.term == "dumb"


def read_terminal(environ: Mapping[str, str] | None = None) -> TerminalSettings:
    """Return the terminal's variables; a COLUMNS that is no width counts as not set."""
    variables = os.environ if environ is None else environ
    term = variables.get("TERM", "").strip()
    columns = variables.get("COLUMNS", "").strip()
    return TerminalSettings(
        no_color=bool(variables.get("NO_COLOR")) or term == "dumb",
        term=term,
        columns=int(columns) if re.fullmatch("[1-9][0-9]{0,3}", columns) else None,
        pager=variables.get("PAGER", "").strip() or None,
        editor=variables.get("VISUAL", "").strip() or variables.get("EDITOR", "").strip() or None,
        less=variables.get("LESS"),
    )
