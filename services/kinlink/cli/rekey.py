"""`kinlink keys rekey`: stored pseudonyms to the next key version; a source's files, or the linker's store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from kinlink.cli.background_work import follow, stopped
from kinlink.cli.deliver import Config
from kinlink.cli.progress import stages
from kinlink.client_config import ClientConfig
from kinlink.delivery.receipts import keep, receipts_of
from kinlink.delivery.rekey_file import rekey_file
from kinlink.delivery.stored import Stored
from kinlink.errors import ConflictError, InputError
from kinlink.key_administration_client import KeyAdministrationClient
from kinlink.linker_rekeying_client import STAGES, LinkerRekeyingClient, Rekeying
from kinlink.pseudonyms import Kind
from kinlink.rekeying_client import RekeyingClient
from kinlink.types.v1.types_pb2 import KeyRef

_EPILOG = "Example: kinlink keys rekey borgere.csv --column cpr --complete"
_SAMPLE_BYTES = 32 * 1024  # of an attestation, from all files together


def register(keys_app: typer.Typer) -> None:
    """Add the command to the group."""
    keys_app.command("rekey", epilog=_EPILOG)(rekey)


def rekey(
    files: Annotated[
        list[Path] | None, typer.Argument(help="CSV (UTF-8) or Parquet, by suffix.", show_default=False)
    ] = None,
    column: Annotated[str, typer.Option(help="The column of pseudonyms.", show_default=False)] = "",
    kind: Annotated[Kind, typer.Option(help="What the pseudonyms stand for.")] = Kind.CPR,
    separator: Annotated[str, typer.Option(help="The CSV separator.")] = ";",
    from_version: Annotated[
        int, typer.Option(help="Where a Parquet file does not say its version.", show_default=False)
    ] = 0,
    to: Annotated[int, typer.Option(help="The version to carry to; else the primary.", show_default=False)] = 0,
    complete: Annotated[
        bool, typer.Option("--complete", help="State that these are all the pseudonyms that this source holds.")
    ] = False,
    linker: Annotated[bool, typer.Option("--linker", help="Rekey the linker's store; for an operator.")] = False,
    request_id: Annotated[
        str, typer.Option(help="With --linker: the id of a rekeying to go on with.", show_default=False)
    ] = "",
    config: Config = None,
) -> None:
    """Carry stored pseudonyms to the next version of their key; no CPR number is needed.

    For a source: each FILE is written anew beside the old one and takes its place when it is whole and compared. A
    command that was interrupted is run again. When all files are done, give --complete with all of them, or with none
    when nothing was kept: then the old version can be destroyed.

    With --linker: start the linker's own rekeying and follow it. Interrupting the command does not stop it.
    """
    settings = ClientConfig.load(config)
    if linker:
        if files or column or complete:
            raise InputError("--linker takes no files; run it by itself.", "REQUEST_INVALID")
        _rekey_linker(settings, request_id, config)
        return
    if files and not column:
        raise InputError("Give --column: the name of the column of pseudonyms.", "MISSING_COLUMN")
    if not files and not complete:
        raise InputError("Give FILE..., or --complete alone when no pseudonyms were kept.", "REQUEST_INVALID")
    domain = f"source/{settings.source()}"
    with settings.pseudonymizer_channel() as channel:
        keys = [key for key in KeyAdministrationClient(channel).keys(domain) if key.name.kind == kind]
        primary = next((key.name.version for key in keys if key.state == "active"), 0)
        if not to and not primary:
            raise ConflictError(f"{domain} has no active key of kind {kind}. Ask its custodians.", "KEY_MISSING")
        target, client = to or primary, RekeyingClient(channel)
        for path in files or []:
            stored = Stored(path, column, domain, kind, separator, from_version)
            with stages() as open_stage:
                report = open_stage(path.name)
                outcome = rekey_file(stored, client, target, report)
                report(1, 1)  # also of a file in which there was nothing to do
            carried = ", ".join(f"{count:,} from version {version}" for version, count in outcome.carried.items())
            there = f"; {outcome.already:,} stood there already" if outcome.already else ""
            typer.echo(f"{path}: {carried or 'nothing'} to version {target}{there}")
        destroyed = {key.name.version for key in keys if key.state == "destroyed"}
        for path in files or []:
            _forget(path, domain, kind, destroyed)
        retiring = [key.name.version for key in keys if key.state == "retiring"]
        if complete:
            for version in retiring:
                _attest(client, files or [], KeyRef(domain=domain, kind=kind.wire, version=version), kind)
            if not retiring:
                typer.echo(f"{domain} has no retiring version of kind {kind}: there is nothing to attest")
        elif retiring:
            typer.echo("when all files are done, run it once more with all of them and --complete", err=True)


def _forget(path: Path, domain: str, kind: Kind, destroyed: set[int]) -> None:
    """Drop the receipts of versions that nobody asks about any more."""
    receipts = receipts_of(path)
    line = (domain, kind.value)
    wanted = [one for one in receipts if (one.domain, one.kind) != line or one.from_version not in destroyed]
    if wanted != receipts:
        keep(path, wanted)


def _attest(client: RekeyingClient, files: Sequence[Path], former: KeyRef, kind: Kind) -> None:
    """State that nothing stands under `former` any more. Repeating it states the same: the receipts stay."""
    found = [
        receipt
        for path in files
        for receipt in receipts_of(path)
        if (receipt.domain, receipt.kind, receipt.from_version) == (former.domain, kind.value, former.version)
    ]
    held = sum(receipt.held for receipt in found)
    versions = {receipt.to_version for receipt in found}
    if len(versions) > 1:
        raise InputError("The files were carried to different versions. Rekey all of them again.", "VERSION_MISMATCH")
    to_key = KeyRef(domain=former.domain, kind=former.kind, version=versions.pop()) if held else None
    size = client.attest(
        former,
        to_key,
        held=held,
        converted=held,
        sample_from=b"".join(receipt.sample_from for receipt in found)[:_SAMPLE_BYTES],
        sample_to=b"".join(receipt.sample_to for receipt in found)[:_SAMPLE_BYTES],
    )
    what = f"{held:,} held and carried over, a sample of {size} compared" if held else "nothing held"
    typer.echo(f"attested for {former.domain} {kind} version {former.version}: {what}")
    typer.echo(f"next: tell the custodians; `kinlink keys status {former.domain}` shows them who is not done")


def _rekey_linker(settings: ClientConfig, request_id: str, config: Path | None) -> None:
    with settings.linker_channel() as channel:
        client = LinkerRekeyingClient(channel)
        started = client.start(request_id)
        again = ["kinlink", "keys", "rekey", "--linker", "--request-id", started.request_id]
        follow(started, client.watch(started.rekeying_id), STAGES, show=_show, again=again, config=config)


def _show(rekeying: Rekeying) -> None:
    typer.echo(f"rekeying {rekeying.rekeying_id}: {rekeying.state}")
    if rekeying.reason:
        typer.echo(stopped(rekeying, rekeying.reason, rekeying.message))
    for key in rekeying.keys:
        sample = f", a sample of {key.sample_size} compared" if key.sample_size else ""
        attested = "attested" if key.attested else "not attested"
        line = f"  {key.domain} {key.kind} version {key.from_version}: "
        typer.echo(f"{line}{key.converted:,} of {key.held:,} carried over{sample}; {attested}")
    if rekeying.state == "succeeded" and not rekeying.keys:
        typer.echo("everything stands under the primary versions already")
