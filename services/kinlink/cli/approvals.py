"""`kinlink approvals`: people's keys, the people who sign, and changes that wait for a signature."""

from __future__ import annotations

from base64 import b64decode, b64encode
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TextIO

import typer

from kinlink import genesis
from kinlink.approval_keys import new_key, public_bytes, write_key
from kinlink.approvals import Verb
from kinlink.change_document import Action, ChangeError, Signer, SignerRole, is_signer_name
from kinlink.cli import signing
from kinlink.cli.deliver import Config
from kinlink.cli.policy_signing import sign_policy
from kinlink.cli.signing import DAYS, ChangeId, Days, KeyFile, Pen, Reason, Yes, desk_of
from kinlink.client_config import ClientConfig
from kinlink.errors import ConflictError, InputError
from kinlink.signed_change import Signature, SignedChange

_EPILOG = "Example: kinlink approvals list"
Name = Annotated[str, typer.Argument(help="custodian/<name> or reviewer/<name>.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Approve changes; enrol the people who sign them.", epilog=_EPILOG, no_args_is_help=True)
    group.command("enrol", epilog="Example: kinlink approvals enrol --name custodian/noegle-1 --key noegle-1.key")(
        enrol
    )
    group.command("people", epilog="Example: kinlink approvals people")(people)
    group.command("list", epilog="Example: kinlink approvals list")(list_changes)
    group.command("show", epilog="Example: kinlink approvals show 3f2a91c0")(show)
    group.command("approve", epilog="Example: kinlink approvals approve 3f2a91c0")(approve)
    group.command("apply", epilog="Example: kinlink approvals apply 3f2a91c0")(apply)
    group.command("sign", epilog="Example: kinlink approvals sign restore.json")(sign_file)
    example = "Example: kinlink approvals sign-policy disclosure.toml --name reviewer/revision --key revision.key"
    group.command("sign-policy", epilog=example)(sign_policy)
    propose = typer.Typer(help="Propose to enrol or to remove a person.", no_args_is_help=True)
    propose.command(
        "enrol", epilog="Example: kinlink approvals propose enrol reviewer/ekstern --public-key ... --reason ..."
    )(propose_enrol)
    propose.command("remove", epilog="Example: kinlink approvals propose remove custodian/noegle-2 --reason ...")(
        propose_remove
    )
    group.add_typer(propose, name="propose")
    app.add_typer(group, name="approvals")


def enrol(
    name: Annotated[str, typer.Option(help="custodian/<name> or reviewer/<name>, as in your certificate.")],
    key: Annotated[Path, typer.Option(help="The file to make; it stays on this machine.")],
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="For tests: the file is not encrypted.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Add the lines to this genesis file as well.", show_default=False)
    ] = None,
) -> None:
    """Make your own key for approvals, and print the lines that name it.

    The key stays in its file. Call whoever enrols you and read your public key to them: it is you that they enrol.
    """
    if not is_signer_name(name):
        raise InputError("--name must be custodian/<name> or reviewer/<name>, as in your certificate.", "BAD_NAME")
    passphrase = "" if no_passphrase else str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True))
    made = new_key()
    with _opened(out) as genesis_file:
        write_key(key, made, passphrase)
        signer = Signer(name, SignerRole(name.partition("/")[0]), public_bytes(made))
        lines = genesis.snippet(signer)
        if genesis_file:
            genesis_file.write(("\n" if genesis_file.tell() else "") + lines)
    typer.echo(lines)
    public = b64encode(signer.public_key).decode()
    typer.echo(f'set approval_key = "{key.resolve()}" in kinlink.toml', err=True)
    typer.echo("next: before the service's first start, put these lines into its genesis file;", err=True)
    typer.echo(f"later, a custodian runs `kinlink approvals propose enrol {name} --public-key {public}`", err=True)


def _opened(out: Path | None) -> AbstractContextManager[TextIO | None]:
    """Open what the lines are added to, before a key is made. Raises InputError."""
    try:
        return out.open("a", encoding="utf-8") if out else nullcontext()
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}. Give --out another place.", "OUT_FILE") from None


