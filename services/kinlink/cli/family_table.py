"""`kinlink table families`: the family table, for a consumer whom the controller granted it."""

from __future__ import annotations

import io
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import typer

from kinlink.cli.deliver import Config
from kinlink.client_config import ClientConfig
from kinlink.errors import InputError
from kinlink.statistics_client import StatisticsClient


class FamilyFormat(StrEnum):
    """How the family table is written."""

    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


def get_families(
    out: Annotated[Path, typer.Option(help="The file to write: .parquet, .arrow or .csv.")],
    period: Annotated[str, typer.Option(help="The year; without it the newest granted.", show_default=False)] = "",
    config: Config = None,
) -> None:
    """Read the family table: a row a family with children, coarsened. Pseudonymised personal data.

    Parquet and Arrow hold release, definition and label in the schema's metadata; CSV in its last columns.
    """
    suffix = out.suffix.removeprefix(".")
    if suffix not in list(FamilyFormat):
        raise typer.BadParameter(f"the name ends with one of .{', .'.join(FamilyFormat)}", param_hint="--out")
    with ClientConfig.load(config).linker_channel() as channel:
        table = StatisticsClient(channel).stream_family_table(period)
    try:
        out.touch(mode=0o600)  # for its owner only, from before there is anything in it
        out.write_bytes(write(table, FamilyFormat(suffix)))
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}.", "OUT_NOT_WRITABLE") from None
    said = _metadata(table)
    typer.echo(
        f"{said['label_da']} · {said['label_en']}: {table.num_rows} rows, release {said['release_id']}", err=True
    )


def write(table: pa.Table, chosen: FamilyFormat) -> bytes:
    """Return the table in a format; the same table gives the same bytes."""
    sink = io.BytesIO()
    match chosen:
        case FamilyFormat.CSV:
            said = _metadata(table)
            for name in ("release_id", "label_da"):
                table = table.append_column(name, pa.array([said[name]] * table.num_rows, pa.string()))
            pyarrow.csv.write_csv(table, sink)
        case FamilyFormat.ARROW:
            with pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        case FamilyFormat.PARQUET:
            pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


def _metadata(table: pa.Table) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
