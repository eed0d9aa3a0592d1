"""`kinlink link`: start a linkage run, follow it, look at its result."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kinlink.cli import review
from kinlink.cli.background_work import follow, stopped
from kinlink.cli.deliver import Config
from kinlink.cli.exit_codes import ExitCode
from kinlink.client_config import ClientConfig
from kinlink.errors import InputError
from kinlink.linkage_client import STAGES, Interval, LinkageClient, Run

_EPILOG = "Example: kinlink link run --reference-date 2015-01-01"
_WHOLE_YEAR = 12
_STANDS = ("released", "unchanged")  # how the outcome of a table begins that is served as it is now
_WIDTH = 100  # of text that does not go to a terminal


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Link deliveries into families, and release tables.", epilog=_EPILOG, no_args_is_help=True)
    group.command("run", epilog=_EPILOG)(run)
    group.command("status", epilog="Example: kinlink link status")(status)
    review.register(group)
    app.add_typer(group, name="link")


def run(
    reference_date: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="The day families are formed; a first of month.")
    ],
    year: Annotated[
        int, typer.Option(help="Whose services and spending; without it the year before.", show_default=False)
    ] = 0,
    through_month: Annotated[
        int, typer.Option(help="The last month of the year that counts; without it December.", show_default=False)
    ] = 0,
    request_id: Annotated[
        str, typer.Option(help="A UUID of your own; the same again resumes the run.", show_default=False)
    ] = "",
    config: Config = None,
) -> None:
    """Start a linkage run and follow it to its end. Interrupting the command does not stop the run.

    Ends with 4 if no table could be released.
    """
    day = reference_date.date()
    if day.day != 1:
        raise InputError("--reference-date must be a first of month: ages are exact only there.", "REQUEST_INVALID")
    with ClientConfig.load(config).linker_channel() as channel:
        client = LinkageClient(channel)
        started = client.start(day, year, request_id, through_month=through_month)
        again = ["kinlink", "link", "run", "--reference-date", f"{started.reference_date}", "--year", f"{started.year}"]
        again += ["--through-month", f"{started.through_month}", "--request-id", started.request_id]
        follow(started, client.watch(started.run_id), STAGES, show=_show, again=again, config=config)
        outcomes = [table.outcome for table in client.get(started.run_id).tables]
    if outcomes and not any(outcome.startswith(_STANDS) for outcome in outcomes):
        typer.echo("kinlink: nothing could be released, for the reason given with the tables", err=True)
        raise typer.Exit(ExitCode.REFUSED)


def status(
    run_id: Annotated[str, typer.Argument(help="The run; without it the newest.", show_default=False)] = "",
    config: Config = None,
) -> None:
    """Show a run as it stands."""
    with ClientConfig.load(config).linker_channel() as channel:
        _show(LinkageClient(channel).get(run_id))


def _show(run: Run) -> None:
    typer.echo(f"run {run.run_id}: {run.state}, reference date {run.reference_date}, {_months(run)}")
    if run.state == "running":
        progress = f", {run.done} of {run.total}" if run.total else ""
        typer.echo(f"stage: {run.stage}{progress}")
    if run.reason:
        typer.echo(stopped(run, run.reason, run.message))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    if run.tables:
        grid = Table("table", "outcome", "release", box=box.SIMPLE_HEAD, pad_edge=False)
        for table in run.tables:
            grid.add_row(table.table_id, table.outcome, table.release_id[:12] or "-")
        console.print(grid)
    if run.coverage:
        grid = Table("source", "method", box=box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column("rows linked", justify="right")
        grid.add_column("amount linked", justify="right")
        for row in run.coverage:
            grid.add_row(row.source, row.method, _share(row.share_rows), _share(row.share_amount))
        console.print(grid)
    _show_quality(run, console)
    for note in run.linkage_notes:
        typer.echo(f"note: {note}")


def _show_quality(run: Run, console: Console) -> None:
    if run.quality:
        typer.echo("Without a CPR number; precision and recall of the amount, as the model expects, [95 % interval]:")
        grid = Table("source", "month", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("records", "linked", "in review", "precision %", "recall %"):
            grid.add_column(name, justify="right")
        for each in run.quality:
            counts = (f"{count:,}" for count in (each.records, each.linked, each.in_review))
            grid.add_row(each.source, each.month or "all", *counts, _interval(each.precision), _interval(each.recall))
        console.print(grid)
    covered = [each for each in run.quality if each.posted_kr is not None]
    if covered:
        typer.echo("Kroner with a person, of all postings (absolute, whole thousands), before and after these links:")
        grid = Table("source", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("posted", "before", "after"):
            grid.add_column(name, justify="right")
        for each in covered:
            before, after = (_kroner(found, each.posted_kr) for found in (each.identified_kr, each.covered_kr))
            grid.add_row(each.source, f"{each.posted_kr:,}", before, after)
        console.print(grid)


def _months(run: Run) -> str:
    return f"year {run.year}" if run.through_month == _WHOLE_YEAR else f"{run.year} through month {run.through_month}"


def _interval(found: Interval | None) -> str:
    if found is None:
        return "-"
    return escape(f"{found.estimate * 100:.1f} [{found.low * 100:.1f}-{found.high * 100:.1f}]")


def _kroner(found: int | None, posted: int | None) -> str:
    return f"{found or 0:,} ({(found or 0) / posted:.1%})" if posted else "-"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
