"""What `kinlink keys` and `kinlink approvals` share: a change in words, a signature for it, what comes next.

1. Nobody signs what was not shown: the words come from the very bytes that are signed.
2. A change that the service shows is looked at before it is believed: its form, its log, the proposer's signature.
"""

from __future__ import annotations

import uuid
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from kinlink.approval_keys import read_key
from kinlink.approvals import RULES, Verb, sign, verify
from kinlink.change_document import Action, Change, ChangeError, KeyVersionName, digest, is_signer_name, parse
from kinlink.client_config import ClientConfig
from kinlink.errors import ConflictError, InputError, RefusedError
from kinlink.key_administration_client import KeyAdministrationClient, Standing
from kinlink.pseudonyms import Kind

Reason = Annotated[str, typer.Option(help="Why, in a sentence that is kept for ever. Names nobody.")]
Days = Annotated[int, typer.Option("--days", min=1, max=14, help="How long the others have to approve it.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key", help="Your approval key; else approval_key in kinlink.toml.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", help="Sign without asking: for scripts.")]
ChangeId = Annotated[str, typer.Argument(help="The change's id, or its first characters.", show_default=False)]

DAYS = 7
_UNBOUNDED = 10_000
_SHORT = 8  # characters of an id that are shown
_MEANING = {
    Action.ACTIVATE: "becomes the primary of its line; the present primary retires",
    Action.DISABLE: "does nothing any more; can be enabled again",
    Action.ENABLE: "converts and can be rekeyed from again",
    Action.SALVAGE: "though compromised, can be rekeyed from",
    Action.DESTROY: "is gone for ever",
    Action.COMPROMISE: "is refused for everything, at once",
    Action.ENROL: "may sign from then on",
    Action.REMOVE: "may not sign any more; what they signed and is not applied counts no longer",
    Action.RESTORE: "is put back from a backup",
}
_REKEY = "next: holders run `kinlink keys rekey`; `kinlink keys status` shows who is done"
_ENCODE = "next: sources encode and deliver anew, then run `kinlink keys encoded-anew`; nothing is carried over"
_AFTERWARDS = {
    Action.ACTIVATE: _REKEY,
    Action.SALVAGE: _REKEY,
    Action.COMPROMISE: "next: docs/how-to/respond-to-a-leaked-key.md; `kinlink keys create` makes the next version",
    Action.DESTROY: "next: `kinlink keys list` shows until when a backup could still be unsealed",
}


def grid(*columns: str, wrapped: str) -> Table:
    """Return an empty table; in a narrow terminal the column `wrapped` takes more lines, and no other."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for column in columns:
        table.add_column(column, no_wrap=column != wrapped, overflow="fold")
    return table


def show_table(table: Table) -> None:
    """Print a table: as wide as the terminal, or as it needs where there is none."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=Console(width=_UNBOUNDED).measure(table).maximum)
    console.print(table)


def instant(at: datetime | None) -> str:
    """Return an instant for people; "-" for none."""
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "-"


def day(at: datetime | None) -> str:
    """Return the day of an instant, in UTC; "-" for none."""
    return f"{at:%Y-%m-%d}" if at else "-"


def named(key: KeyVersionName) -> str:
    """Return a key version as people read it."""
    return f"{key.domain} {key.kind} version {key.version}"


def in_words(change: Change) -> str:
    """Return a change as its signer reads it."""
    lines = [f"change {change.change_id}: {change.action}"]
    meaning = _MEANING[change.action]
    lines += [f"  {named(key)}: {meaning}" for key in change.keys]
    if change.signer:
        lines.append(f"  {change.signer.name}: {meaning}")
        lines.append(f"  their public key: {b64encode(change.signer.public_key).decode()}")
    if change.store is not None:
        lines += [f"  the key store {meaning}", *(f"  {name}: {value}" for name, value in sorted(change.store.items()))]
    if change.accept_loss:
        lines.append("  WITHOUT waiting for those who hold pseudonyms: what stands under it links to nothing any more")
    lines += [
        f"  reason: {change.reason}",
        f"  proposed by {change.proposer}, {instant(change.created_at)}; expires {instant(change.expires_at)}",
        f"  for the log {change.log}",
        f"  SHA-256 of the document: {digest(change.document()).hex()}",
    ]
    return "\n".join(lines)


