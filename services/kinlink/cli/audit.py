"""`kinlink audit`: read a service's log, keep its checkpoints, export it, prove an entry, verify an export."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import grpc
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from kinlink import genesis as genesis_file
from kinlink.audit.entry import Entry
from kinlink.audit.export import Export, ExportError
from kinlink.audit.kept import Kept, KeptError, companion, read
from kinlink.audit.note import NoteError, VerifierKey
from kinlink.audit.verify import verify as verify_export
from kinlink.audit_client import AuditClient
from kinlink.audit_evidence import fetch_checkpoint, fetch_export, opened, prove
from kinlink.cli.deliver import Config
from kinlink.cli.exit_codes import ExitCode
from kinlink.cli.progress import stages
from kinlink.cli.verification import document, lines
from kinlink.client_config import ClientConfig
from kinlink.errors import InputError
from kinlink.genesis import Genesis

_WIDTH = 160  # of a table that does not go to a terminal
_COLUMNS = 110  # of a terminal in which each field has a column of its own


class Service(StrEnum):
    """Whose log."""

    PSEUDONYMIZER = "pseudonymizer"
    LINKER = "linker"


class Outcome(StrEnum):
    """How a call ended."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"


Of = Annotated[Service, typer.Option("--service", help="Whose log.")]
LogKey = Annotated[str, typer.Option(help="The log's key that you kept: the text, or a file that holds it.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    example = "Example: kinlink audit tail --service linker --last 50"
    group = typer.Typer(help="Read and verify a service's log.", epilog=example, no_args_is_help=True)
    group.command("tail", epilog=example)(tail)
    kept = "--log-key linker.key.txt --after 2026-09.checkpoint --out 2026-10.checkpoint"
    group.command("checkpoint", epilog=f"Example: kinlink audit checkpoint --service linker {kept}")(checkpoint)
    group.command("export", epilog="Example: kinlink audit export --service linker --out linker.audit")(export)
    files = "linker.audit --checkpoint kept/ --log-key linker.key.txt"
    group.command("verify", epilog=f"Example: kinlink audit verify {files}")(verify)
    files = "--service linker --checkpoint 2026-10.checkpoint --log-key linker.key.txt"
    group.command("prove", epilog=f"Example: kinlink audit prove 4711 {files}")(prove_entry)
    app.add_typer(group, name="audit")


def tail(
    service: Of,
    last: Annotated[int, typer.Option(min=1, help="How many entries to look at, from the end.")] = 20,
    outcome: Annotated[Outcome | None, typer.Option(help="Of those, only these.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON Lines: the entries as they stand.")] = False,
    config: Config = None,
) -> None:
    """Show the newest entries of a log. They are not verified: see `kinlink audit verify`."""
    with _client(service, config) as client:
        size = _size(client)
        start = max(0, size - last)
        if as_json:
            for leaf in client.leaves(start, size):
                if outcome is None or json.loads(leaf.content).get("outcome") == outcome:
                    typer.echo(leaf.content.decode())
            return
        _show(entry for entry in client.entries(start, size) if outcome is None or entry.outcome == outcome)


def checkpoint(
    service: Of,
    show_key: Annotated[bool, typer.Option("--key", help="Print the log's key, to be kept, and nothing else.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where to keep the checkpoint.", show_default=False)] = None,
    log_key: Annotated[str, typer.Option(help="The log's key that you kept: the text, or a file.")] = "",
    after: Annotated[
        Path | None, typer.Option(help="The checkpoint that you kept last: is it continued?", show_default=False)
    ] = None,
    config: Config = None,
) -> None:
    """Fetch a signed checkpoint of the log; with --out verify and keep it.

    Beside it FILE.hashes is kept, with the hashes of the entries since --after, or since the log began: with them
    `kinlink audit verify` names an entry that was tampered with, also when the whole log was rebuilt.
    """
    if out is not None and not log_key:
        raise typer.BadParameter(
            "give the key that you kept; `kinlink audit checkpoint --key` prints it the first time"
        )
    with _client(service, config) as client:
        if out is None:
            signed = client.checkpoint()
            sys.stdout.write(f"{signed.verifier_key}\n" if show_key else signed.note)
            return
        key = _key(log_key)
        last = opened(_kept([after])[0].note, key, str(after)) if after else None
        with stages() as open_stage, _new(out) as file, _new(companion(out)) as beside:
            note, hashes = fetch_checkpoint(client, key, last, open_stage("checkpoint"))
            beside.write(hashes.to_bytes())
            file.write(note.encode())
    continued = f"; it continues {after}" if after else ""
    typer.echo(f"kept: {out}, {hashes.size} entries{continued}")


def export(
    service: Of,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    start: Annotated[int, typer.Option(min=0, help="The first entry.")] = 0,
    end: Annotated[int, typer.Option(min=0, help="The entry after the last; 0 means as many as there are.")] = 0,
    config: Config = None,
) -> None:
    """Write the log to a file, JSON Lines, which `kinlink audit verify` verifies without the service."""
    with _client(service, config) as client, stages() as open_stage, _new(out) as file:
        end = fetch_export(client, file, start, end, open_stage("export"))
    typer.echo(
        f"wrote: {out}, {end - start} entries. Now run: kinlink audit verify {out} --checkpoint ... --log-key ..."
    )


def verify(
    exported: Annotated[Path, typer.Argument(metavar="EXPORT", help="What `kinlink audit export` wrote.")],
    log_key: LogKey,
    checkpoints: Annotated[
        list[Path], typer.Option("--checkpoint", help="A kept checkpoint, or a folder of them; may be repeated.")
    ],
    earlier: Annotated[Path | None, typer.Option(help="An export that you kept.", show_default=False)] = None,
    witnesses: Annotated[
        list[str] | None,
        typer.Option("--witness", help="A witness's key that you kept, as --log-key; may be repeated."),
    ] = None,
    genesis: Annotated[
        Path | None, typer.Option(help="The file of the first signers that you kept.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Verify an export against what you kept. Needs no service and no database.

    In the pseudonymizer's log, from its first entry on, also that each change of keys and signers was signed by those
    who could, from the first signers on; with --witness, that these vouch for what you kept.

    Ends with 0 when nothing was found, with 6 otherwise.
    """
    key = _key(log_key)
    kept = _kept(checkpoints, key)
    try:
        opened_export, before = Export(exported), Export(earlier) if earlier else None
        with stages() as open_stage:
            result = verify_export(
                opened_export,
                kept,
                key,
                before,
                open_stage("verify"),
                witnesses=[_key(text, "--witness") for text in witnesses or ()],
                genesis=_genesis(genesis) if genesis else None,
            )
    except ExportError as error:
        raise InputError(
            f"{exported if earlier is None else f'{exported} or {earlier}'}: {error}.", "NO_EXPORT"
        ) from error
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}.", "NOT_READABLE") from None
    if as_json:
        typer.echo(json.dumps(document(result), ensure_ascii=False, indent=2))
    else:
        for line in lines(result):
            typer.echo(line)
    if not result.ok:
        raise typer.Exit(ExitCode.CONFLICT)


def prove_entry(
    index: Annotated[int, typer.Argument(min=0, help="The entry's index, from 0.")],
    service: Of,
    checkpoint_file: Annotated[Path, typer.Option("--checkpoint", help="A kept checkpoint that covers the entry.")],
    log_key: LogKey,
    config: Config = None,
) -> None:
    """Fetch one entry with its proof, verify it against a kept checkpoint, and print it."""
    kept = opened(_kept([checkpoint_file])[0].note, _key(log_key), str(checkpoint_file))
    with _client(service, config) as client:
        leaf = prove(client, index, kept)
    typer.echo(leaf.content.decode())
    typer.echo(
        f"proven: entry {index} stands in the log of {kept.size} entries that {checkpoint_file} covers", err=True
    )


@contextmanager
def _client(service: Service, config: Path | None) -> Iterator[AuditClient]:
    settings = ClientConfig.load(config)
    channel: grpc.Channel = settings.linker_channel() if service is Service.LINKER else settings.pseudonymizer_channel()
    with channel:
        yield AuditClient(channel)


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is there only when all of it is; evidence is never overwritten."""
    partial = path.with_name(f".{path.name}.partial")
    if path.exists():
        raise InputError(f"{path} exists, and is not overwritten. Give another name.", "OUT_EXISTS")
    try:
        file = os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.", "OUT_NOT_WRITABLE") from None
    try:
        with file:
            yield file
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _genesis(path: Path) -> Genesis:
    try:
        return genesis_file.parse(path.read_bytes())
    except genesis_file.GenesisError as error:
        raise InputError(f"{path} {error}.", "NO_GENESIS") from error


def _key(text: str, option: str = "--log-key") -> VerifierKey:
    path = Path(text)
    try:
        return VerifierKey.parse(path.read_text("utf-8") if "+" not in text or path.exists() else text)
    except OSError as error:
        raise InputError(f"{option}: {text} cannot be read: {error.strerror}.", "NOT_READABLE") from None
    except (NoteError, UnicodeDecodeError) as error:
        raise InputError(f"{option}: {error}.", "KEY_MALFORMED") from error


def _kept(paths: list[Path], key: VerifierKey | None = None) -> list[Kept]:
    try:
        return read(paths, key.name if key else "")
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}.", "NOT_READABLE") from None
    except KeptError as error:
        raise InputError(f"{error}.", "NO_CHECKPOINT") from error


def _size(client: AuditClient) -> int:
    signed = client.checkpoint()
    return opened(signed.note, _key(signed.verifier_key), "The service's checkpoint").size


def _show(entries: Iterator[Entry]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    wide = console.width >= _COLUMNS
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("entry", justify="right", no_wrap=True)
    grid.add_column("recorded at, UTC", no_wrap=True)
    titles = ("caller", "call", "subject", "count", "outcome")
    for title in titles if wide else ("caller: call, subject, count, outcome",):
        grid.add_column(title, overflow="fold", justify="right" if title == "count" else "left")
    for entry in entries:
        caller = "/".join(entry.caller.split("/")[3:])
        call = entry.rpc.rpartition("/")[2]  # no two services have a call of one name
        version = f"v{entry.key_version}" if entry.key_version else ""
        subject = " ".join(part for part in (entry.subject, entry.kind, version) if part)
        count = f"{entry.count:,}" if entry.count else ""
        outcome = f"{entry.outcome} {entry.reason}".strip()
        said = [call, subject, count, outcome]
        fields = [caller, *said] if wide else [f"{caller or 'the service'}: {', '.join(filter(None, said))}"]
        grid.add_row(str(entry.index), f"{entry.recorded_at:%Y-%m-%d %H:%M:%S}", *fields)
    console.print(grid)
