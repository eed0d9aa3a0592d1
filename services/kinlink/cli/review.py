"""`kinlink link review` and `kinlink link explain`: a source's own records without a usable CPR number."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from kinlink.cli.deliver import Config
from kinlink.cli.progress import stages
from kinlink.client_config import ClientConfig
from kinlink.delivery.answers import deliver_answers
from kinlink.delivery.deliver import Doors
from kinlink.errors import InputError
from kinlink.review_client import RecordExplanation, ReviewClient

_REVIEW = (
    "Example: kinlink link review --out review.csv, and then kinlink link review --answers answers.csv --period 2014"
)
_EXPLAIN = "Example: kinlink link explain 2014-000017 2014-000042"


def register(group: typer.Typer) -> None:
    """Add the commands to `kinlink link`."""
    group.command("review", epilog=_REVIEW)(review)
    group.command("explain", epilog=_EXPLAIN)(explain)


def review(
    out: Annotated[Path | None, typer.Option(help="The file to write; without it stdout.", show_default=False)] = None,
    answers: Annotated[
        Path | None,
        typer.Option(help="Deliver this CSV instead: encoding_id;cpr, cpr empty for nobody.", show_default=False),
    ] = None,
    period: Annotated[str, typer.Option(help="Of the answers: YYYY, YYYY-MM or YYYY-MM-DD.", show_default=False)] = "",
    config: Config = None,
) -> None:
    """List your records that may be somebody in the register, as CSV: look them up, and answer who they are.

    A file of answers holds all of its period so far, and takes the place of the one before. CPR numbers stay here. The
    next run goes by the answers.
    """
    if bool(answers) != bool(period):
        raise typer.BadParameter("give --answers and --period, or neither", param_hint="--answers")
    if answers:
        if out:
            raise typer.BadParameter(
                "--out is for the list, which is not read when answers are given", param_hint="--out"
            )
        _deliver(answers, period, ClientConfig.load(config))
        return
    with ClientConfig.load(config).linker_channel() as channel:
        records = list(ReviewClient(channel).in_review())
    rows = ((each.encoding_id, " ".join(each.missing_fields), each.advice) for each in records)
    _write(out, _csv(("encoding_id", "missing_fields", "advice"), rows))
    typer.echo(f"{len(records):,} records in review", err=True)


def explain(
    encoding_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Records, by encoding_id.")],
    config: Config = None,
) -> None:
    """Say what became of your records in the last run, a line each, and what would help."""
    with ClientConfig.load(config).linker_channel() as channel:
        for record in ReviewClient(channel).explain(encoding_ids):
            typer.echo(_sentence(record))


def _deliver(answers: Path, period: str, settings: ClientConfig) -> None:
    name = settings.source()
    with settings.pseudonymizer_channel() as pseudonymizer, settings.linker_channel() as linker, stages() as open_stage:
        sent = deliver_answers(answers, period, Doors(name, settings.suite, pseudonymizer, linker), open_stage)
    delivery, again = sent.receipt.delivery, "already " if sent.receipt.already else ""
    typer.echo(f"{delivery.rows:,} answers for {delivery.period}, {again}accepted; the next run goes by them")


def _sentence(record: RecordExplanation) -> str:
    lacks = f", no usable {', '.join(record.missing_fields)}" if record.missing_fields else ""
    return f"{record.encoding_id}: {record.state}{lacks}. {record.advice}".rstrip()


def _csv(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return rows as CSV with semicolons, as Danish spreadsheets read it."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _write(out: Path | None, text: str) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}.", "OUT_NOT_WRITABLE") from None