class Pen:
    """One person's signature: who they are by their certificate, and their own key."""

    def __init__(self, config: ClientConfig) -> None:
        """Sign as the certificate's caller."""
        domain, role, name = config.caller()
        self.name = f"{role}/{name}"
        self.log = f"{domain}/pseudonymizer"
        self._config = config

    def check_role(self) -> None:
        """Refuse a certificate whose role signs nothing. Raises RefusedError."""
        if not is_signer_name(self.name):
            message = f"{self.name} signs no changes: custodians and reviewers do. Use the kinlink.toml of one."
            raise RefusedError(message, "NOT_A_SIGNER")

    def sign(self, change: Change, verb: Verb, document: bytes, key: Path | None, *, yes: bool) -> bytes:
        """Show a change, ask, and sign its document. Raises RefusedError, InputError."""
        self.check_role()
        if change.log != self.log:
            message = f"This change is for another log, {change.log}. Do not sign; ask who proposed it."
            raise RefusedError(message, "CHANGE_FOR_OTHER_LOG")
        path = key or self._config.approval_key
        if path is None:
            message = "There is no key to sign with. Give --key, or set approval_key in kinlink.toml."
            raise InputError(message, "KEY_FILE")
        typer.echo(in_words(change))
        if not yes and not _confirmed(f"Sign as {self.name}?"):
            raise RefusedError("Not signed; nothing was sent.", "NOT_SIGNED")
        own = read_key(path, lambda: str(typer.prompt("Passphrase", hide_input=True, err=True)))
        return sign(own, verb, self.name, document)


class Desk:
    """One person at work with one pseudonymizer."""

    def __init__(self, pen: Pen, client: KeyAdministrationClient) -> None:
        """Sign with `pen`."""
        self.client = client
        self._pen = pen

    def new(self, action: Action, reason: str, days: int) -> Change:
        """Begin a change by this person; the caller adds what it is about."""
        self._pen.check_role()
        now = datetime.now(UTC).replace(microsecond=0)
        ends, pen = now + timedelta(days=days), self._pen
        return Change(str(uuid.uuid4()), pen.log, action, reason, pen.name, now, ends)

    def propose(self, change: Change, key: Path | None, *, yes: bool) -> Standing:
        """Show, sign and put up a change; say what comes next."""
        document = _checked(change)
        signature = self._pen.sign(change, Verb.PROPOSE, document, key, yes=yes)
        return self._told(self.client.propose(document, signature))

    def approve(self, wanted: str, key: Path | None, *, yes: bool) -> Standing:
        """Show, sign and approve a change; say what comes next."""
        standing = self.find(wanted)
        self._check(standing)
        signature = self._pen.sign(standing.change, Verb.APPROVE, standing.document, key, yes=yes)
        approved = self.client.approve(standing.change.change_id, signature)
        typer.echo(f"approved by {self._pen.name}")
        return self._told(approved)

    def apply(self, wanted: str, *actions: Action) -> Standing:
        """Apply a change, of one of `actions` where some are given; say what comes next."""
        standing = self.find(wanted)
        if actions and standing.change.action not in actions:
            message = f"This change is to {standing.change.action}. Run: kinlink keys apply {short(standing)}"
            raise ConflictError(message, "OTHER_ACTION")
        return self._told(self.client.apply(standing.change.change_id))

    def find(self, wanted: str) -> Standing:
        """Return the change of an id, or of its first characters. Raises ConflictError."""
        found = [one for one in self.client.changes() if one.change.change_id.startswith(wanted)] if wanted else []
        if len(found) == 1:
            return found[0]
        said = "Several changes begin so; give more of the id" if found else "There is no such change"
        raise ConflictError(f"{said}. See `kinlink approvals list`.", "CHANGE_UNKNOWN")

    def _check(self, standing: Standing) -> None:
        change, proposal = standing.change, standing.proposal
        people, _ = self.client.people()
        keys = [one.signer.public_key for one in people if one.signer.name == change.proposer]
        if not any(verify(one, Verb.PROPOSE, change.proposer, standing.document, proposal.signature) for one in keys):
            message = f"The proposal is not signed by {change.proposer}. Do not sign; tell the other custodians."
            raise RefusedError(message, "SIGNATURE_INVALID")

    def _told(self, standing: Standing) -> Standing:
        typer.echo(f"{short(standing)} {standing.change.action}: {standing.state}")
        typer.echo(next_step(standing))
        return standing


