"""`kinlink dpo`: the data-protection officer's monthly report."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from kinlink.cli.deliver import Config
from kinlink.cli.progress import stages
from kinlink.client_config import ClientConfig
from kinlink.errors import InputError
from kinlink.report.collect import collect
from kinlink.report.figures import figures
from kinlink.report.logs import KeptFolder
from kinlink.report.month import Month
from kinlink.report.page import render

_EPILOG = "Example: kinlink dpo report --month 2026-10 --kept kept -o report.html"


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="For the data-protection officer.", epilog=_EPILOG, no_args_is_help=True)
    group.callback()(_group)
    group.command("report", epilog=_EPILOG)(report)
    app.add_typer(group, name="dpo")


def _group() -> None:
    """Keep `report` a command of its own, although it is the only one."""


def report(
    month: Annotated[str, typer.Option(help="The month, YYYY-MM, in UTC.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")],
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write the same content as JSON too.", show_default=False)
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option(help="The folder of the checkpoints and log keys that you kept.", show_default=False),
    ] = None,
    pseudonymizer_export: Annotated[
        Path | None, typer.Option(help="Its log from this export, not from the service.", show_default=False)
    ] = None,
    linker_export: Annotated[
        Path | None, typer.Option(help="Its log from this export, not from the service.", show_default=False)
    ] = None,
    config: Config = None,
) -> None:
    """Write the month's report: keys, rotations, grants, volumes, refusals, releases, and a sample of the log.

    One page in Danish and English that needs nothing else; it prints to A4. It holds no identifiers. The folder of
    --kept holds *.checkpoint, as `kinlink audit checkpoint --out` wrote them, and the log keys as *.key.txt.
    """
    try:
        covered = Month.parse(month)
    except ValueError:
        raise InputError("--month must be a month, as 2026-10.", "REQUEST_INVALID") from None
    found = KeptFolder.read(kept) if kept else KeptFolder()
    exports = {"pseudonymizer": pseudonymizer_export, "linker": linker_export}
    settings = ClientConfig.load(config)
    with (
        settings.pseudonymizer_channel() as pseudonymizer,
        settings.linker_channel() as linker,
        stages() as open_stage,
    ):
        material = collect(
            {"pseudonymizer": pseudonymizer, "linker": linker},
            covered,
            found,
            {service: path for service, path in exports.items() if path},
            open_stage,
        )
    document = figures(material, covered, datetime.now(UTC)).document()
    _write(out, render(document))
    if as_json:
        _write(as_json, json.dumps(document, ensure_ascii=False, indent=2) + "\n")
    statuses = [light["status"] for light in document["lights"]]
    typer.echo(
        f"wrote: {out}; {statuses.count('act')} to act on, {statuses.count('look')} to look at, "
        f"{statuses.count('unchecked')} not checked"
    )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.", "OUT_NOT_WRITABLE") from None
