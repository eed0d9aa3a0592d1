"""Dual control: a change is put up, approved and applied, each step by the person whose certificate calls.

1. The signer is the caller: the certificate says who, the signature proves the person's own key. Two things to steal.
2. A change is for this log, is used once, and ends when it expires. Applying it again does nothing.
3. A step, its effect and its entries in the log are one transaction. A refusal is an entry too, with its reason.

4. Who is enrolled and what took effect is what the keys' seal has proven in that transaction (`Effects.people`).

*Guarantee:* a change takes effect only if its proposer and, by the rule of its action, its approvers are enrolled at
that moment, are different people, and have signed this document, for this log, before it expired.
Knows no keys: what an action does to them is the key store's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import Connection, Engine

from kinlink.approvals import RULES, Verb, verify
from kinlink.change_document import MAX_LIFE, Action, Change, ChangeError, canonical, digest, parse
from pseudonymizer import changes, signers
from pseudonymizer.changes import ChangeState, Standing
from pseudonymizer.people import People
from servicekit.audit import AuditEntry, AuditLog, describe
from servicekit.database import read
from servicekit.errors import (
    DeniedError,
    ExhaustedError,
    FieldViolation,
    InvalidError,
    NotFoundError,
    PreconditionError,
)
from servicekit.identity import CURRENT, Caller

CLOCK_SKEW: Final = timedelta(minutes=5)
MOST_PROPOSED: Final = 100  # changes of one proposer within MAX_LIFE: all are kept for ever
LISTED_BYTES: Final = 2 * 1024 * 1024  # of documents of changes that are over; a message holds some more


class Effects(Protocol):
    """What changes do to keys: the key store."""

    def changing(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that may change keys and people; ends when it is sealed, committed and anchored."""

    def people(self, connection: Connection) -> People:
        """Return the people in a transaction of `changing`, proven."""

    def people_become(self, connection: Connection, people: People) -> None:
        """Take note of what this transaction makes of the people: nothing else is sealed."""

    def check(self, connection: Connection, change: Change) -> None:
        """Refuse a change of keys that could not be applied as things stand. Raises ServiceError."""

    def apply(self, connection: Connection, change: Change, caller: str) -> None:
        """Let a change of keys take effect, and log it. Raises ServiceError when it cannot."""


