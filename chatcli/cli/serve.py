"""The command `serve`: the HTTP API, until a signal comes."""

from pathlib import Path
from typing import Annotated

import typer

from chatcli.cli import completion, options


def serve(
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    uds: Annotated[
        Path | None, typer.Option("--uds", metavar="PATH", help="Listen on a socket file instead.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many processes serve.")] = 1,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="PROVIDER:MODEL",
            help="The model where a request names none.",
            autocompletion=completion.models,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which clients may call the server; repeatable."),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="A web origin whose pages may call the server; repeatable."),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="A proxy whose X-Forwarded-For is believed; repeatable."),
    ] = None,
    insecure_no_auth: Annotated[
        bool, typer.Option("--insecure-no-auth", help="Serve everybody, without a token.")
    ] = False,
    grace: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="How long running turns may go on at the end.")
    ] = 30.0,
    stall_timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Drop a reader that takes nothing so long.")
    ] = 30.0,
    receive_timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long a request may take to arrive.")
    ] = 10.0,
    max_body: Annotated[
        int,
        typer.Option(min=1, max=64, metavar="MIB", help="How large pictures and threads may be."),
    ] = 1,
    http: Annotated[
        str, typer.Option(metavar="PARSER", help="The HTTP parser: auto, httptools or h11.")
    ] = "auto",
    log_messages: Annotated[
        bool, typer.Option("--log-messages", help="With LOG_LEVEL=DEBUG, log prompts and answers, too.")
    ] = False,
    store: options.Store = None,
    env_file: options.EnvFile = None,
) -> None:
    """Serve the HTTP API.

    Other addresses than this machine's own need a token (CHATCLI_API_TOKEN) and the names by which
    clients call the server (--allow-host).
    """
    from chatcli.cli import runtime
    from chatcli.errors import InvalidRequest
    from chatcli.server.options import ServeOptions

    if http not in {"auto", "httptools", "h11"}:
        raise InvalidRequest("--http must be auto, httptools or h11")
    settings = runtime.load(store=store, env_file=env_file, model=model)
    found = ServeOptions(
        host=host,
        port=port,
        uds=uds,
        workers=workers,
        allow_hosts=tuple(allow_host or ()),
        cors_origins=tuple(cors_origin or ()),
        trusted_proxies=tuple(trusted_proxy or ()),
        insecure_no_auth=insecure_no_auth,
        http=http,
        grace=grace,
        stall=stall_timeout,
        receive=receive_timeout,
        max_body=max_body,
        log_messages=log_messages,
        store=store,
        env_file=None if env_file is None else env_file.absolute(),
        model=model,
    )
    from chatcli.server.run import serve as run

    if code := run(settings, found):
        raise typer.Exit(code)
