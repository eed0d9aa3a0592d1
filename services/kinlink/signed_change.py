"""A change with its signatures in one file: for a service that is down, and cannot collect them.

    {"document": "<canonical JSON>", "signatures": [{"signature": "<base64>", "signer": "…", "verb": "propose"}, …]}

The proposer writes it with one signature; the file goes from hand to hand, and each approver adds one. The
signatures are the same as through the service (`approvals`), and so are the rules.

Pure: who is enrolled and what time it is, the caller knows.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from kinlink.approvals import RULES, Missing, Verb, missing, verify
from kinlink.change_document import Change, ChangeError, Signer, parse


@dataclass(frozen=True, slots=True)
class Signature:
    """One person's."""

    verb: Verb
    signer: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedChange:
    """A document and what was signed of it, in order."""

    document: bytes
    signatures: tuple[Signature, ...] = ()

    @property
    def change(self) -> Change:
        """What the document says. Raises ChangeError."""
        return parse(self.document)

    def signed(self, signature: Signature) -> SignedChange:
        """Return it with one more signature."""
        return replace(self, signatures=(*self.signatures, signature))

    def to_bytes(self) -> bytes:
        """Return the file."""
        signatures = [
            {"verb": one.verb.value, "signer": one.signer, "signature": b64encode(one.signature).decode()}
            for one in self.signatures
        ]
        whole = {"document": self.document.decode(), "signatures": signatures}
        return json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def parse(cls, content: bytes) -> SignedChange:
        """Read a file. Raises ChangeError when it is none, or its document is not a change."""
        try:
            values = json.loads(content)
            found = cls(
                values["document"].encode(),
                tuple(
                    Signature(Verb(one["verb"]), str(one["signer"]), b64decode(one["signature"], validate=True))
                    for one in values["signatures"]
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ChangeError("file", "must be a signed change: document and signatures") from None
        parse(found.document)
        return found

    def missing(self, people: Mapping[str, Signer], log: str, now: datetime) -> Missing | None:
        """Say what it needs to take effect, where `people` are enrolled; None when it has all.

        A signature of somebody who is not enrolled, or that does not fit, is no signature.
        """
        change = self.change
        if change.log != log:
            return Missing("CHANGE_FOR_OTHER_LOG", f"a document for the log {log}")
        if now >= change.expires_at:
            return Missing("CHANGE_EXPIRED", "to be proposed again: it expired")
        if change.proposer not in self._valid(people, Verb.PROPOSE):
            return Missing(
                "SIGNATURE_INVALID", f"the signature of its proposer, {change.proposer}, who must be enrolled"
            )
        if people[change.proposer].role not in RULES[change.action].proposers:
            return Missing("SIGNER_NOT_CUSTODIAN", "a custodian as its proposer")
        return missing(change, [people[name] for name in self._valid(people, Verb.APPROVE)])

    def holding(self, people: Mapping[str, Signer]) -> SignedChange:
        """Return it with only the signatures that hold, where `people` are enrolled; one a person and verb."""
        kept = {
            (one.verb, one.signer): one
            for one in self.signatures
            if one.signer in people
            and verify(people[one.signer].public_key, one.verb, one.signer, self.document, one.signature)
        }
        return replace(self, signatures=tuple(kept.values()))

    def _valid(self, people: Mapping[str, Signer], verb: Verb) -> set[str]:
        return {one.signer for one in self.holding(people).signatures if one.verb is verb}
