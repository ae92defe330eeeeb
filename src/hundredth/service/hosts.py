"""Which names a service answers to.

A page of another site can make its own name lead to this machine (DNS rebinding), and a browser then lets it read
what a service here says. The name that the browser sends along gives it away.
"""

import ipaddress
import re

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hundredth.errors import UserError
from hundredth.service.errors import ApiError
from hundredth.service.settings import ServiceSettings

_OWN = ("localhost", "127.0.0.1", "[::1]")
_ALL = "*"
_NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
# Whoever looks after the service asks by whatever address it has, and is told nothing else.
_FOR_ALL = ("/healthz", "/readyz")
_KNOWN = "hundredth.host_known"


def accepted_hosts(settings: ServiceSettings) -> tuple[str, ...]:
    """Return the names that a service answers to, as `TrustedHostMiddleware` takes them; "*" for all.

    Raises:
        UserError: one of those in the settings is no name.
    """
    if not settings.allowed_hosts and not settings.is_local:
        return (_ALL,)
    listens = (settings.host,) if settings.is_local else ()
    return (*_OWN, *map(_as_sent, (*listens, *settings.allowed_hosts)))


class Hosts:
    """Refuses requests that were sent to another name."""

    def __init__(self, app: ASGIApp, accepted: tuple[str, ...]) -> None:
        self._app = app
        self._check = TrustedHostMiddleware(_note_known, list(accepted), www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a 400."""
        if scope["type"] == "http" and scope["path"] not in _FOR_ALL:
            await self._check(scope, receive, _say_nothing)
            if not scope.pop(_KNOWN, False):
                message = "the Host is not a name of this service: start it with --allowed-host to add it"
                await ApiError(400, "bad_request", message).response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _note_known(scope: Scope, receive: Receive, send: Send) -> None:
    scope[_KNOWN] = True


async def _say_nothing(message: Message) -> None:
    """Drop the middleware's own refusal, which has another form than all errors here."""


def _as_sent(name: str) -> str:
    """Return a name or an address as a browser writes it into the header."""
    try:
        return f"[{ipaddress.IPv6Address(name.strip('[]'))}]"
    except ValueError:
        lower = name.lower()
    if lower != _ALL and not _NAME.fullmatch(lower):
        raise UserError(
            f"--allowed-host {name!r} is no name of a host: give it without http:// and without a port, "
            "such as example.org or *.example.org, or * for all"
        )
    return lower