class DualControl:
    """The changes of one service."""

    def __init__(
        self, engine: Engine, audit: AuditLog, effects: Effects, origin: str, now: Callable[[], datetime]
    ) -> None:
        """Use `engine`, whose tables are migrated; `origin` names the log that documents must be for."""
        self._engine = engine
        self._audit = audit
        self._effects = effects
        self._origin = origin
        self._now = now

    def propose(self, caller: Caller, document: bytes, signature: bytes) -> Standing:
        """Put a change up for approval; one that needs none takes effect. The same again changes nothing.

        Raises:
            InvalidError: CHANGE_INVALID, REASON_IDENTIFIER, CHANGE_FOR_OTHER_LOG.
            DeniedError: SIGNER_NOT_CALLER, SIGNER_UNKNOWN, SIGNATURE_INVALID, SIGNER_NOT_CUSTODIAN.
            PreconditionError: CHANGE_REPLAYED, CHANGE_EXPIRED, CHANGE_NOT_YET, or what makes it impossible now.
            ExhaustedError: TOO_MANY_CHANGES.
        """
        change = _parsed(caller, document)
        with self._step(caller, change, document, signature, self._effects.changing) as (connection, facts):
            if change.proposer != _name(caller):
                raise DeniedError("the document names another proposer than the caller", "SIGNER_NOT_CALLER")
            if change.log != self._origin:
                message = f"the document is for another log; this one is {self._origin}"
                raise InvalidError(message, "CHANGE_FOR_OTHER_LOG")
            people = self._effects.people(connection)
            _check_signature(people, caller, Verb.PROPOSE, document, signature)
            if caller.role not in map(str, RULES[change.action].proposers):  # the access table says so too
                raise DeniedError("a reviewer approves, and proposes nothing", "SIGNER_NOT_CUSTODIAN")
            stored = changes.find(connection, change.change_id, self._now(), people)
            if change.change_id in people.applied or (stored and stored.document != document):
                raise PreconditionError("this id was used before; an id is used once, for ever", "CHANGE_REPLAYED")
            self._check_dates(change)
            if not stored:
                self._check_number(connection, change)
                self._check_possible(connection, people, change)
                changes.add(connection, change, document, signature, self._now())
            # So that the log alone says what was signed. The document is canonical: from this its bytes are made again.
            self._record(connection, caller, {**facts, "document": json.loads(document)})
            if RULES[change.action].approvals == 0:
                people = self._take_effect(connection, people, caller, change)
            return self._existing(connection, change.change_id, people)

    def approve(self, caller: Caller, change_id: str, signature: bytes) -> Standing:
        """Add the caller's approval. The same again, also after the change took effect, changes nothing.

        Raises:
            NotFoundError: CHANGE_UNKNOWN.
            DeniedError: OWN_PROPOSAL, SIGNER_UNKNOWN, SIGNER_NOT_CALLER, SIGNATURE_INVALID.
            PreconditionError: CHANGE_APPLIED, CHANGE_EXPIRED.
        """
        found = self._named(change_id)
        with self._step(caller, found.change, found.document, signature, self._engine.begin) as (connection, facts):
            people = signers.people(connection)
            standing = self._existing(connection, change_id, people)
            if standing.change.proposer == _name(caller):
                raise DeniedError("whoever proposed a change does not approve it", "OWN_PROPOSAL")
            _check_signature(people, caller, Verb.APPROVE, standing.document, signature)
            if all((one.signer, one.signature) != (_name(caller), signature) for one in standing.approvals):
                if standing.state is ChangeState.APPLIED:
                    raise PreconditionError("this change took effect already", "CHANGE_APPLIED")
                self._check_dates(standing.change)
                changes.add_approval(connection, change_id, _name(caller), signature, self._now())
            self._record(connection, caller, facts)
            return self._existing(connection, change_id, people)

    def apply(self, caller: Caller, change_id: str) -> Standing:
        """Let an approved change take effect; one that did already is returned as it stands.

        Raises:
            NotFoundError: CHANGE_UNKNOWN. DeniedError: SIGNER_UNKNOWN.
            PreconditionError: CHANGE_EXPIRED, PROPOSER_REMOVED, APPROVALS_MISSING, REVIEWER_MISSING, or what makes
                it impossible now.
        """
        found = self._named(change_id)
        with self._step(caller, found.change, found.document, b"", self._effects.changing) as (connection, facts):
            people = self._effects.people(connection)
            people.check_enrolled(_name(caller))
            standing = self._existing(connection, change_id, people)
            signed = [(Verb.PROPOSE, standing.proposal), *((Verb.APPROVE, one) for one in standing.approvals)]
            facts["signatures"] = [
                {"verb": verb.value, "signer": one.signer, "signature": one.signature.hex()} for verb, one in signed
            ]
            if standing.state is not ChangeState.APPLIED:
                self._check_dates(standing.change)
                if standing.missing:
                    raise PreconditionError(f"this change needs {standing.missing.sentence}", standing.missing.reason)
                self._check_possible(connection, people, standing.change)
            self._record(connection, caller, facts)
            if standing.state is not ChangeState.APPLIED:
                people = self._take_effect(connection, people, caller, standing.change)
            return self._existing(connection, change_id, people)

    def changes(self, change_id: str = "") -> Sequence[Standing]:
        """Return changes, newest first, or only the one of `change_id`.

        Of those that are over, only the newest, as many as fit into `LISTED_BYTES`.
        """
        found, room = [], LISTED_BYTES
        with read(self._engine) as connection:
            people = signers.people(connection)
            for one in (change_id,) if change_id else changes.ids(connection):
                standing = changes.find(connection, one, self._now(), people)
                if standing is None:
                    continue
                is_open = standing.state in (ChangeState.PROPOSED, ChangeState.APPROVED)
                room -= 0 if is_open else len(standing.document)
                if is_open or room >= 0:
                    found.append(standing)
                elif standing.proposal.signed_at < self._now() - MAX_LIFE - CLOCK_SKEW:
                    break  # what was proposed earlier is over too
        return found

    def people(self) -> People:
        """Return everybody who may or might sign."""
        with read(self._engine) as connection:
            return signers.people(connection)

    @contextmanager
    def _step(
        self,
        caller: Caller,
        change: Change,
        document: bytes,
        signature: bytes,
        transaction: Callable[[], AbstractContextManager[Connection]],
    ) -> Iterator[tuple[Connection, dict[str, Any]]]:
        """Open the transaction of a step; yield what its entry will say. A refusal's entry says the same."""
        facts: dict[str, Any] = {
            "change_id": change.change_id,
            "action": change.action.value,
            "document_sha256": digest(document).hex(),
            "signer": _name(caller),
            **({"signature": signature.hex()} if len(signature) == 64 else {}),
        }
        if change.signer:  # so that the log alone says whose key verifies what is signed later
            facts["person"] = {"name": change.signer.name, "public_key": change.signer.public_key.hex()}
        describe(subject=change.change_id, evidence=canonical(facts).decode())
        with transaction() as connection:
            signers.lock(connection)
            yield connection, facts

    def _record(self, connection: Connection, caller: Caller, facts: dict[str, Any]) -> None:
        call = CURRENT.get(None)
        entry = AuditEntry(
            call.rpc if call else "change",
            caller.uri,
            "ok",
            subject=facts["change_id"],
            grant=call.grant if call else "",
            request_id=call.request_id if call else "",
            evidence=canonical(facts).decode(),
        )
        self._audit.append(entry, connection)

    def _check_dates(self, change: Change) -> None:
        if self._now() >= change.expires_at:
            raise PreconditionError("this change has expired; propose it again", "CHANGE_EXPIRED")
        if change.created_at > self._now() + CLOCK_SKEW:
            message = "this change begins in the future; set the clock of the machine that made it"
            raise PreconditionError(message, "CHANGE_NOT_YET")

    def _check_number(self, connection: Connection, change: Change) -> None:
        if changes.proposed_since(connection, change.proposer, self._now() - MAX_LIFE) >= MOST_PROPOSED:
            within = f"{MOST_PROPOSED} changes within {MAX_LIFE.days} days"
            message = f"{change.proposer} has proposed {within}; one may name many keys"
            raise ExhaustedError(message, "TOO_MANY_CHANGES", metadata={"limit": str(MOST_PROPOSED)})

    def _check_possible(self, connection: Connection, people: People, change: Change) -> None:
        match change.action:
            case Action.ENROL if change.signer:
                people.check_enrolment(change.signer)
            case Action.REMOVE if change.signer:
                people.check_removal(change.signer)
            case _:
                self._effects.check(connection, change)

    def _take_effect(self, connection: Connection, people: People, caller: Caller, change: Change) -> People:
        now = self._now()
        after = people.with_applied(change.change_id, now)
        match change.action:
            case Action.ENROL if change.signer:
                after = after.with_enrolled(change.signer, change.change_id, now)
            case Action.REMOVE if change.signer:
                after = after.with_removed(change.signer, now)
            case _:
                self._effects.apply(connection, change, caller.uri)
        changes.mark_applied(connection, change.change_id, now)
        signers.store(connection, people, after)
        self._effects.people_become(connection, after)
        return after

    def _named(self, change_id: str) -> Standing:
        with read(self._engine) as connection:
            return self._existing(connection, change_id, signers.people(connection))

    def _existing(self, connection: Connection, change_id: str, people: People) -> Standing:
        found = changes.find(connection, change_id, self._now(), people)
        if found is None:
            raise NotFoundError("there is no change of this id", "CHANGE_UNKNOWN")
        return found


def _name(caller: Caller) -> str:
    return f"{caller.role}/{caller.name}"


def _check_signature(people: People, caller: Caller, verb: Verb, document: bytes, signature: bytes) -> None:
    enrolled = people.enrolled
    signer = people.check_enrolled(_name(caller))
    if verify(signer.public_key, verb, signer.name, document, signature):
        return
    if any(verify(other.public_key, verb, other.name, document, signature) for other in enrolled.values()):
        raise DeniedError("the signature is another person's; only the signer may send it", "SIGNER_NOT_CALLER")
    message = "the signature does not fit the document, the caller and the key that was enrolled"
    raise DeniedError(message, "SIGNATURE_INVALID")


def _parsed(caller: Caller, document: bytes) -> Change:
    proof = {"document_sha256": digest(document).hex(), "signer": _name(caller)}
    describe(evidence=canonical(proof).decode())
    try:
        return parse(document)
    except ChangeError as error:
        violation = FieldViolation(f"document.{error.field}", error.expected)
        raise InvalidError(f"the document is not a change: {error}", error.reason, [violation]) from None
