"""The people who may sign, and the changes that took effect, as they are sealed.

1. Nobody is deleted: a removed person stays, with the instant.
2. A key is enrolled once for ever: who lost one, or was removed, makes another.
3. A change takes effect once.

Pure: `content` is canonical JSON and public. What is decided by it is decided by what a seal has proven, not by what a
database says from one moment to the next. Knows no signatures: `changes` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Self

from kinlink.approvals import can_change, conflict
from kinlink.change_document import Signer, SignerRole, canonical
from servicekit.errors import DeniedError, PreconditionError


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A person, since when and until when; `change_id` is empty for the genesis file."""

    signer: Signer
    enrolled_at: datetime
    removed_at: datetime | None
    change_id: str


@dataclass(frozen=True, slots=True)
class People:
    """Everybody who may or might sign, by name and then by time; `applied`: change id → when it took effect."""

    genesis: bytes
    everyone: tuple[Enrolment, ...]
    applied: Mapping[str, str]

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read what `content` wrote."""
        genesis, people, applied = json.loads(content)
        return cls(bytes.fromhex(genesis), _sorted(_enrolment(one) for one in people), dict(applied))

    @property
    def content(self) -> bytes:
        """The genesis, all people and the ids of all applied changes, as canonical JSON."""
        people = sorted(self.everyone, key=lambda one: one.signer.public_key)
        used = sorted(list(one) for one in self.applied.items())
        return canonical([self.genesis.hex(), [_row(one) for one in people], used])

    @property
    def digest(self) -> bytes:
        """The SHA-256 of `content`: 32 bytes."""
        return sha256(self.content).digest()

    @property
    def enrolled(self) -> dict[str, Signer]:
        """Those who may sign now, by name."""
        return {one.signer.name: one.signer for one in self.everyone if one.removed_at is None}

    def check_enrolled(self, name: str) -> Signer:
        """Return who may sign under this name. Raises DeniedError SIGNER_UNKNOWN."""
        signer = self.enrolled.get(name)
        if signer is None:
            raise DeniedError(f"{name} is not enrolled to sign", "SIGNER_UNKNOWN")
        return signer

    def check_enrolment(self, signer: Signer) -> None:
        """Check that a person can be enrolled.

        Raises:
            PreconditionError: SIGNER_CONFLICT, the person, or the key, is or was enrolled already.
        """
        against = conflict(signer, self.enrolled.values())
        if against is None and any(one.signer.public_key == signer.public_key for one in self.everyone):
            against = "this key was enrolled before; make a new one"
        if against:
            raise PreconditionError(against, "SIGNER_CONFLICT")

    def check_removal(self, signer: Signer) -> None:
        """Check that a person can be removed.

        Raises:
            PreconditionError: SIGNER_UNKNOWN, nobody of that name has that key; TOO_FEW_SIGNERS, those who stay could
                not make a change.
        """
        known = self.enrolled
        if known.get(signer.name) != signer:
            raise PreconditionError(f"{signer.name} is not enrolled with this key", "SIGNER_UNKNOWN")
        if not can_change([other for other in known.values() if other.name != signer.name]):
            message = f"without {signer.name} too few could propose and approve; enrol somebody first"
            raise PreconditionError(message, "TOO_FEW_SIGNERS")

    def with_enrolled(self, signer: Signer, change_id: str, now: datetime) -> People:
        """Return them with one more person. Raises as check_enrolment."""
        self.check_enrolment(signer)
        made = Enrolment(signer, now, None, change_id)
        return People(self.genesis, _sorted((*self.everyone, made)), self.applied)

    def with_removed(self, signer: Signer, now: datetime) -> People:
        """Return them without a person, whose proposals and approvals no longer count. Raises as check_removal."""
        self.check_removal(signer)
        everyone = (
            Enrolment(one.signer, one.enrolled_at, now, one.change_id) if one.signer == signer else one
            for one in self.everyone
        )
        return People(self.genesis, _sorted(everyone), self.applied)

    def with_applied(self, change_id: str, now: datetime) -> People:
        """Return them with one more change that took effect; it has not before."""
        if change_id in self.applied:
            raise ValueError("a change takes effect once")
        return People(self.genesis, self.everyone, {**self.applied, change_id: now.isoformat()})


def _sorted(people: Any) -> tuple[Enrolment, ...]:
    return tuple(sorted(people, key=lambda one: (one.signer.name, one.enrolled_at, one.signer.public_key)))


def _enrolment(row: Mapping[str, Any]) -> Enrolment:
    return Enrolment(
        Signer(row["name"], SignerRole(row["role"]), bytes.fromhex(row["public_key"])),
        datetime.fromisoformat(row["enrolled_at"]),
        datetime.fromisoformat(row["removed_at"]) if row["removed_at"] else None,
        row["change_id"],
    )


def _row(one: Enrolment) -> dict[str, str | None]:
    return {
        "name": one.signer.name,
        "role": one.signer.role.value,
        "public_key": one.signer.public_key.hex(),
        "enrolled_at": one.enrolled_at.isoformat(),
        "removed_at": one.removed_at.isoformat() if one.removed_at else None,
        "change_id": one.change_id,
    }
