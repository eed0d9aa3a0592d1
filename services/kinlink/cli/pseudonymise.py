"""`kinlink pseudonymise`: one column of a file, for exchange outside a delivery."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kinlink.cli.deliver import Config
from kinlink.cli.progress import stages
from kinlink.client_config import ClientConfig
from kinlink.delivery.column import column_rejects, pseudonymised, read_table, without, write_table
from kinlink.delivery.stored import metadata
from kinlink.errors import LimitError
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Kind

_EPILOG = "Example: kinlink pseudonymise borgere.csv --column cpr --out borgere.parquet"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pseudonymise", epilog=_EPILOG)(pseudonymise)


def pseudonymise(
    file: Annotated[Path, typer.Argument(help="CSV (UTF-8) or Parquet, by its suffix.")],
    column: Annotated[str, typer.Option(help="The column of CPR numbers.")],
    out: Annotated[Path, typer.Option(help="CSV or Parquet, by its suffix; replaced if it is there.")],
    separator: Annotated[str, typer.Option(help="The CSV separator.")] = ";",
    rejects: Annotated[Path | None, typer.Option(help="Leave bad rows out and list them here.")] = None,
    config: Config = None,
) -> None:
    """Replace the CPR numbers of a column by this source's pseudonyms; the other columns stay as they are.

    CSV gets the text form kl1.<domain>.<version>.<base64url>, Parquet 32 bytes. An empty cell stays empty. Without
    --rejects a bad number refuses the file.
    """
    settings = ClientConfig.load(config)
    source = settings.source()
    frame = read_table(file, column, separator)
    bad = column_rejects(frame, column, file.name, synthetic=settings.suite.synthetic)
    if bad.height and rejects is None:
        message = (
            f"{bad.height} of {frame.height} rows of {file.name} hold no CPR number in {column}, the first in row "
            f"{bad['row'][0]}. Mend them, or give --rejects FILE to leave them out."
        )
        raise LimitError(message, "TOO_MANY_REJECTS")
    if bad.height and rejects is not None:
        write_table(bad, rejects, ";")
        frame = without(frame, bad)
    with settings.pseudonymizer_channel() as channel, stages() as open_stage:
        client = PseudonymizerClient(channel, domain=f"source/{source}", suite=settings.suite)
        done, key = client.pseudonymise(frame, column, Kind.CPR, open_stage("pseudonymise"))
    write_table(pseudonymised(done, column, key, text=out.suffix != ".parquet"), out, separator, metadata(column, key))
    typer.echo(f"{done.height:,} rows in {out}, {bad.height:,} left out; {key.domain}, key version {key.version}")
