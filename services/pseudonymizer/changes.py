"""Changes as they stand in the database: the document, who signed it, when, and what it still needs.

1. What counts is looked at now, not when it arrived: an approval by somebody removed since, or under a key that the
   person no longer has, does not count.
2. Signatures are checked again whenever a change is read: a row written past the service counts for nothing. Who
   the people are, and what took effect, the caller knows: within a change of keys it is what the seal has proven.

Works inside the caller's transaction. Who may do what to a change is `dual_control`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from kinlink.approvals import Missing, Verb, missing, verify
from kinlink.change_document import Change, parse
from pseudonymizer.people import People
from pseudonymizer.signers import approvals, changes


class ChangeState(StrEnum):
    """Where a change stands."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    APPLIED = "applied"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature and when it arrived."""

    signer: str
    signature: bytes
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """A change as it stands; `missing` is what it still needs, None for nothing."""

    change: Change
    document: bytes
    state: ChangeState
    proposal: Signed
    approvals: tuple[Signed, ...]
    applied_at: datetime | None
    missing: Missing | None


def ids(connection: Connection) -> Sequence[str]:
    """Return the ids of all changes, newest first."""
    query = select(changes.c.change_id).order_by(changes.c.proposed_at.desc(), changes.c.change_id)
    return [row.change_id for row in connection.execute(query)]


def find(connection: Connection, change_id: str, now: datetime, people: People) -> Standing | None:
    """Return a change as it stands at `now` with these people; None when there is none of that id."""
    row = connection.execute(select(changes).where(changes.c.change_id == change_id)).mappings().one_or_none()
    if row is None:
        return None
    query = select(approvals).where(approvals.c.change_id == change_id)
    rows = connection.execute(query.order_by(approvals.c.signed_at, approvals.c.signer)).mappings()
    return _standing(row, [_signed(one["signer"], one["signature"], one["signed_at"]) for one in rows], people, now)


def add(connection: Connection, change: Change, document: bytes, signature: bytes, now: datetime) -> None:
    """Keep a proposed change."""
    row = {"change_id": change.change_id, "document": document, "signature": signature, "proposer": change.proposer}
    connection.execute(insert(changes).values(**row, proposed_at=now.isoformat()))


def proposed_since(connection: Connection, proposer: str, since: datetime) -> int:
    """Return how many changes somebody has put up after `since`."""
    theirs = (changes.c.proposer == proposer) & (changes.c.proposed_at > since.isoformat())
    return int(connection.execute(select(func.count()).select_from(changes).where(theirs)).scalar_one())


def add_approval(connection: Connection, change_id: str, signer: str, signature: bytes, now: datetime) -> None:
    """Keep an approval; it takes the place of one under a key that the person no longer has."""
    mine = (approvals.c.change_id == change_id) & (approvals.c.signer == signer)
    connection.execute(delete(approvals).where(mine))
    row = {"change_id": change_id, "signer": signer, "signature": signature}
    connection.execute(insert(approvals).values(**row, signed_at=now.isoformat()))


def mark_applied(connection: Connection, change_id: str, now: datetime) -> None:
    """Say that a change took effect."""
    applied = update(changes).where(changes.c.change_id == change_id).values(applied_at=now.isoformat())
    connection.execute(applied)


def _signed(signer: str, signature: bytes, at: str) -> Signed:
    return Signed(signer, bytes(signature), datetime.fromisoformat(at))


def _standing(row: RowMapping, given: Sequence[Signed], people: People, now: datetime) -> Standing:
    document = bytes(row["document"])
    change = parse(document)
    proposal = _signed(change.proposer, row["signature"], row["proposed_at"])
    given = [one for one in given if _is_by(one, document, people)]
    applied = people.applied.get(change.change_id)
    applied_at = datetime.fromisoformat(applied) if applied else None
    lacking = None if applied_at else _lacking(change, document, proposal, given, people)
    if applied_at:
        state = ChangeState.APPLIED
    elif now >= change.expires_at:
        state, lacking = ChangeState.EXPIRED, Missing("CHANGE_EXPIRED", "it expired; propose it again")
    else:
        state = ChangeState.PROPOSED if lacking else ChangeState.APPROVED
    return Standing(change, document, state, proposal, tuple(given), applied_at, lacking)


def _is_by(one: Signed, document: bytes, people: People) -> bool:
    """Say whether the person signed this, with a key that they have or had."""
    keys = (each.signer.public_key for each in people.everyone if each.signer.name == one.signer)
    return any(verify(key, Verb.APPROVE, one.signer, document, one.signature) for key in keys)


def _lacking(
    change: Change, document: bytes, proposal: Signed, given: Sequence[Signed], people: People
) -> Missing | None:
    enrolled = people.enrolled
    proposer = enrolled.get(change.proposer)
    if proposer is None or not verify(proposer.public_key, Verb.PROPOSE, change.proposer, document, proposal.signature):
        return Missing("PROPOSER_REMOVED", "its proposer may not sign any more; somebody else proposes it again")
    counted = [
        signer
        for one in given
        if (signer := enrolled.get(one.signer))
        and verify(signer.public_key, Verb.APPROVE, signer.name, document, one.signature)
    ]
    return missing(change, counted)
