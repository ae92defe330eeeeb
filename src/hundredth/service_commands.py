"""The command `hundredth serve`.

What is heavy is imported inside it, as in `hundredth.cli`.
"""

import math
import os
from pathlib import Path
from typing import Any

import click

from hundredth.console import plain_errors
from hundredth.errors import MissingExtraError
from hundredth.folders import model_folder
from hundredth.options import PATH, Command, engine_option, model_argument

# The names of the extra's packages as they are imported.
_PACKAGES = ("fastapi", "starlette", "uvicorn", "pydantic", "prometheus_client")
_POSITIVE = click.IntRange(min=1)


class _Seconds(click.FloatRange):
    """A range without NaN, which is neither below nor above its limits, and without infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or say why it is none."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return number


@click.command(cls=Command)
@model_argument
@click.option("--host", default="127.0.0.1", help="Address to listen at; 0.0.0.0 for all of this machine's.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="Port to listen at; 0 for a free one.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, help="Processes that answer requests.")
@click.option("--threads", type=_POSITIVE, help="CPU threads of each worker; by default all, shared out.")
@engine_option
@click.option(
    "--token-file", type=PATH, help="File with the token that changes need; else HUNDREDTH_TOKEN is read."
)
@click.option("--protect-reads", is_flag=True, help="Ask for the token for reading too.")
@click.option(
    "--allow-anonymous-writes", is_flag=True, help="Let everyone on this machine change the knowledge: to try it."
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Name to answer to, beside localhost; once for each. Without any, where others can reach it: all.",
)
@click.option("--max-body", type=_POSITIVE, default=1 << 20, help="Bytes of a request's body.")
@click.option("--max-texts", type=_POSITIVE, default=256, help="Texts in a request.")
@click.option("--max-characters", type=_POSITIVE, default=20_000, help="Characters of a text.")
@click.option("--max-batch", type=_POSITIVE, default=64, help="Texts predicted together.")
@click.option("--max-queue", type=_POSITIVE, default=1024, help="Texts that may wait in a worker; more get a 429.")
@click.option(
    "--max-pending",
    type=_POSITIVE,
    default=64,
    help="Requests other than predictions that a worker has in hand; more get a 429.",
)
@click.option(
    "--max-connections", type=_POSITIVE, default=1000, help="Connections to a worker; more are refused by a 503."
)
@click.option(
    "--body-timeout",
    type=_Seconds(min=0.01),
    default=10.0,
    help="Seconds for a request's head to arrive, and for its body.",
)
@click.option("--request-timeout", type=_Seconds(min=0.01), default=30.0, help="Seconds for an answer.")
@click.option(
    "--stop-delay",
    type=_Seconds(min=0),
    default=0.0,
    help="Seconds between SIGTERM, when /readyz says no, and the last connection.",
)
@click.option(
    "--watch", type=_Seconds(min=0), default=2.0, help="Seconds between two looks for a new model; 0: never."
)
@click.option("--log-texts", is_flag=True, help="Write texts into the log, which has none else.")
@click.option("--api-docs", is_flag=True, help="Serve /docs as well, which loads its scripts from a CDN.")
def serve(model: Path, **settings: Any) -> None:
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
        run(ServiceSettings(folder=model_folder(model), **settings), click.echo)
