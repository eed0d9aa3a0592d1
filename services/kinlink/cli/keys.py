"""`kinlink keys`: which keys there are, and how one replaces another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from kinlink.change_document import Action, KeyVersionName
from kinlink.cli import approvals, encoded_anew, rekey, signing
from kinlink.cli.deliver import Config
from kinlink.cli.key_status import show_status
from kinlink.cli.signing import DAYS, ChangeId, Days, Desk, KeyFile, Reason, Yes, desk_of, instant
from kinlink.errors import ConflictError, InputError
from kinlink.key_administration_client import KeyVersion
from kinlink.pseudonyms import Kind

_EPILOG = "Example: kinlink keys status"
Domain = Annotated[str, typer.Argument(help="source/<system> or linkage/<purpose>.", show_default=False)]
AnyDomain = Annotated[str, typer.Argument(help="Only this domain's.", show_default=False)]
Kinds = Annotated[
    list[Kind] | None, typer.Option("--kind", help="May be given again; else every kind.", show_default=False)
]
Version = Annotated[int, typer.Option(min=0, help="Else those that the action is for, see each.", show_default=False)]
AcceptLoss = Annotated[
    bool, typer.Option("--accept-loss", help="Destroy though holders have not attested: their links are lost.")
]

# Which versions an action is for, when none is named.
_CANDIDATES = {
    Action.ACTIVATE: ("pending",),
    Action.DISABLE: ("retiring",),
    Action.ENABLE: ("disabled",),
    Action.SALVAGE: ("compromised",),
    Action.DESTROY: ("retiring", "disabled", "compromised"),
    Action.COMPROMISE: ("active",),
}


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Keys: list, rotate, destroy.", epilog=_EPILOG, no_args_is_help=True)
    for name, command, example in (
        ("list", list_keys, "list"),
        ("show", show, "show source/prisme"),
        ("status", status, "status"),
        ("create", create, "create source/prisme"),
        ("approve", approvals.approve, "approve 3f2a91c0"),
        ("activate", _apply_only(Action.ACTIVATE, "Put an approved new version to use."), "activate 3f2a91c0"),
        (
            "destroy",
            _apply_only(Action.DESTROY, "Destroy a version, as approved. There is no way back."),
            "destroy 3f2a",
        ),
        ("apply", approvals.apply, "apply 3f2a91c0"),
        ("compromise", compromise, 'compromise source/prisme --version 1 --reason "a copy was found"'),
    ):
        group.command(name, epilog=f"Example: kinlink keys {example}")(command)
    propose = typer.Typer(help="Propose a change of keys.", no_args_is_help=True)
    for action, text in (
        (Action.ACTIVATE, "Propose that the pending version becomes the primary."),
        (Action.DISABLE, "Propose to stop a retiring version, for now."),
        (Action.ENABLE, "Propose to let a disabled version go on."),
        (Action.SALVAGE, "Propose that holders may rekey away from a compromised version."),
        (Action.DESTROY, "Propose to destroy versions that nothing stands under any more."),
    ):
        example = f'Example: kinlink keys propose {action} source/prisme --reason "yearly rotation"'
        propose.command(action.value, epilog=example)(_proposing(action, text))
    group.add_typer(propose, name="propose")
    rekey.register(group)
    encoded_anew.register(group)
    app.add_typer(group, name="keys")


def list_keys(domain: AnyDomain = "", config: Config = None) -> None:
    """Show key versions: where they stand, since when, and when the next is due. `kinlink keys show` says more."""
    with desk_of(config) as desk:
        found = desk.client.keys(domain)
    table = signing.grid("key", "version", "state", "since", "rotate by", wrapped="state")
    for key in found:
        marked = f"{key.state}, compromised" if key.compromised_at and key.state != "compromised" else key.state
        gone = f"destroyed; in backups until {signing.day(key.backups_until)}" if key.backups_until else marked
        line = f"{key.name.domain} {key.name.kind}"
        table.add_row(line, str(key.name.version), gone, signing.day(key.state_since), signing.day(key.rotate_before))
    signing.show_table(table)


def show(domain: Domain, config: Config = None) -> None:
    """Show all that is known of a domain's keys; never a key."""
    with desk_of(config) as desk:
        found = desk.client.keys(domain)
    if not found:
        raise ConflictError(
            f"There is no key of {domain} that you may know of. See `kinlink keys list`.", "KEY_MISSING"
        )
    for key in found:
        typer.echo(f"{signing.named(key.name)}: {key.state} since {instant(key.state_since)}")
        for label, value in (
            ("made", instant(key.created_at)),
            ("primary since", instant(key.activated_at)),
            ("compromised", instant(key.compromised_at)),
            ("rotate by", instant(key.rotate_before)),
            ("backups hold it until", instant(key.backups_until)),
            ("sealed under", key.wrapping_version or "-"),
            ("suite", key.suite.value),
            ("check value", key.check_value.hex()),
        ):
            if value != "-":
                typer.echo(f"  {label}: {value}")


