"""The model hub where there is no network: said at once, not after half a minute of attempts."""

import socket
from collections.abc import Iterable
from urllib.parse import urlsplit
from urllib.request import getproxies

from hundredth.models import expanded, resolve_model

_TIMEOUT = 2.0  # seconds, for each of the hub's addresses


def names_dataset(name: str) -> bool:
    """Tell whether a corpus can only be a dataset on the hub: OWNER/NAME, and no path that is there."""
    path = expanded(name)
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not path.suffix and not path.exists()


def give_up_early_without_hub(names: Iterable[str]) -> None:
    """Where a name needs the hub and nothing answers there, have the hub's client look into its cache only.

    It would try again for half a minute and more, for each file. The client keeps this for the whole process,
    which is why the command line calls it and not the library. What imports the hub's client at its own import
    (`datasets`) must be imported after this.

    Raises:
        UserError: a name that reads as a path is not there.
    """
    needed = [name for name in names if isinstance(resolve_model(name), str)]
    if not needed:
        return
    from huggingface_hub import constants

    hub = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or getproxies().get(hub.scheme):
        return
    try:
        port = hub.port or (80 if hub.scheme == "http" else 443)
        socket.create_connection((hub.hostname or "", port), _TIMEOUT).close()
    except OSError:
        constants.HF_HUB_OFFLINE = True
