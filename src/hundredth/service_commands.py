"""The command `hundredth serve`.

What is heavy is imported inside it, as in `hundredth.cli`.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from hundredth.console import model_folder, plain_errors
from hundredth.errors import MissingExtraError

# The names of the extra's packages as they are imported.
_PACKAGES = ("fastapi", "starlette", "uvicorn", "pydantic", "prometheus_client")


def serve(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a model, or of the run that made it.")],
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 for all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer requests.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each worker; by default all, shared out.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that changes need; else HUNDREDTH_TOKEN is read.")
    ] = None,
    protect_reads: Annotated[
        bool, typer.Option("--protect-reads", help="Ask for the token for reading too.")
    ] = False,
    allow_anonymous_writes: Annotated[
        bool,
        typer.Option(
            "--allow-anonymous-writes", help="Let everyone on this machine change the knowledge: to try it."
        ),
    ] = False,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of a request's body.")] = 1 << 20,
    max_texts: Annotated[int, typer.Option(min=1, help="Texts in a request.")] = 256,
    max_characters: Annotated[int, typer.Option(min=1, help="Characters of a text.")] = 20_000,
    max_batch: Annotated[int, typer.Option(min=1, help="Texts predicted together.")] = 64,
    max_queue: Annotated[int, typer.Option(min=1, help="Texts that may wait in a worker; more get a 429.")] = 1024,
    body_timeout: Annotated[float, typer.Option(min=0.01, help="Seconds for a body to arrive.")] = 10.0,
    request_timeout: Annotated[float, typer.Option(min=0.01, help="Seconds for an answer.")] = 30.0,
    stop_delay: Annotated[
        float, typer.Option(min=0, help="Seconds between SIGTERM, when /readyz says no, and the last connection.")
    ] = 0.0,
    watch: Annotated[float, typer.Option(min=0, help="Seconds between two looks for a new model; 0: never.")] = 2.0,
    log_texts: Annotated[
        bool, typer.Option("--log-texts", help="Write texts into the log, which has none else.")
    ] = False,
    api_docs: Annotated[
        bool, typer.Option("--api-docs", help="Serve /docs as well, which loads its scripts from a CDN.")
    ] = False,
) -> None:
    """Serve a model over HTTP, with a page to ask and to correct it.

    \b
    hundredth serve runs/tickets
    curl -H "Content-Type: application/json" -d '{"text": "my card was swallowed"}' \\
        http://127.0.0.1:8000/v1/predict

    Nothing can be changed without a token. To allow it:

    \b
    openssl rand -hex 24 > token && chmod 600 token
    hundredth serve runs/tickets --token-file token
    curl -H "Authorization: Bearer $(cat token)" -H "Content-Type: application/json" \\
        -d '{"text": "the machine ate my card", "label": "card_swallowed"}' \\
        http://127.0.0.1:8000/v1/knowledge/correct

    On a server, behind a proxy that does TLS:

    \b
    hundredth serve runs/tickets --workers 4 --token-file token --protect-reads

    A model that is put into the place of the old one is served from then on, without a stop (or kill -HUP). SIGTERM
    stops after the requests on their way. The interface is described at /openapi.json, the numbers for Prometheus
    are at /metrics, the log goes to standard error, one JSON object a line.
    """
    # The threads of the search spin while they wait for each other: on a few texts that costs more than they gain.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with plain_errors():
        try:
            from hundredth.service.server import serve as run
            from hundredth.service.settings import ServiceSettings
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in _PACKAGES:
                raise
            raise MissingExtraError("hundredth serve", "service", error.name) from None
        settings = ServiceSettings(
            folder=model_folder(model),
            host=host,
            port=port,
            workers=workers,
            threads=threads,
            token_file=token_file,
            protect_reads=protect_reads,
            allow_anonymous_writes=allow_anonymous_writes,
            max_body=max_body,
            max_texts=max_texts,
            max_characters=max_characters,
            max_batch=max_batch,
            max_queue=max_queue,
            body_timeout=body_timeout,
            request_timeout=request_timeout,
            stop_delay=stop_delay,
            watch=watch,
            log_texts=log_texts,
            api_docs=api_docs,
        )
        run(settings, typer.echo)
