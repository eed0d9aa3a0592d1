"""Rotations: who holds pseudonyms of a retiring version, who is done with it, and the proof that is asked for.

1. A holder attests: nothing of mine stands under this version, I held n and carried n over. Where it rekeyed, it
   shows a random sample of at least min(64, n) pairs, old and new, each pair blinded by one scalar; the
   service carries the old ones over itself and compares.
2. A holder's new pseudonyms stand under the primary of the same line; a linker that only passes a source's
   pseudonyms on names the linkage key that they stand under now.
3. Of an encoding key nothing is carried over: a source attests that nothing it encoded under the version is used any
   more, having encoded anew, and a linker that it holds nothing that was; so with nothing held and no key to stand
   under now.
4. A version that nobody can use any more (disabled, compromised) is attested by those only who never held anything.
5. An attestation is in the audit log, in the transaction that counts it.

That a holder tells the truth about all of it, a sample shows only in part: what is proven is that what it showed
was carried over. It does not know gRPC.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import Final

from sqlalchemy import Connection, Engine

from kinlink import ristretto255
from kinlink.change_document import canonical
from kinlink.pseudonyms import Kind
from pseudonymizer.keyset import Key, KeyName, Keyset
from pseudonymizer.keystore import attested, tables
from pseudonymizer.keystore.attested import Attestation
from pseudonymizer.keystore.manifest import KeyVersionRow
from pseudonymizer.keystore.store import KeyStore
from pseudonymizer.lifecycle import KeyState
from pseudonymizer.policy import Operation, Policy, Route
from servicekit.audit import AuditEntry, AuditLog
from servicekit.database import read
from servicekit.errors import (
    DeniedError,
    ExhaustedError,
    FieldViolation,
    InvalidError,
    PreconditionError,
    UnavailableError,
)
from servicekit.identity import Caller, Role, request_id

SAMPLE_SIZE: Final = 64
_LARGEST_SAMPLE: Final = 4096
_TOO_MANY: Final = 1 << 40  # pseudonyms: what nobody holds
_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Rotation:
    """The replacement of one key version by the next that was active."""

    source: KeyName
    target: KeyName
    state: KeyState
    """Where the old version stands."""
    activated_at: datetime
    """When its successor became the primary."""
    destroyed_at: datetime | None
    holders: tuple[Attestation, ...]
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Statement:
    """What a holder attests. `target` is None when nothing was ever held; the samples are packed, 32·n bytes."""

    source: KeyName
    target: KeyName | None
    held: int
    converted: int
    sample_from: bytes = b""
    sample_to: bytes = b""


class Rotations:
    """Takes attestations, and lists rotations."""

    def __init__(
        self, engine: Engine, policy: Policy, keys: KeyStore, audit: AuditLog, pool: ThreadPoolExecutor | None = None
    ) -> None:
        """Use `engine`, whose tables are migrated; `pool` multiplies samples."""
        self._engine = engine
        self._policy = policy
        self._keys = keys
        self._audit = audit
        self._pool = pool

    def attest(self, caller: Caller, statement: Statement) -> int:
        """Take an attestation and return the size of the sample that was checked. The same again is harmless.

        Raises:
            InvalidError: ATTESTATION_INVALID, REKEYING_INCOMPLETE, ELEMENT_INVALID, KIND_MISMATCH,
                KEY_VERSION_UNSPECIFIED. DeniedError: HOLDER_UNKNOWN, GRANT_MISSING. ExhaustedError: BATCH_TOO_LARGE.
            PreconditionError: KEY_VERSION_UNKNOWN, KEY_VERSION_INACTIVE, SAMPLE_MISMATCH.
            UnavailableError: the log or the keys are away, or change at this moment; try again.
        """
        self._admit(caller, statement)
        sampled = _check_form(statement)
        for _ in range(_ATTEMPTS):
            versions, keyset = self._keys.current()
            if statement.target is not None:
                self._compare(statement, *_keys(keyset, statement.source, statement.target))
            else:
                _check_unused(versions, statement.source)
            if self._record(caller, statement, sampled, keyset.generation):
                return sampled
        raise UnavailableError("the keys are being changed; try again", "KEYS_CHANGING")

    def visible_to(self, caller: Caller) -> list[Rotation]:
        """Return the rotations, newest first: a source and a linker see those that they hold pseudonyms of."""
        versions, _ = self._keys.current()
        with read(self._engine) as connection:
            found = [self._rotation(connection, *pair) for pair in _replacements(versions)]
        if caller.role in (Role.SOURCE, Role.LINKER):
            name = f"{caller.role}/{caller.name}"
            found = [rotation for rotation in found if any(one.holder == name for one in rotation.holders)]
        return sorted(found, key=lambda rotation: rotation.activated_at, reverse=True)

    def _rotation(self, connection: Connection, old: KeyVersionRow, new: KeyVersionRow) -> Rotation:
        recorded = {one.holder: one for one in attested.of_version(connection, old.name)}
        destroyed = old.state is KeyState.DESTROYED
        asked = recorded if destroyed else self._policy.holders(*old.line)
        return Rotation(
            old.name,
            new.name,
            old.state,
            new.activated_at or new.state_since,
            old.state_since if destroyed else None,
            tuple(recorded.get(holder, Attestation(holder)) for holder in asked),
            attested.last_used_at(connection, old.name),
        )

    def _admit(self, caller: Caller, statement: Statement) -> None:
        name, source, target = f"{caller.role}/{caller.name}", statement.source, statement.target
        if name not in self._policy.holders(source.domain, source.kind):
            raise DeniedError("the policy does not let this caller hold pseudonyms of this key", "HOLDER_UNKNOWN")
        if target is None:
            return
        if source.kind is Kind.ENCODING:
            expected = "expected none: nothing is carried over from an encoding key; attest when all is encoded anew"
            raise InvalidError(f"to: {expected}", "ATTESTATION_INVALID", (FieldViolation("to", expected),))
        if target.kind is not source.kind:
            raise InvalidError("from and to are of one kind; set the same in both", "KIND_MISMATCH")
        if target.domain == source.domain:
            self._policy.authorise(Route(name, Operation.REKEY, source.domain, "", source.kind))
        else:
            self._policy.authorise(Route(name, Operation.CONVERT, source.domain, target.domain, source.kind))

    def _compare(self, statement: Statement, old: Key, new: Key) -> None:
        try:
            factor = ristretto255.quotient(new.scalar, old.scalar)
            carried = ristretto255.multiply(factor, statement.sample_from, self._pool)
        except ristretto255.ElementError as error:
            expected = "expected a canonical ristretto255 element other than the identity"
            violations = [FieldViolation(f"sample_from[{index}]", expected) for index in error.indices]
            raise InvalidError(str(error), "ELEMENT_INVALID", violations) from None
        if not hmac.compare_digest(carried, statement.sample_to):
            message = "the sample's new pseudonyms are not its old ones carried over to this key"
            raise PreconditionError(message, "SAMPLE_MISMATCH")

    def _record(self, caller: Caller, statement: Statement, sampled: int, generation: int) -> bool:
        """Write the attestation and its entry, unless the keys changed since `generation`."""
        now, source, target = datetime.now(UTC), statement.source, statement.target
        holder = f"{caller.role}/{caller.name}"
        proof = {
            "holder": holder,
            "to": {"domain": target.domain, "version": target.version} if target else None,
            "held": statement.held,
            "converted": statement.converted,
            "sample_size": sampled,
        }
        entry = AuditEntry(
            "key.attest",
            caller.uri,
            "ok",
            subject=source.domain,
            kind=source.kind,
            key_version=source.version,
            count=statement.held,
            request_id=request_id(),
            evidence=canonical(proof).decode(),
        )
        with self._engine.connect() as connection, connection.begin() as transaction:
            given = Attestation(holder, now, statement.held, statement.converted, sampled)
            attested.record(connection, source, given)
            self._audit.append(entry, connection)
            if tables.generation(connection) != generation:  # read last, as the ledger does
                transaction.rollback()
                return False
        return True


def _check_form(statement: Statement) -> int:
    """Return the size of the sample."""
    size, given = ristretto255.SIZE, len(statement.sample_from)
    if not statement.source.version or (statement.target and not statement.target.version):
        raise InvalidError("from.version and to.version must be set", "KEY_VERSION_UNSPECIFIED")
    if statement.held != statement.converted:
        raise InvalidError("converted: expected as many as held; carry all over first", "REKEYING_INCOMPLETE")
    if given % size or given != len(statement.sample_to):
        expected = "expected 32·n bytes, as many in sample_from as in sample_to"
        raise InvalidError(f"the sample: {expected}", "ATTESTATION_INVALID", (FieldViolation("sample_from", expected),))
    count = given // size
    if count > _LARGEST_SAMPLE:
        message = f"a sample holds at most {_LARGEST_SAMPLE} pairs; send fewer"
        raise ExhaustedError(message, "BATCH_TOO_LARGE", metadata={"limit": str(_LARGEST_SAMPLE)})
    if statement.held >= _TOO_MANY:
        expected = f"expected less than {_TOO_MANY}"
        raise InvalidError(f"held: {expected}", "ATTESTATION_INVALID", (FieldViolation("held", expected),))
    passed_on = statement.target is not None and statement.target.domain != statement.source.domain
    least = 0 if passed_on else min(SAMPLE_SIZE, statement.held)  # what was passed on is held no more
    if count < least or count > statement.held:
        expected = f"expected at least {least} pairs, and not more than were held"
        raise InvalidError(f"the sample: {expected}", "ATTESTATION_INVALID", (FieldViolation("sample_from", expected),))
    if statement.held and statement.target is None:
        expected = "expected the key that the pseudonyms stand under now"
        raise InvalidError(f"to: {expected}", "ATTESTATION_INVALID", (FieldViolation("to", expected),))
    return count


def _keys(keyset: Keyset, source: KeyName, target: KeyName) -> tuple[Key, Key]:
    """Return the keys of an attestation: from a retiring version, to what the holder may stand under."""
    if source.domain == target.domain:
        return keyset.for_rekeying(source, target)
    old, new = keyset.for_conversion(source, target)
    if old.state is not KeyState.RETIRING:
        message = f"this key version is {old.state}; only a retiring one is attested"
        raise PreconditionError(message, "KEY_VERSION_INACTIVE", metadata={"state": old.state})
    return old, new


def _check_unused(versions: Iterable[KeyVersionRow], name: KeyName) -> None:
    """Check that a version is replaced, so that its holders can be done with it."""
    found = next((version for version in versions if version.name == name), None)
    if found is None:
        raise PreconditionError("there is no such key version", "KEY_VERSION_UNKNOWN")
    if name not in {old.name for old, _ in _replacements(versions)} or found.state is KeyState.DESTROYED:
        message = f"this key version is {found.state}; only one that was replaced is attested"
        raise PreconditionError(message, "KEY_VERSION_INACTIVE", metadata={"state": found.state})


def _replacements(versions: Iterable[KeyVersionRow]) -> list[tuple[KeyVersionRow, KeyVersionRow]]:
    """Return each version that was ever active with the next one that was, by line."""
    active = [version for version in versions if version.activated_at]
    found = []
    for _, line in groupby(active, key=lambda version: version.line):
        ordered = sorted(line, key=lambda version: version.name.version)
        found += list(pairwise(ordered))
    return found
