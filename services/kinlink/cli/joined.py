"""Commands that other packages bring: they join by the entry point group `kinlink.commands`.

Each is a function that takes the arguments after its name and returns an exit code. Its package is imported
when it is run, so that the client needs no server's code. Beside it in its module stands `parser()`, the
argparse parser of those arguments, with which the tests read the documents' command lines.

An entry point "group.command" joins a group that the client has: its function takes the arguments after the group's
name. `kinlink release` so has `show` everywhere, and `protect` where the linker's packages are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points

import typer

_GROUP = "kinlink.commands"
_HELP = {
    "keystore": "The pseudonymizer's sealed keys, on its own machine: status, rewrap, backup, restore.",
    "release.protect": "Hide what must be hidden in a table of cells from any program; needs no service.",
}
_AS_GIVEN = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Add what is installed here, after the client's own groups."""
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    for point in entry_points(group=_GROUP):
        group, _, name = point.name.rpartition(".")
        joins = groups.get(group) or app
        joins.command(name, context_settings=_AS_GIVEN)(_runner(point, [name] if group else []))


def _runner(point: EntryPoint, before: Sequence[str]) -> Callable[[typer.Context], None]:
    called = point.name.replace(".", " ")

    def run(context: typer.Context) -> None:
        try:
            command = point.load()
        except ModuleNotFoundError as error:
            message = f"{called} needs {error.name}, which is not installed here"
            raise typer.BadParameter(message, param_hint=called) from error
        raise typer.Exit(command([*before, *context.args]))

    run.__doc__ = _HELP.get(point.name, f"See `kinlink {called} --help`.")
    return run
