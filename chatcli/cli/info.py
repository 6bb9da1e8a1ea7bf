"""The command `info`: the version, the settings in force and where each came from, and whether they work."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatcli.cli import completion, options, output
from chatcli.cli.terminal import visible_line
from chatcli.errors import ChatcliError, InvalidRequest

if TYPE_CHECKING:
    from chatcli.config import Settings
    from chatcli.service import ChatService

ENTRIES = 20
"""Entries of the audit that are shown where no number is given."""

_SHOWN_MODELS = 10


def info(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Open the store and ask the provider for its models, too.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="PROVIDER:MODEL",
            help="Show and check this model instead of the one that is set.",
            autocompletion=completion.models,
        ),
    ] = None,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Show who cleared, deleted, archived, restored or encrypted what."),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("-n", "--limit", min=0, metavar="N", help=f"Entries of --audit, 0 for all [{ENTRIES}]."),
    ] = None,
    store: options.Store = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
) -> None:
    """Show the version, the settings in force and their origin, paths, model and store."""
    from chatcli.cli import runtime

    if (limit is not None and not audit) or (audit and check):
        raise InvalidRequest("--limit is for --audit, which goes without --check")
    output.require_stdout()
    settings = runtime.load(store=store, env_file=env_file, model=model)
    if audit:
        from chatcli.cli.audit import show

        runtime.run(
            lambda service: show(service, ENTRIES if limit is None else limit, as_json=json), settings
        )
        return
    facts = _facts(settings)
    failure = None
    if check:
        facts["check"], failure = runtime.run(_check, settings, loop=True)
    if json:
        output.write_json(facts)
    else:
        lines = _lines(facts)
        if output.is_terminal(sys.stdout):
            output.page("".join(f"{line}\n" for line in map(visible_line, lines)))
        else:
            output.write_lines(lines)
    if failure is not None:
        output.flush()
        raise typer.Exit(failure.exit_code)


def _facts(settings: "Settings") -> dict[str, Any]:
    import platform

    from chatcli import __version__
    from chatcli.config import mask_url

    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": sys.platform,
        "paths": {
            "config": str(settings.config_file),
            "env_file": None if settings.env_file is None else str(settings.env_file),
            "data": str(settings.data_dir),
        },
        "store": mask_url(settings.server or settings.store),
        "model": _model(settings),
        "settings": [row._asdict() for row in settings.rows()],
    }


def _model(settings: "Settings") -> dict[str, Any]:
    """Return the model in use and what carries its requests, or why there is none."""
    from chatcli.providers import find_engine
    from chatcli.providers.table import resolve_model

    try:
        spec = resolve_model(settings, None)
        engine = find_engine(settings, spec)
    except ChatcliError as error:
        return {"error": error.to_json()}
    return {"name": str(spec), "engine": engine}


async def _check(service: "ChatService") -> tuple[dict[str, Any], ChatcliError | None]:
    """Return what the check found, and the first error."""
    from chatcli.service.rekeying import key_ids

    found: dict[str, Any] = {}
    failures: list[ChatcliError] = []
    try:
        warnings = list(await service.check_store())
        found["store"] = {"ok": True, "warnings": warnings, "keys": list(key_ids(service.store))}
    except ChatcliError as error:
        failures.append(error)
        found["store"] = {"ok": False, "error": error.to_json()}
    try:
        found["model"] = {"ok": True, "models": list(await service.models(None))}
    except ChatcliError as error:
        failures.append(error)
        found["model"] = {"ok": False, "error": error.to_json()}
    return found, failures[0] if failures else None


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the facts for people, one a line."""
    paths, model = facts["paths"], facts["model"]
    yield f"chatcli {facts['version']}, Python {facts['python']} on {facts['platform']}"
    yield ""
    yield f"model   {_problem(model['error']) if 'error' in model else '{name} ({engine})'.format(**model)}"
    yield f"store   {facts['store']}"
    yield f"config  {paths['config']}"
    if paths["env_file"] is not None:
        yield f".env    {paths['env_file']}"
    yield f"data    {paths['data']}"
    if "check" in facts:
        yield ""
        yield from _check_lines(facts["check"])
    yield ""
    width = max(len(row["name"]) for row in facts["settings"])
    values = max(len(row["value"]) for row in facts["settings"] if len(row["value"]) < width * 2)
    for row in facts["settings"]:
        yield f"{row['name']:{width}}  {row['value']:{values}}  {row['origin']}"


def _check_lines(check: dict[str, Any]) -> Iterator[str]:
    store, model = check["store"], check["model"]
    yield f"check   store: {'works' if store['ok'] else _problem(store['error'])}"
    if keys := store.get("keys"):
        read = f"; {', '.join(keys[1:])} still opens what it encrypted" if keys[1:] else ""
        yield f"        encrypted with the key {keys[0]}{read}"
    for warning in store.get("warnings", ()):
        yield f"        warning: {warning}"
    if model["ok"]:
        names = model["models"]
        more = "" if len(names) <= _SHOWN_MODELS else f" and {len(names) - _SHOWN_MODELS} more"
        yield f"check   model: works; {', '.join(names[:_SHOWN_MODELS])}{more}"
    else:
        yield f"check   model: {_problem(model['error'])}"


def _problem(error: dict[str, Any]) -> str:
    hint = f" ({error['hint']})" if "hint" in error else ""
    return f"{error['detail']}{hint}"
