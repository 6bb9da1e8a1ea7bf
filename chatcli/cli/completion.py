"""Shell completion: what follows on the command line, cheaply, and without ever printing an error."""

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import typer
from typer import _completion_classes as shells
from typer._click.shell_completion import ShellComplete, add_completion_class
from typer.core import TyperGroup

from chatcli.cli.terminal import visible_line

if TYPE_CHECKING:
    from typer._click.shell_completion import CompletionItem

    from chatcli.models import Page
    from chatcli.service import ChatService

SECONDS = 1.0
"""How long a server is waited for."""
MOST = 100
"""Threads that are offered at most, the last used ones."""


def threads(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return ids that begin like that, with their titles; of local stores and servers, if they are quick."""
    from chatcli.cli import runtime

    try:
        settings = runtime.load(
            store=ctx.params.get("store"),
            server=ctx.params.get("server"),
            env_file=ctx.params.get("env_file"),
        )
        if settings.server is None and not runtime.never_waits(settings):
            return []
        page = runtime.run(lambda service: _page(service, incomplete), settings)
    except Exception:  # noqa: BLE001 - a shell's prompt is no place for errors
        return []
    return [(thread.id, visible_line(thread.title)) for thread in page.threads]


async def _page(service: "ChatService", prefix: str) -> "Page":
    listing = service.threads(limit=MOST, archived=None, prefix=prefix)
    if service.settings.server is None:
        return await listing
    import asyncio

    async with asyncio.timeout(SECONDS):
        return await listing


def models(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return providers, as ``NAME:``, and aliases that begin like that."""
    from chatcli.cli import runtime

    try:
        from chatcli.providers.table import known_names

        names = known_names(runtime.load(env_file=ctx.params.get("env_file")))
    except Exception:  # noqa: BLE001 - see above
        return []
    return [name for name in names if name.startswith(incomplete)]


_ZSH_SCRIPT = """#compdef %(prog_name)s

%(complete_func)s() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" %(autocomplete_var)s=complete_zsh %(prog_name)s)
}

if [[ "${funcstack[1]}" = _%(prog_name)s ]]; then
  %(complete_func)s "$@"
else
  compdef %(complete_func)s %(prog_name)s
fi
"""
"""Typer's, but for the first Tab in a shell: it completes, too, where the file is in the fpath."""


class Program(TyperGroup):
    """The group of all commands; completion runs through the shells' classes below."""

    def _main_shell_completion(
        self, ctx_args: MutableMapping[str, Any], prog_name: str, complete_var: str | None = None
    ) -> None:
        for shell in (BashComplete, ZshComplete, FishComplete):
            add_completion_class(shell, shell.name)
        try:
            super()._main_shell_completion(ctx_args, prog_name, complete_var)
        except Exception:  # noqa: BLE001 - see above
            raise SystemExit(0) from None


class _Script(ShellComplete):
    """A script without empty lines around it: zsh looks at the first line of a file."""

    def source(self) -> str:
        return super().source().strip()


class BashComplete(_Script, shells.BashComplete):
    """Typer's, for values with colons, too: to bash each colon is a word."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one at the cursor, and that one."""
        before, incomplete = super().get_completion_args()
        words: list[str] = []
        for word in (*before, incomplete):
            if words and (word == ":" or words[-1].endswith(":")):
                words[-1] += word
            else:
                words.append(word)
        self._typed = words[-1].rpartition(":")[0]
        return words[:-1], words[-1]

    def format_completion(self, item: "CompletionItem") -> str:
        """Return the part of the value that is behind the last colon that was typed."""
        return str(item.value).removeprefix(f"{self._typed}:") if self._typed else str(item.value)


class ZshComplete(_Script, shells.ZshComplete):
    """Typer's takes help for Rich markup (and imports Rich), and lets a backslash undo its quoting."""

    source_template = _ZSH_SCRIPT

    def format_completion(self, item: "CompletionItem") -> str:
        """Return a word for the script: evaluated twice, within single, then within double quotes."""
        value = _quote(str(item.value))
        return f'"{value}":"{_quote(item.help)}"' if item.help else f'"{value}"'


class FishComplete(_Script, shells.FishComplete):
    """Typer's takes help for Rich markup (and imports Rich)."""

    def format_completion(self, item: "CompletionItem") -> str:
        """Return value and help, with a tab between."""
        return f"{item.value}\t{' '.join(item.help.split())}" if item.help else str(item.value)


_ZSH_QUOTES = str.maketrans(
    {"\\": r"\\\\", '"': r"\"", "$": r"\$", "`": r"\`", ":": r"\\:", "'": r"'\''", "\n": " "}
)


def _quote(text: str) -> str:
    return text.translate(_ZSH_QUOTES)
