"""`kinlink dev`: what development needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kinlink.dev_certificates import DEFAULT_NAMES, make_certificates

_EPILOG = "Example: kinlink dev certs --out certs --days 7"


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Help for development.", epilog=_EPILOG, no_args_is_help=True)
    group.callback()(_group)
    group.command("certs", epilog=_EPILOG)(certs)
    app.add_typer(group, name="dev")


def _group() -> None:
    """Help for development."""


def certs(
    out: Annotated[Path, typer.Option(help="The folder to write to; files of the same name are replaced.")],
    days: Annotated[int, typer.Option(min=1, max=90, help="How long the certificates hold.")] = 7,
    trust_domain: Annotated[str, typer.Option(help="The trust domain of the URI names.")] = "kinlink.test",
    name: Annotated[
        list[str] | None,
        typer.Option(help="role/name; may be given again. Without it: every role, all sources of the demo."),
    ] = None,
) -> None:
    """Make a development CA and short-lived certificates signed by it."""
    try:
        written = make_certificates(out, name or DEFAULT_NAMES, days=days, trust_domain=trust_domain)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--name") from error
    typer.echo(f"{len(written) - 1} certificates and ca.pem in {out}, valid for {days} days; not for production")
