"""`kinlink table`: list released tables, and read one."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from kinlink.cli.deliver import Config
from kinlink.cli.family_table import get_families
from kinlink.cli.table_file import Format, definition_document, write
from kinlink.client_config import ClientConfig
from kinlink.errors import InputError
from kinlink.released import TableDefinition
from kinlink.statistics_client import StatisticsClient

_WIDTH = 100  # of text that does not go to a terminal


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Read released tables.", epilog="Example: kinlink table list", no_args_is_help=True)
    group.command("list", epilog="Example: kinlink table list")(list_tables)
    example = "Example: kinlink table get services_by_departments --period 2014 --out services.xlsx"
    group.command("get", epilog=example)(get_table)
    example = "Example: kinlink table families --period 2014 --out families.parquet"
    group.command("families", epilog=example)(get_families)
    app.add_typer(group, name="table")


def list_tables(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """List the tables that you may read, with their periods; --json adds their definitions and all revisions."""
    with ClientConfig.load(config).linker_channel() as channel:
        tables = StatisticsClient(channel).list_tables()
    if as_json:
        typer.echo(json.dumps([definition_document(table) for table in tables], ensure_ascii=False, indent=2))
        return
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("Tabel", "Titel", "Perioder"):
        grid.add_column(title)
    for table in tables:
        grid.add_row(table.table_id, table.title_da, _periods(table))
    console().print(grid)


def get_table(
    table_id: Annotated[str, typer.Argument(help="The table, as `kinlink table list` names it.")],
    period: Annotated[str, typer.Option(help="The period; without it the newest.", show_default=False)] = "",
    release: Annotated[
        str, typer.Option(help="The release whose revision to read; without it the newest.", show_default=False)
    ] = "",
    format_: Annotated[
        Format | None, typer.Option("--format", help="Without it: by the name of --out, else text.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; without it stdout.", show_default=False)] = None,
    config: Config = None,
) -> None:
    """Read a released table. A suppressed number is ".."; "12 r1" is one of revision 1. Files have a status column.

    CSV, UTF-8 with commas, and Parquet are for programs: amounts are øre. XLSX is for Excel: amounts are kroner, titles
    Danish, with what the signs mean.
    """
    suffixes = {f".{each}": each for each in Format}
    chosen = format_ or suffixes.get(out.suffix if out else "", Format.TEXT)
    if out is None and chosen.is_binary and sys.stdout.isatty():
        raise typer.BadParameter(f"{chosen} is binary; give --out FILE", param_hint="--out")
    with ClientConfig.load(config).linker_channel() as channel:
        table = StatisticsClient(channel).get_table(table_id, period, release)
    content = write(table, chosen, console().width)
    if out is None and chosen is Format.TEXT:
        sys.stdout.write(content.decode())
    elif out is None:
        sys.stdout.buffer.write(content)
    else:
        _save(out, content)


def console() -> Console:
    """Return the terminal, or a page of fixed width where there is none."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)


def _save(out: Path, content: bytes) -> None:
    try:
        out.write_bytes(content)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}.", "OUT_NOT_WRITABLE") from None


def _periods(table: TableDefinition) -> str:
    """Return the periods, newest first, with how often one was released when that was more than once."""
    times = Counter(each.period for each in table.revisions)
    said = [f"{period} (r{times[period]})" if times[period] > 1 else period for period in table.periods]
    return ", ".join(said) or "ikke udgivet"
