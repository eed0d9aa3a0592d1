"""Commands that other packages bring: they join by the entry point group `kinlink.commands`.

Each is a function that takes the arguments after its name and returns an exit code. Its package is imported
when it is run, so that the client needs no server's code. Beside it in its module stands `parser()`, the
argparse parser of those arguments, with which the tests read the documents' command lines.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

import typer

_GROUP = "kinlink.commands"
_HELP = {
    "keystore": "The pseudonymizer's sealed keys, on its own machine: status, rewrap, backup, restore.",
    "release": "Disclosure control of any table of cells: protect.",
}
_AS_GIVEN = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Add what is installed here."""
    for point in entry_points(group=_GROUP):
        app.command(point.name, context_settings=_AS_GIVEN)(_runner(point))


def _runner(point: EntryPoint) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        try:
            command = point.load()
        except ModuleNotFoundError as error:
            message = f"{point.name} needs {error.name}, which is not installed here"
            raise typer.BadParameter(message, param_hint=point.name) from error
        raise typer.Exit(command(context.args))

    run.__doc__ = _HELP.get(point.name, f"See `kinlink {point.name} --help`.")
    return run