@contextmanager
def desk_of(config: Path | None) -> Iterator[Desk]:
    """Yield the desk of the person whom kinlink.toml names."""
    settings = ClientConfig.load(config)
    with settings.pseudonymizer_channel() as channel:
        yield Desk(Pen(settings), KeyAdministrationClient(channel))


def _checked(change: Change) -> bytes:
    """Return the document, read again as the service will. Raises InputError naming the field."""
    change = replace(change, keys=tuple(sorted(change.keys)))
    try:
        document = change.document()
        parse(document)
    except ChangeError as error:
        raise InputError(f"{error.field}: {error.expected}.", error.reason) from None
    except ValueError:
        raise InputError("reason: must be text that can be written as UTF-8.", "CHANGE_INVALID") from None
    return document


def _confirmed(question: str) -> bool:
    try:
        return bool(typer.confirm(question))
    except typer.Abort:  # nobody is there to answer; a script says --yes
        typer.echo()
        return False


def short(standing: Standing) -> str:
    """Return the first characters of a change's id."""
    return standing.change.change_id[:_SHORT]


def group_of(action: Action) -> str:
    """Return the command group that an action is at home in."""
    return "keys" if action.subject == "keys" else "approvals"


def next_step(standing: Standing) -> str:
    """Return the line that says who runs what next."""
    action, name = standing.change.action, short(standing)
    group = group_of(action)
    match standing.state:
        case "proposed":
            who = "a reviewer runs" if "reviewer" in standing.missing else "another custodian or reviewer runs"
            if not standing.approvals:
                who = "another custodian and a reviewer each run"
            return f"missing: {standing.missing}\nnext: {who} `kinlink {group} approve {name}`"
        case "approved":
            verb = action.value if action in (Action.ACTIVATE, Action.DESTROY) else "apply"
            return f"next: a custodian runs `kinlink {group} {verb} {name}`"
        case "expired":
            return "next: a custodian proposes it again"
    if action is Action.ACTIVATE and any(key.kind is Kind.ENCODING for key in standing.change.keys):
        return _ENCODE
    return _AFTERWARDS.get(action, "done")


def show_changes(changes: Sequence[Standing]) -> None:
    """Print changes, a few lines each; for one that waits, what comes next."""
    for one in changes:
        change, waits = one.change, one.state in ("proposed", "approved")
        until = f"expires {day(change.expires_at)}" if waits else day(one.applied_at or change.expires_at)
        typer.echo(f"{short(one)} {change.action}: {one.state}, {until}")
        for what in [*map(named, change.keys), *([change.signer.name] if change.signer else [])]:
            typer.echo(f"  {what}")
        approved = f"; approved by {', '.join(signed.signer for signed in one.approvals)}" if one.approvals else ""
        typer.echo(f"  proposed by {change.proposer}{approved}")
        if waits:
            typer.echo(f"  {next_step(one).splitlines()[-1]}")


def show_change(standing: Standing) -> None:
    """Print one change with its signatures, and what comes next."""
    typer.echo(in_words(standing.change))
    typer.echo(f"  state: {standing.state}{f', {instant(standing.applied_at)}' if standing.applied_at else ''}")
    typer.echo(f"  signed by {standing.proposal.signer}, {instant(standing.proposal.signed_at)} (proposes)")
    for one in standing.approvals:
        typer.echo(f"  signed by {one.signer}, {instant(one.signed_at)} (approves)")
    if RULES[standing.change.action].approvals:
        typer.echo(next_step(standing))
