"""`kinlink table`: list released tables, and read one."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from kinlink.cli.deliver import Config
from kinlink.cli.table_text import SUPPRESSED, render
from kinlink.client_config import ClientConfig
from kinlink.errors import InputError
from kinlink.released import Table, TableDefinition
from kinlink.statistics_client import StatisticsClient

_WIDTH = 100  # of text that does not go to a terminal


class Format(StrEnum):
    """How a table is written."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"
    ARROW = "arrow"
    PARQUET = "parquet"


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Read released tables.", epilog="Example: kinlink table list", no_args_is_help=True)
    group.command("list", epilog="Example: kinlink table list")(list_tables)
    example = "Example: kinlink table get services_by_departments --period 2014 --format csv --out services.csv"
    group.command("get", epilog=example)(get_table)
    app.add_typer(group, name="table")


def list_tables(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """List the tables that you may read, with their periods; --json adds their definitions."""
    with ClientConfig.load(config).linker_channel() as channel:
        tables = StatisticsClient(channel).list_tables()
    if as_json:
        typer.echo(json.dumps([_definition(table) for table in tables], ensure_ascii=False, indent=2))
        return
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("Tabel", "Titel", "Perioder"):
        grid.add_column(title)
    for table in tables:
        grid.add_row(table.table_id, table.title_da, ", ".join(table.periods) or "ikke udgivet")
    _console().print(grid)


def get_table(
    table_id: Annotated[str, typer.Argument(help="The table, as `kinlink table list` names it.")],
    period: Annotated[str, typer.Option(help="The period; without it the newest.", show_default=False)] = "",
    format_: Annotated[
        Format | None, typer.Option("--format", help="Without it: by the name of --out, else text.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; without it stdout.", show_default=False)] = None,
    config: Config = None,
) -> None:
    """Read a released table. A suppressed cell is ".." in text and CSV, and has a status in the others.

    CSV, UTF-8 with commas: a column an axis, then measure, unit, status, value; amounts are øre.
    """
    suffixes: Mapping[str, Format] = {f".{each}": each for each in Format}
    chosen = format_ or suffixes.get(out.suffix if out else "", Format.TEXT)
    if out is None and chosen in (Format.ARROW, Format.PARQUET) and sys.stdout.isatty():
        raise typer.BadParameter(f"{chosen} is binary; give --out FILE", param_hint="--out")
    with ClientConfig.load(config).linker_channel() as channel:
        content = write(StatisticsClient(channel).get_table(table_id, period), chosen)
    if out is None and chosen is Format.TEXT:
        sys.stdout.write(content.decode())
    elif out is None:
        sys.stdout.buffer.write(content)
    else:
        _save(out, content)


def write(table: Table, chosen: Format) -> bytes:
    """Return the table in a format; the same table gives the same bytes."""
    sink = io.BytesIO()
    match chosen:
        case Format.TEXT:
            return render(table, _console().width).encode()
        case Format.CSV:
            return _csv(table).encode()
        case Format.JSON:
            return (json.dumps(_document(table), ensure_ascii=False, indent=2) + "\n").encode()
        case Format.ARROW:
            table.to_frame().write_ipc(sink)
        case Format.PARQUET:
            table.to_frame().write_parquet(sink)
    return sink.getvalue()


def _csv(table: Table) -> str:
    units = {measure.name: measure.unit for measure in table.measures}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(axis.name for axis in table.axes), "measure", "unit", "status", "value"])
    for cell in table.cells:
        value = SUPPRESSED if cell.value is None else cell.value
        writer.writerow([*cell.categories, cell.measure, units[cell.measure], cell.status, value])
    return text.getvalue()


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)


def _save(out: Path, content: bytes) -> None:
    try:
        out.write_bytes(content)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}.", "OUT_NOT_WRITABLE") from None


def _definition(definition: TableDefinition) -> dict[str, Any]:
    return {
        "table_id": definition.table_id,
        "version": definition.version,
        "title_da": definition.title_da,
        "title_en": definition.title_en,
        "universe": definition.universe,
        "notes": list(definition.notes),
        "periods": list(definition.periods),
    }


def _document(table: Table) -> dict[str, Any]:
    units = {measure.name: measure.unit for measure in table.measures}
    return {
        "definition": _definition(table.definition),
        "release_id": table.release_id,
        "digest": table.digest,
        "period": table.period,
        "reference_date": table.reference_date.isoformat(),
        "released_at": table.released_at.isoformat(),
        "axes": [
            {
                "name": axis.name,
                "title_da": axis.title_da,
                "categories": list(axis.categories),
                "subtotals": list(axis.subtotals),
                "total": axis.total,
                "titles_da": dict(axis.titles_da),
            }
            for axis in table.axes
        ],
        "measures": [{"name": each.name, "title_da": each.title_da, "unit": each.unit} for each in table.measures],
        "cells": [
            {
                "categories": list(cell.categories),
                "measure": cell.measure,
                "unit": units[cell.measure],
                "status": cell.status,
                "value": cell.value,
            }
            for cell in table.cells
        ],
    }
