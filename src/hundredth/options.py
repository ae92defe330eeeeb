"""What the commands' declarations have in common: their help, and the options that several of them take.

Only click is imported, so that `--help` is there at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

# Names of `hundredth.runtime.engines`, which cannot be asked without importing them.
ENGINES = ("onnxruntime", "openvino", "auto")
PATH = click.Path(path_type=Path)


class Argument(click.Argument):
    """An argument of which the help says what it is."""

    def __init__(self, declarations: list[str], about: str, **settings: Any) -> None:
        super().__init__(declarations, **settings)
        self.about = about

    def row(self, ctx: click.Context) -> tuple[str, str]:
        """Return its name and what the help says of it."""
        return self.make_metavar(ctx), f"{self.about}  [required]" if self.required else self.about


class Command(click.Command):
    """A command whose help lists its arguments, above its options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments and the options."""
        rows = [one.row(ctx) for one in self.get_params(ctx) if isinstance(one, Argument)]
        if rows:
            with formatter.section("Arguments"):
                formatter.write_dl(rows)
        super().format_options(ctx, formatter)


class Group(click.Group):
    """Commands that the help lists in the order in which they were added."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)


def argument(name: str, about: str, **settings: Any) -> Callable[[Function], Function]:
    """Declare an argument; `settings` are those of `click.argument`."""
    return click.argument(name, cls=Argument, about=about, **settings)


def json_option(about: str) -> Callable[[Function], Function]:
    """Declare --json, which arrives as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=about)


def set_option(metavar: str) -> Callable[[Function], Function]:
    """Declare --set, which arrives as `settings`."""
    return click.option("--set", "settings", metavar=metavar, multiple=True, help="Any other setting.")


def text_columns_option(command: Function) -> Function:
    """Declare --text-column, which arrives as `text_columns`."""
    return click.option(
        "--text-column",
        "text_columns",
        multiple=True,
        help="Column of a text, where it is not named as the field is; once for each field, in their order.",
    )(command)


def threads_option(about: str) -> Callable[[Function], Function]:
    """Declare --threads, a number from 0 on, which is its default."""
    return click.option("--threads", type=click.IntRange(min=0), default=0, help=about)


model_argument = argument("model", "Folder of a model, or of the run that made it.", type=PATH)
label_column_option = click.option("--label-column", default="label", help="Column of the label.")
quiet_option = click.option("--quiet", is_flag=True, help="Say nothing of the progress.")
engine_option = click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default=ENGINES[0],
    help="What runs the model; auto: the quicker one of those installed.",
)
