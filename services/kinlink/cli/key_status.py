"""How far a rotation is: proposed, approved, activated, holders done, destroyed; and what comes next."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from kinlink.change_document import Action, KeyVersionName
from kinlink.cli.signing import day, instant, named, next_step, short
from kinlink.errors import RefusedError
from kinlink.key_administration_client import KeyAdministrationClient, Rotation, Standing
from kinlink.pseudonyms import Kind

_DONE, _OPEN = "[x]", "[ ]"


def show_status(client: KeyAdministrationClient, domain: str) -> None:
    """Print every rotation, and every change of keys that waits; of `domain` only, unless that is empty."""
    rotations = [one for one in client.rotations() if domain in ("", one.source.domain)]
    changes = [one for one in _changes(client) if any(domain in ("", key.domain) for key in one.change.keys)]
    waiting = [one for one in changes if one.state in ("proposed", "approved")]
    for one in waiting:
        typer.echo(f"{one.change.action} {', '.join(map(named, one.change.keys))}: {one.state}")
        typer.echo(_signatures(one))
        typer.echo(f"  {next_step(one).splitlines()[-1]}")
    in_changes = {key for one in waiting for key in one.change.keys}
    pending = [key.name for key in client.keys(domain) if key.state == "pending" and key.name not in in_changes]
    for name in pending:
        typer.echo(f"{named(name)}: pending")
        typer.echo(f'  next: `kinlink keys propose activate {name.domain} --kind {name.kind} --reason "..."`')
    for rotation in rotations:
        if rotation.destroyed_at and not domain:
            typer.echo(f"{_line(rotation)}, finished: the old version was destroyed {day(rotation.destroyed_at)}")
        else:
            _show(rotation, changes, waiting)
    if any(rotation.destroyed_at for rotation in rotations) and not domain:
        typer.echo("of a finished one, `kinlink keys status <domain>` shows who signed")
    if not (rotations or waiting or pending):
        typer.echo("no rotation yet; `kinlink keys create` begins one")


def _changes(client: KeyAdministrationClient) -> Sequence[Standing]:
    try:
        return client.changes()
    except RefusedError:  # an operator sees rotations, and no signatures
        return ()


def _signatures(one: Standing) -> str:
    what = f"({one.change.action} {short(one)})"
    lines = [f"  {_DONE} proposed     {instant(one.proposal.signed_at)}  {one.proposal.signer}  {what}"]
    lines += [f"  {_DONE} approved     {instant(each.signed_at)}  {each.signer}" for each in one.approvals]
    if one.missing:
        lines.append(f"  {_OPEN} missing      {one.missing}")
    return "\n".join(lines)


def _show(rotation: Rotation, changes: Sequence[Standing], waiting: Sequence[Standing]) -> None:
    source, target = rotation.source, rotation.target
    typer.echo(f"{_line(rotation)} ({rotation.state})")
    for one in _applied(changes, Action.ACTIVATE, target):
        typer.echo(_signatures(one))
    typer.echo(f"  {_DONE} activated    {instant(rotation.activated_at)}")
    done = [holder for holder in rotation.holders if holder.attested_at]
    mark = _DONE if len(done) == len(rotation.holders) else _OPEN
    typer.echo(f"  {mark} holders done {len(done)} of {len(rotation.holders)}")
    for holder in rotation.holders:
        said = "not yet"
        if holder.attested_at:
            sample = f", sample of {holder.sample_size} checked" if holder.sample_size else ""
            said = f"{instant(holder.attested_at)}, {holder.converted:,} of {holder.held:,} carried over{sample}"
            if source.kind is Kind.ENCODING:
                done_with = "holds none any more" if holder.name.startswith("linker/") else "all encoded anew"
                said = f"{instant(holder.attested_at)}, {done_with}"
        typer.echo(f"      {holder.name}: {said}")
    if rotation.last_used_at:
        typer.echo(f"      version {source.version} was last used {instant(rotation.last_used_at)}")
    for one in _applied(changes, Action.DESTROY, source):
        typer.echo(_signatures(one))
    mark = _DONE if rotation.destroyed_at else _OPEN
    typer.echo(f"  {mark} destroyed    {instant(rotation.destroyed_at)}")
    if rotation.destroyed_at or any(source in one.change.keys for one in waiting):
        return
    if len(done) < len(rotation.holders):
        for holder in rotation.holders:
            if not holder.attested_at:
                typer.echo(f"  next: {_finishes(holder.name, source)}")
    else:
        typer.echo(f'  next: `kinlink keys propose destroy {source.domain} --kind {source.kind} --reason "..."`')


def _finishes(holder: str, source: KeyVersionName) -> str:
    if source.kind is Kind.ENCODING and not holder.startswith("linker/"):
        command = f"kinlink keys encoded-anew {source.domain}"
        return f"{holder} encodes its extracts anew, delivers them, and runs `{command}`; nothing is carried over"
    if holder.startswith("linker/"):
        return f"an operator runs `kinlink keys rekey --linker` for {holder}"
    return f"{holder} runs `kinlink keys rekey FILE... --column NAME --complete`, or `--complete` alone if it kept none"


def _line(rotation: Rotation) -> str:
    source = rotation.source
    return f"{source.domain} {source.kind}: version {source.version} -> {rotation.target.version}"


def _applied(changes: Sequence[Standing], action: Action, key: KeyVersionName) -> list[Standing]:
    return [one for one in changes if one.state == "applied" and one.change.action is action and key in one.change.keys]
