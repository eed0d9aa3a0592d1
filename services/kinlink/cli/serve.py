"""`kinlink serve`: run a service. Services join by the entry point group `kinlink.serve`."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

_GROUP = "kinlink.serve"
_EPILOG = "Example: kinlink serve linker --config linker.toml"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", epilog=_EPILOG)(serve)


def serve(
    service: Annotated[str, typer.Argument(help="pseudonymizer or linker.")],
    config: Annotated[Path, typer.Option(help="The service's settings, a TOML file.", exists=True, dir_okay=False)],
) -> None:
    """Run a service until it gets SIGTERM; prints `ready <address>` once it answers."""
    found = {point.name: point for point in entry_points(group=_GROUP)}
    if service not in found:
        hint = f"installed here: {', '.join(sorted(found)) or 'none'}"
        raise typer.BadParameter(f"no such service; {hint}", param_hint="SERVICE")
    try:
        run = found[service].load()
    except ModuleNotFoundError as error:
        message = f"{service} needs {error.name}, which is not installed: pip install 'kinlink[{service}]'"
        raise typer.BadParameter(message, param_hint="SERVICE") from error
    run(config)
