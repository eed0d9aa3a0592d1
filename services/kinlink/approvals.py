"""Who must sign a change, and what a signature is.

1. A signature is Ed25519 over the verb, the signer's name and the document's SHA-256. It holds for nothing else: not
   for another change, another log, another verb or another signer.
2. `RULES` says who may propose what, and how many must approve. An approval counts when an enrolled person other than
   the proposer gave it.
3. One person, one key: two signatures are never one person's.

Pure. The document is `change_document`'s; who is enrolled, what has been used up and what time it is, the service's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kinlink.change_document import Action, Change, Signer, SignerRole, digest
from kinlink.ed25519 import is_usable


class Verb(StrEnum):
    """What a signature says."""

    PROPOSE = "propose"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may propose an action, how many others approve, and how many of those are reviewers."""

    proposers: tuple[SignerRole, ...] = (SignerRole.CUSTODIAN,)
    approvals: int = 2
    reviewers: int = 1


RULES: Final[Mapping[Action, Rule]] = {
    Action.ACTIVATE: Rule(),
    Action.DISABLE: Rule(),
    Action.ENABLE: Rule(),
    Action.SALVAGE: Rule(),
    Action.DESTROY: Rule(),
    Action.COMPROMISE: Rule(approvals=0, reviewers=0),  # what stops harm must be quick
    Action.ENROL: Rule(),
    Action.REMOVE: Rule(),
    Action.RESTORE: Rule(),
}


def message(verb: Verb, signer: str, document: bytes) -> bytes:
    """Return the bytes that are signed."""
    return b"kinlink change v1\n" + verb.encode() + b"\n" + signer.encode() + b"\n" + digest(document)


def sign(key: Ed25519PrivateKey, verb: Verb, signer: str, document: bytes) -> bytes:
    """Return the signature of `signer`, 64 bytes."""
    return key.sign(message(verb, signer, document))


def verify(public_key: bytes, verb: Verb, signer: str, document: bytes, signature: bytes) -> bool:
    """Say whether this is the signature of `signer`, who has this key."""
    if not is_usable(public_key):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message(verb, signer, document))
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Missing:
    """What a change still needs: a stable reason, and a sentence."""

    reason: str
    sentence: str


def missing(change: Change, approvers: Iterable[Signer]) -> Missing | None:
    """Say what a change needs beside the approvals of these enrolled people; None when it has enough.

    The caller has verified their signatures. The proposer's own and a second by the same person do not count.
    """
    rule = RULES[change.action]
    counted = {signer.name: signer.role for signer in approvers if signer.name != change.proposer}
    reviewers = sum(role is SignerRole.REVIEWER for role in counted.values())
    lacking, lacking_reviewers = max(0, rule.approvals - len(counted)), max(0, rule.reviewers - reviewers)
    if lacking:
        by = ", one of them by a reviewer" if lacking_reviewers and lacking > 1 else ""
        by = ", by a reviewer" if lacking_reviewers and lacking == 1 else by
        return Missing("APPROVALS_MISSING", f"{lacking} more approval{'s' if lacking > 1 else ''}{by}")
    if lacking_reviewers:
        return Missing("REVIEWER_MISSING", "an approval by a reviewer")
    return None


def can_change(signers: Collection[Signer]) -> bool:
    """Say whether these people could make every change together: somebody proposes, others approve."""
    rule = max(RULES.values(), key=lambda rule: rule.approvals)
    proposers = sum(signer.role in rule.proposers for signer in signers)
    reviewers = sum(signer.role is SignerRole.REVIEWER for signer in signers)
    return proposers >= 1 and reviewers >= rule.reviewers and len(signers) >= rule.approvals + 1


def conflict(signer: Signer, others: Iterable[Signer]) -> str | None:
    """Say why a person cannot be enrolled beside these, in a sentence; None when nothing is against it.

    One person, one key: else two signatures could be one person's.
    """
    for other in others:
        if other.person == signer.person:
            return f"{other.name} is enrolled already"
        if other.public_key == signer.public_key:
            return f"{other.name} has the same key; each person makes one of their own"
    return None
