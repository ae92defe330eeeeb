"""The errors that a user can act on: what happened, the value seen, and what to try."""


class UserError(Exception):
    """Something in the input, the options or the machine that the user can put right.

    The command line prints the message on one line and exits with code 2; library users catch it.
    """


class MissingExtraError(UserError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    def __init__(self, what: str, extra: str, missing: str) -> None:
        super().__init__(
            f"{what} needs the package {missing!r}, which is not installed: in a checkout, pip install '.[{extra}]'"
        )


class UnknownLabelError(UserError):
    """A label was given that the model does not know."""


class NotThereError(UserError):
    """An entry or a change was named that is not there."""


class ConflictError(UserError):
    """What was asked cannot be done any more, because of what was changed since."""


class UnavailableError(UserError):
    """The files or the machine stand in the way, not what was asked: locked, full, damaged, replaced."""
