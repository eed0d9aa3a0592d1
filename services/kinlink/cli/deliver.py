"""`kinlink deliver`: an extract, by its mapping, to the linker. `kinlink deliveries`: what was delivered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kinlink.cli.progress import stages
from kinlink.client_config import ClientConfig
from kinlink.delivery.datasets import BY_NUMBER
from kinlink.delivery.deliver import Doors, Sent, check_purpose, check_source, period_of, send
from kinlink.delivery.examine import Examination, examine
from kinlink.delivery.mapping import Mapping
from kinlink.delivery.mapping_file import load
from kinlink.errors import InputError, RefusedError
from kinlink.intake_client import IntakeClient
from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.pseudonyms import Kind

Config = Annotated[Path | None, typer.Option(help="kinlink.toml; else $KINLINK_CONFIG, else ./kinlink.toml.")]

_EPILOG = "Example: kinlink deliver --mapping prisme.toml --period 2014 posteringer.csv"
_KINDS = {
    Kind.CPR: "CPR numbers",
    Kind.ADDRESS: "addresses",
    Kind.REPLACEMENT: "replacement numbers",
}
_STATES = {
    pb.DELIVERY_STATE_RECEIVING: "receiving",
    pb.DELIVERY_STATE_ACCEPTED: "accepted",
    pb.DELIVERY_STATE_REPLACED: "replaced",
    pb.DELIVERY_STATE_WITHDRAWN: "withdrawn",
    pb.DELIVERY_STATE_EXPIRED: "expired",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("deliver", epilog=_EPILOG)(deliver)
    group = typer.Typer(
        help="What this source has delivered.", epilog="Example: kinlink deliveries list", no_args_is_help=True
    )
    group.command("list", epilog="Example: kinlink deliveries list")(list_deliveries)
    group.command("withdraw", epilog="Example: kinlink deliveries withdraw 0b5c1f0e-...")(withdraw)
    app.add_typer(group, name="deliveries")


def deliver(
    extract: Annotated[list[Path], typer.Argument(help="The extract; several files of one layout are one delivery.")],
    mapping: Annotated[Path, typer.Option(help="How the extract is laid out, a TOML file.")],
    period: Annotated[str | None, typer.Option(help="YYYY, YYYY-MM or YYYY-MM-DD; else the mapping's.")] = None,
    source: Annotated[str | None, typer.Option(help="Refuse unless the certificate is this source's.")] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(help="Where bad rows are listed; else beside the extract, as <extract>.<dataset>.rejects.csv."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but call the services.")] = False,
    config: Config = None,
) -> None:
    """Read an extract, pseudonymise its persons and deliver it to the linker.

    CPR numbers stay here: the pseudonymizer sees blinded points, the linker pseudonyms. So do names and addresses, of
    which a mapping with [fields] delivers encodings. Sending the same extract again resumes a delivery that broke off,
    or changes nothing.
    """
    found = load(mapping)
    covered = period_of(found, period)
    settings = ClientConfig.load(config)
    name = settings.source()
    if source and source != name:
        raise RefusedError(
            f"The certificate is {name}'s, not {source}'s. Give --config for {source}, or take --source away.",
            "OTHER_SOURCE",
        )
    check_source(found, name)
    if not dry_run:
        check_purpose(found, settings.purpose)
    with stages() as open_stage:
        examination = examine(extract, found, covered, open_stage("read"), synthetic=settings.suite.synthetic)
    _show(examination, extract, found, covered.text, name)
    _write_rejects(examination, rejects or extract[0].with_suffix(f".{found.dataset.name}.rejects.csv"))
    examination.check(found)
    if dry_run:
        _line("dry run", "nothing was sent; no service was called")
        return
    with settings.pseudonymizer_channel() as pseudonymizer, settings.linker_channel() as linker, stages() as open_stage:
        doors = Doors(name, settings.suite, pseudonymizer, linker, settings.purpose)
        sent = send(examination, extract, found, covered, doors, open_stage)
    _show_sent(sent)


def list_deliveries(config: Config = None) -> None:
    """List what this source has delivered, newest first."""
    with ClientConfig.load(config).linker_channel() as linker:
        deliveries = list(IntakeClient(linker).list())
    if not deliveries:
        typer.echo("nothing delivered yet", err=True)
        return
    typer.echo(f"{'id':<36}  {'dataset':<16} {'period':<10} {'rows':>12}  state", err=True)
    for delivery in deliveries:
        dataset = BY_NUMBER[delivery.dataset].name
        state = _STATES.get(delivery.state, "unknown")
        typer.echo(f"{delivery.delivery_id}  {dataset:<16} {delivery.period:<10} {delivery.rows:>12,}  {state}")


def withdraw(
    delivery_id: Annotated[str, typer.Argument(help="The id of an accepted delivery, from `kinlink deliveries list`.")],
    config: Config = None,
) -> None:
    """Take a delivery back: its rows are out of the next snapshot, and off the linker's disk."""
    with ClientConfig.load(config).linker_channel() as linker:
        delivery = IntakeClient(linker).withdraw(delivery_id)
    typer.echo(f"{delivery.delivery_id} {_STATES.get(delivery.state, 'unknown')}")


def _line(label: str, text: str) -> None:
    typer.echo(f"  {label:<14} {text}")


def _show(examination: Examination, extract: list[Path], mapping: Mapping, period: str, source: str) -> None:
    files = " + ".join(path.name for path in extract)
    typer.echo(f"{files} -> {mapping.dataset.name} {period} from {source}")
    _line("rows read", f"{examination.rows:,}")
    if examination.duplicates:
        _line("duplicates", f"{examination.duplicates:,} further rows that repeat one, left out")
    _line("rejected", f"{examination.rejected:,} ({examination.rejected / max(examination.rows, 1):.2%})")
    counts = examination.rejects.group_by("column", "reason", "expected", maintain_order=True).len()
    for column, reason, expected, count in counts.sort("len", descending=True, maintain_order=True).iter_rows():
        _line("", f"{count:,} x {reason}{' in ' + column if column else ''}: expected {expected}")
    _line("to deliver", f"{examination.delivered:,} rows")
    if usable := examination.usable:
        for field, count in usable.fields.items():
            _line(field, f"usable in {count:,} ({count / max(usable.records, 1):.1%})")
        _line("nothing usable", f"{usable.without:,} ({usable.without / max(usable.records, 1):.1%}), linked to nobody")
    people = ", ".join(f"{len(texts):,} {_KINDS[kind]}" for kind, texts in examination.identifiers.items())
    _line("distinct", people or "no identifiers")


def _write_rejects(examination: Examination, path: Path) -> None:
    if not examination.rejects.height:
        return
    rejects = examination.rejects.sort("file", "row", "column", maintain_order=True)
    try:
        rejects.write_csv(path, separator=";")
    except OSError:
        raise InputError(f"The rejects file {path} cannot be written. Give --rejects.", "REJECTS_FILE") from None
    _line("rejects file", str(path))


def _show_sent(sent: Sent) -> None:
    delivery = sent.receipt.delivery
    if sent.keys:
        _line("key versions", ", ".join(f"{Kind.of_wire(key.kind)} {key.version}" for key in sent.keys))
    _line("sent", f"{sent.size / 1e6:,.1f} MB")
    state = _STATES.get(delivery.state, "unknown")
    again = "already " if sent.receipt.already else ""
    _line("delivery", f"{delivery.delivery_id} {again}{state}, snapshot {delivery.snapshot}")
    if sent.receipt.replaced:
        _line("replaces", sent.receipt.replaced)