def status(domain: AnyDomain = "", config: Config = None) -> None:
    """Show how far each rotation is, and what comes next."""
    with desk_of(config) as desk:
        show_status(desk.client, domain)


def create(domain: Domain, kind: Kinds = None, config: Config = None) -> None:
    """Make the next version of a domain's keys, pending: it does nothing until a change activates it.

    Of an encoding key only with --kind encoding: its sources must then encode and deliver all anew.
    """
    with desk_of(config) as desk:
        existing = desk.client.keys(domain)
        kinds = kind or sorted({key.name.kind for key in existing} - {Kind.ENCODING})
        if not existing:
            raise ConflictError(f"There is no domain {domain}. See `kinlink keys list`.", "KEY_MISSING")
        pending = {key.name.kind for key in existing if key.state == "pending"}
        for each in kinds:
            if each in pending and not kind:
                typer.echo(f"{domain} {each}: a pending version is there already")
            else:
                typer.echo(f"{signing.named(desk.client.create(domain, each).name)}: pending")
    typer.echo(f'next: `kinlink keys propose activate {domain} --reason "..."`')


def compromise(
    domain: Domain,
    reason: Reason,
    kind: Kinds = None,
    version: Version = 0,
    key: KeyFile = None,
    yes: Yes = False,
    config: Config = None,
) -> None:
    """Stop a key that somebody else may know, at once. One custodian can; `salvage` lets holders rekey afterwards.

    Without --version the primary is meant.
    """
    with desk_of(config) as desk:
        names = _chosen(desk, Action.COMPROMISE, domain, kind, version)
        desk.propose(replace(desk.new(Action.COMPROMISE, reason, DAYS), keys=names), key, yes=yes)


def _apply_only(action: Action, text: str) -> Callable[..., None]:
    def command(change_id: ChangeId, config: Config = None) -> None:
        with desk_of(config) as desk:
            desk.apply(change_id, action)

    command.__doc__ = text
    return command


def _proposing(action: Action, text: str) -> Callable[..., None]:
    def propose(
        domain: Domain,
        reason: Reason,
        kind: Kinds = None,
        version: Version = 0,
        days: Days = DAYS,
        key: KeyFile = None,
        yes: Yes = False,
        config: Config = None,
    ) -> None:
        _propose(action, domain, kind, version, reason, days, key, yes, config)

    def destroy(
        domain: Domain,
        reason: Reason,
        kind: Kinds = None,
        version: Version = 0,
        accept_loss: AcceptLoss = False,
        days: Days = DAYS,
        key: KeyFile = None,
        yes: Yes = False,
        config: Config = None,
    ) -> None:
        _propose(action, domain, kind, version, reason, days, key, yes, config, accept_loss=accept_loss)

    command = destroy if action is Action.DESTROY else propose
    command.__doc__ = f"{text}\n\nWithout --version: those that are {' or '.join(_CANDIDATES[action])}."
    return command


def _propose(
    action: Action,
    domain: str,
    kinds: Sequence[Kind] | None,
    version: int,
    reason: str,
    days: int,
    key: Path | None,
    yes: bool,
    config: Path | None,
    *,
    accept_loss: bool = False,
) -> None:
    with desk_of(config) as desk:
        names = _chosen(desk, action, domain, kinds, version)
        change = replace(desk.new(action, reason, days), keys=names, accept_loss=accept_loss)
        desk.propose(change, key, yes=yes)


def _chosen(
    desk: Desk, action: Action, domain: str, kinds: Sequence[Kind] | None, version: int
) -> tuple[KeyVersionName, ...]:
    """Return the versions that an action is for. Raises InputError saying where the versions stand."""
    found = [key for key in desk.client.keys(domain) if kinds is None or key.name.kind in kinds]

    def fits(key: KeyVersion) -> bool:
        return key.name.version == version if version else key.state in _CANDIDATES[action]

    chosen = tuple(sorted(key.name for key in found if fits(key)))
    lacking = sorted(set(kinds or ()) - {name.kind for name in chosen})
    if chosen and not lacking:
        return chosen
    stands = [f"{signing.named(key.name)} is {key.state}" for key in found]
    stand = "; ".join(stands) or "there is none of that domain and kind"
    wanted = f"version {version}" if version else " or ".join(_CANDIDATES[action])
    advice = " `kinlink keys create` makes one." if action is Action.ACTIVATE else " See `kinlink keys list`."
    raise InputError(f"There is no key to {action}: it must be {wanted}. Now {stand}.{advice}", "KEY_NOT_FOUND")
