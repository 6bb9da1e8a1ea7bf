"""The command `info`: the version, the settings in force and where each came from, and whether they work."""

import sys
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatcli.cli import completion, options, output
from chatcli.cli.terminal import visible_line
from chatcli.errors import ChatcliError, InvalidRequest

if TYPE_CHECKING:
    from chatcli.config import Settings
    from chatcli.service import ChatService

SERVER = "server"
"""What stands for the engine where a server asks the model."""
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
    server: options.Server = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
) -> None:
    """Show the version, the settings in force and their origin, paths, model and store."""
    from chatcli.cli import runtime

    if (limit is not None and not audit) or (audit and check):
        raise InvalidRequest("--limit is for --audit, which goes without --check")
    output.require_stdout()
    settings = runtime.load(store=store, server=server, env_file=env_file, model=model)
    if audit:
        from chatcli.cli.audit import show

        runtime.run(
            lambda service: show(service, ENTRIES if limit is None else limit, as_json=json), settings
        )
        return
    facts = _facts(settings, model)
    failure = None
    if check:
        facts["check"], failure = runtime.run(lambda service: _check(service, model), settings, loop=True)
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


def _facts(settings: "Settings", model: str | None) -> dict[str, Any]:
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
        "model": _model(settings) if settings.server is None else {"name": model, "engine": SERVER},
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


async def _check(service: "ChatService", model: str | None) -> tuple[dict[str, Any], ChatcliError | None]:
    """Return what the check found, and the first error; over a server, what the server says."""
    found: dict[str, Any] = {}
    failures: list[ChatcliError] = []

    async def look(name: str, task: Coroutine[Any, Any, dict[str, Any]]) -> None:
        try:
            found[name] = {"ok": True, **await task}
        except ChatcliError as error:
            failures.append(error)
            found[name] = {"ok": False, "error": error.to_json()}

    if service.settings.server is not None:
        await look("server", _check_server(service))
        if failures:
            return found, failures[0]
    await look("store", _check_store(service))
    await look("model", _check_model(service, model))
    return found, failures[0] if failures else None


async def _check_server(service: "ChatService") -> dict[str, Any]:
    from chatcli.service.remote import RemoteService

    assert isinstance(service, RemoteService)  # noqa: S101 - where there is a server, it is
    return {"version": await service.check_server()}


async def _check_store(service: "ChatService") -> dict[str, Any]:
    from chatcli.service.rekeying import key_ids

    warnings = list(await service.check_store())
    keys = () if service.settings.server is not None else key_ids(service.store)
    return {"warnings": warnings, "keys": list(keys)}


async def _check_model(service: "ChatService", model: str | None) -> dict[str, Any]:
    name = await service.find_model(model, None)
    return {"name": name, "models": list(await service.models(model))}


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the facts for people, one a line."""
    paths, model = facts["paths"], facts["model"]
    yield f"chatcli {facts['version']}, Python {facts['python']} on {facts['platform']}"
    yield ""
    yield f"model   {_model_line(model)}"
    yield f"{'server' if model.get('engine') == SERVER else 'store '}  {facts['store']}"
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


def _model_line(model: dict[str, Any]) -> str:
    if "error" in model:
        return _problem(model["error"])
    if model["name"] is None:
        return "as the server says"
    return f"{model['name']} ({model['engine']})"


def _check_lines(check: dict[str, Any]) -> Iterator[str]:
    server = check.get("server")
    if server is not None:
        works = f"works; chatcli {server['version']}" if server["ok"] else _problem(server["error"])
        yield f"check   server: {works}"
        if not server["ok"]:
            return
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
        asked = "" if server is None else f" {model['name']}"
        yield f"check   model:{asked} works; {', '.join(names[:_SHOWN_MODELS])}{more}"
    else:
        yield f"check   model: {_problem(model['error'])}"


def _problem(error: dict[str, Any]) -> str:
    hint = f" ({error['hint']})" if "hint" in error else ""
    return f"{error['detail']}{hint}"
