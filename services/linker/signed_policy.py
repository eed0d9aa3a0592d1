"""The disclosure policy of this linker: the file that the settings name, signed by the people whom they name.

1. The bytes that were signed are the bytes that are read as policy.
2. Real identifiers need a signed policy. Without signers, synthetic ones may be served; the log says so once.
3. Every start leaves an entry in the audit log: which policy, by whose signatures.
4. An older policy is refused, however well it is signed: a loosened or tightened rule is not undone by an old file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import sqlalchemy as sa
import structlog

from kinlink import policy_signatures
from kinlink.policy_signatures import SUFFIX, PolicySignatureError
from linker.disclosure import policy
from linker.disclosure.policy import Policy, PolicyError
from linker.disclosure.release import canonical
from linker.store import policies
from linker.store.policies import OlderPolicyError
from servicekit.audit import AuditEntry, AuditLog

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SignedPolicy:
    """A policy, the SHA-256 of its file, and who signed it; nobody in development."""

    policy: Policy
    sha256: str
    signers: tuple[str, ...]

    def record(self, engine: sa.Engine, audit: AuditLog) -> None:
        """Note and log which policy is in force.

        Raises:
            OlderPolicyError: the linker has run with a newer one; that is in the log, too.
            UnavailableError: AUDIT_UNAVAILABLE.
        """
        if not self.signers:
            _log.warning("the disclosure policy is not signed: disclosure_signers names nobody")
        entry = AuditEntry("disclosure.loaded", "", "ok", evidence=canonical(self._proof()))
        try:
            with engine.begin() as connection:
                policies.admit(connection, self.policy)
                audit.append(entry, connection)
        except OlderPolicyError:
            audit.append(replace(entry, outcome="refused", reason="POLICY_OLDER"))
            raise

    def _proof(self) -> dict[str, object]:
        return {
            "serial": self.policy.serial,
            "digest": self.policy.digest,
            "sha256": self.sha256,
            "signers": list(self.signers),
        }


def load(path: Path, signers: Mapping[str, bytes], *, real: bool) -> SignedPolicy:
    """Read a policy and check that each of `signers`, whose public keys these are, signed it; `real`: identifiers are.

    Raises:
        PolicyError: the file cannot be read or used, real identifiers have no signers, or a signature is missing or is
            not for this file; names the signer and says what to do.
    """
    if real and not signers:
        raise PolicyError(
            "disclosure_signers: a linker of real identifiers needs a signed disclosure policy; name the people who "
            "sign it, and set disclosure to the file they signed with `kinlink approvals sign-policy`"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PolicyError(f"disclosure: {path} cannot be read: {error.strerror}") from None
    if signers:
        _check(path, content, signers)
    return SignedPolicy(policy.parse(content), sha256(content).hexdigest(), tuple(sorted(signers)))


def _check(path: Path, content: bytes, signers: Mapping[str, bytes]) -> None:
    beside = path.with_name(path.name + SUFFIX)
    try:
        signatures = policy_signatures.parse(beside.read_bytes())
    except FileNotFoundError:
        signatures = {}
    except OSError as error:
        raise PolicyError(f"disclosure: {beside} cannot be read: {error.strerror}") from None
    except PolicySignatureError as error:
        raise PolicyError(f"disclosure: {beside} {error}") from None
    for name, key in sorted(signers.items()):
        again = f"{name} reads the file and runs `kinlink approvals sign-policy {path.name} --name {name} --key …`"
        if name not in signatures:
            raise PolicyError(
                f"disclosure: {beside} has no signature by {name}, whom disclosure_signers names; {again}"
            )
        if not policy_signatures.verify(key, name, content, signatures[name]):
            raise PolicyError(
                f"disclosure: the signature by {name} is not for {path} as it is now, or not made with the key that "
                f"disclosure_signers names; {again}"
            )
