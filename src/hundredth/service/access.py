"""Who may read and who may change: one bearer token, or nobody, or this machine."""

import hashlib
import hmac
from typing import Literal

from starlette.requests import Request

from hundredth.errors import UserError
from hundredth.service.errors import ApiError
from hundredth.service.settings import TOKEN_VARIABLE, ServiceSettings, is_loopback, read_token

Need = Literal["nothing", "read", "write"]

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="hundredth"'}


class Access:
    """The rules of a service: see `check`."""

    def __init__(self, settings: ServiceSettings) -> None:
        token = read_token(settings)
        if settings.protect_reads and token is None:
            raise UserError(f"--protect-reads needs a token: name a --token-file, or set {TOKEN_VARIABLE}")
        if settings.allow_anonymous_writes and token is not None:
            raise UserError("--allow-anonymous-writes and a token are both given: leave one out")
        if settings.allow_anonymous_writes and not settings.is_local:
            raise UserError(
                f"--allow-anonymous-writes is for 127.0.0.1 alone, not for {settings.host}: set a token instead"
            )
        self._digest = None if token is None else _digest(token.encode())
        self.reads_need_token = settings.protect_reads
        self.anonymous_writes = settings.allow_anonymous_writes

    @property
    def writes_need_token(self) -> bool:
        """Whether there is a token, without which nothing can be changed."""
        return self._digest is not None

    @property
    def writes_possible(self) -> bool:
        """Whether anybody can change anything."""
        return self.writes_need_token or self.anonymous_writes

    def check(self, request: Request, need: Need) -> None:
        """Refuse a request that may not do what it needs to do.

        Raises:
            ApiError: 401 without the right token, 403 where no token would help.
        """
        if need == "nothing" or (need == "read" and not self.reads_need_token):
            return
        if need == "write" and self._digest is None:
            self._check_anonymous(request)
            return
        given = request.headers.get("authorization")
        if given is None:
            raise ApiError(401, "unauthorized", "this needs a token: send Authorization: Bearer TOKEN", _CHALLENGE)
        scheme, _, token = given.partition(" ")
        # Digests are of one length, so that the time of the comparison tells nothing of the token.
        digest = _digest(token.strip().encode("latin-1", "replace"))
        if scheme.lower() != "bearer" or self._digest is None or not hmac.compare_digest(digest, self._digest):
            raise ApiError(401, "unauthorized", "this token is not the right one", _CHALLENGE)

    def _check_anonymous(self, request: Request) -> None:
        if not self.anonymous_writes:
            raise ApiError(
                403,
                "forbidden",
                "this service has no token, so nothing can be changed: "
                "start it with --token-file to allow changes with the token",
            )
        # A page of another site can make a browser here send requests under that site's name.
        if not is_loopback(_host(request)):
            raise ApiError(403, "forbidden", "changes without a token are taken from this machine alone")


def _host(request: Request) -> str:
    """Return the host that the request was sent to, as its sender calls it."""
    host = request.headers.get("host", "")
    return host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
