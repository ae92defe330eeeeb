"""What a service is told when it starts."""

import ipaddress
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from hundredth.errors import UserError
from hundredth.runtime.engines import EngineName

TOKEN_VARIABLE = "HUNDREDTH_TOKEN"
_SHORTEST_TOKEN = 16


class ServiceSettings(BaseModel):
    """The model to serve, where, to whom, and how much of it at a time; times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    folder: Path = Field(description="The model folder.")
    host: str = Field("127.0.0.1", description="Address to listen at; 0.0.0.0 for all of this machine's.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen at; 0 for a free one.")
    workers: int = Field(1, ge=1, le=64, description="Processes that answer requests.")
    threads: int | None = Field(None, ge=1, description="CPU threads of a worker's model; else all, shared out.")
    engine: EngineName = Field("onnxruntime", description="What runs the model; auto: the quicker one.")
    token_file: Path | None = Field(None, description="File with the token; else HUNDREDTH_TOKEN is read.")
    protect_reads: bool = Field(False, description="Ask for the token for reading too.")
    allow_anonymous_writes: bool = Field(False, description="Let everyone on this machine change the knowledge.")
    allowed_hosts: tuple[str, ...] = Field((), description="Names it answers to, beside this machine's own.")
    max_body: int = Field(1 << 20, ge=1, description="Bytes of a request's body.")
    max_texts: int = Field(256, ge=1, description="Texts in a request.")
    max_characters: int = Field(20_000, ge=1, description="Characters of a text, its fields together.")
    max_batch: int = Field(64, ge=1, description="Texts predicted together.")
    max_queue: int = Field(1024, ge=1, description="Texts that may wait for their prediction in a worker.")
    max_pending: int = Field(64, ge=1, description="Requests other than predictions in a worker's hands.")
    max_connections: int = Field(1000, ge=1, description="Connections to a worker at a time.")
    body_timeout: float = Field(10.0, gt=0, description="Time for a request's head to arrive, then for its body.")
    request_timeout: float = Field(30.0, gt=0, description="Time for an answer.")
    stop_delay: float = Field(0.0, ge=0, description="Time between SIGTERM and the last connection taken.")
    watch: float = Field(2.0, ge=0, description="Time between two looks for a new model; 0 for none.")
    log_texts: bool = Field(False, description="Write the texts of requests into the log.")
    api_docs: bool = Field(False, description="Serve /docs, a page that loads its scripts from a CDN.")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def read_token(settings: ServiceSettings) -> str | None:
    """Return the token that writes need, from its file or the environment; None where there is none.

    Raises:
        UserError: the file cannot be read, or the token is too easily guessed.
    """
    path = settings.token_file
    if path is not None:
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UserError(f"the token file {path} cannot be read: {reason}") from error
        where = str(path)
    elif TOKEN_VARIABLE in os.environ:
        token, where = os.environ[TOKEN_VARIABLE].strip(), TOKEN_VARIABLE
    else:
        return None
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"{where} holds no usable token: write at least {_SHORTEST_TOKEN} letters and digits into it, "
            "such as those of `openssl rand -hex 24`"
        )
    return token