def people(config: Config = None) -> None:
    """Show who may sign, and who could once."""
    with desk_of(config) as desk:
        found, genesis_hash = desk.client.people()
    table = signing.grid("name", "enrolled", "by", "removed", "public key", wrapped="public key")
    for one in found:
        by = one.change_id[:8] or "genesis"
        table.add_row(
            one.signer.name,
            signing.day(one.enrolled_at),
            by,
            signing.day(one.removed_at),
            b64encode(one.signer.public_key).decode(),
        )
    signing.show_table(table)
    typer.echo(f"SHA-256 of the genesis file: {genesis_hash.hex()}")


def list_changes(
    every: Annotated[bool, typer.Option("--all", help="Applied and expired ones too.")] = False, config: Config = None
) -> None:
    """Show the changes that wait for somebody, newest first."""
    with desk_of(config) as desk:
        found = [one for one in desk.client.changes() if every or one.state in ("proposed", "approved")]
    if not found:
        typer.echo("no change waits; --all shows those that took effect or expired")
        return
    signing.show_changes(found)


def show(change_id: ChangeId, config: Config = None) -> None:
    """Show a change in words, with its signatures."""
    with desk_of(config) as desk:
        signing.show_change(desk.find(change_id))


def approve(change_id: ChangeId, key: KeyFile = None, yes: Yes = False, config: Config = None) -> None:
    """Read a change, and sign it."""
    with desk_of(config) as desk:
        desk.approve(change_id, key, yes=yes)


def apply(change_id: ChangeId, config: Config = None) -> None:
    """Make an approved change take effect. Repeating it is harmless."""
    with desk_of(config) as desk:
        desk.apply(change_id)


def sign_file(
    file: Annotated[Path, typer.Argument(help="The change, as `kinlink keystore restore` wrote it.")],
    key: KeyFile = None,
    yes: Yes = False,
    config: Config = None,
) -> None:
    """Read a change in a file, and add your signature: where the service is down and cannot collect them."""
    pen = Pen(ClientConfig.load(config))
    try:
        found = SignedChange.parse(file.read_bytes())
    except OSError:
        raise InputError(f"{file} cannot be read. Give the file that holds the change.", "CHANGE_FILE") from None
    except ChangeError as error:
        raise InputError(f"{file} is no signed change: {error.field} {error.expected}.", error.reason) from None
    change = found.change
    verb = Verb.PROPOSE if pen.name == change.proposer else Verb.APPROVE
    if any((one.signer, one.verb) == (pen.name, verb) for one in found.signatures):
        raise ConflictError(f"{pen.name} has signed this already. Hand it to somebody else.", "ALREADY_APPROVED")
    signature = Signature(verb, pen.name, pen.sign(change, verb, found.document, key, yes=yes))
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(found.signed(signature).to_bytes())
    beside.replace(file)
    typer.echo(f"signed ({verb}); {len(found.signatures) + 1} signatures in {file}")
    typer.echo("next: hand the file to whoever else must sign, or back to whoever restores")


def propose_enrol(
    name: Name,
    public_key: Annotated[str, typer.Option(help="As `kinlink approvals enrol` printed it on the person's machine.")],
    reason: Reason,
    days: Days = DAYS,
    key: KeyFile = None,
    yes: Yes = False,
    config: Config = None,
) -> None:
    """Propose that a person may sign."""
    try:
        decoded = b64decode(public_key, validate=True)
    except ValueError:
        decoded = b""
    if len(decoded) != 32 or not is_signer_name(name):
        message = "Give custodian/<name> or reviewer/<name>, and --public-key as `kinlink approvals enrol` printed it."
        raise InputError(message, "BAD_SIGNER")
    _propose(Action.ENROL, Signer(name, SignerRole(name.partition("/")[0]), decoded), reason, days, key, yes, config)


def propose_remove(
    name: Name, reason: Reason, days: Days = DAYS, key: KeyFile = None, yes: Yes = False, config: Config = None
) -> None:
    """Propose that a person may not sign any more."""
    with desk_of(config) as desk:
        enrolments, _ = desk.client.people()
    found = [one.signer for one in enrolments if one.signer.name == name and one.removed_at is None]
    if not found:
        raise ConflictError(f"{name} is not enrolled. See `kinlink approvals people`.", "SIGNER_UNKNOWN")
    _propose(Action.REMOVE, found[0], reason, days, key, yes, config)


def _propose(
    action: Action, signer: Signer, reason: str, days: int, key: Path | None, yes: bool, config: Path | None
) -> None:
    with desk_of(config) as desk:
        desk.propose(replace(desk.new(action, reason, days), signer=signer), key, yes=yes)
