"""What the monthly report is made of, as plain values: the logs, the keys, the releases.

`collect` fills these from the services; the tests write them by hand. Nothing here
computes. Instants are aware UTC; a key is named "<domain> <kind> v<version>".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from kinlink.released import Release


@dataclass(frozen=True, slots=True)
class Key:
    """One version of a key. Never the key itself."""

    domain: str
    kind: str
    version: int

    def __str__(self) -> str:
        return f"{self.domain} {self.kind} v{self.version}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a log, as the report uses it. Empty text and 0 mean: does not apply."""

    service: str  # "pseudonymizer" or "linker"
    index: int
    recorded_at: datetime
    rpc: str
    caller: str  # "source/prisme"; "" when the service acted by itself
    outcome: str  # "ok", "refused" or "failed"
    reason: str = ""
    subject: str = ""
    kind: str = ""
    key_version: int = 0
    count: int = 0
    grant: str = ""
    evidence: str = ""  # canonical JSON; only of changes of the policy

    @property
    def method(self) -> str:
        """The RPC's own name ("Evaluate"), or the event ("delivery accepted")."""
        return self.rpc.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """A key version as ListKeys shows it; `state` in lower case, for example "retiring"."""

    key: Key
    state: str
    synthetic: bool
    created_at: datetime
    state_since: datetime
    activated_at: datetime | None = None
    compromised_at: datetime | None = None
    backups_until: datetime | None = None
    rotate_before: datetime | None = None
    wrapping_version: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds pseudonyms of a key, and what it attested."""

    name: str
    attested_at: datetime | None = None
    held: int = 0
    converted: int = 0
    sample_size: int = 0


@dataclass(frozen=True, slots=True)
class Rotation:
    """The replacement of one key version."""

    old: Key
    new: Key
    state: str  # of the old version
    activated_at: datetime  # when the new version became the primary
    holders: Sequence[Holder] = ()
    destroyed_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """Who signed a change, and when."""

    signer: str
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """A change of keys or signers; `state`: proposed, approved, applied or expired."""

    change_id: str
    action: str
    state: str
    keys: Sequence[Key]
    subject: str  # the signer that it enrols or removes; "" for keys
    reason: str
    accept_loss: bool
    proposal: Signature
    approvals: Sequence[Signature]
    expires_at: datetime
    applied_at: datetime | None = None
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Signer:
    """A person who may sign, or might once."""

    name: str
    role: str
    enrolled_at: datetime
    removed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What one rule of the policy allows."""

    name: str
    caller: str
    operation: str
    domains: Sequence[str]
    to: str
    kinds: Sequence[str]


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy in force. `budgets`: caller → elements a day and a year."""

    digest: str
    grants: Sequence[Grant]
    budgets: Mapping[str, tuple[int, int]]
    plain_doors: Sequence[str]
    rotate_after_days: int  # 0: no rule
    backups_kept_days: int


@dataclass(frozen=True, slots=True)
class Run:
    """The newest linkage run."""

    run_id: str
    state: str
    reason: str
    reference_date: str
    year: int
    outcomes: Sequence[tuple[str, str]]  # table, what became of it


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint that the DPO kept, compared with the log."""

    name: str
    size: int
    agrees: bool


@dataclass(frozen=True, slots=True)
class Witness:
    """Who signs the log's checkpoints besides its service.

    `signed`: how many entries it has signed, by its key that the DPO kept; 0 without one. `verified`: whether these are
    all that were there a day before the last.
    """

    name: str
    signed: int
    verified: bool


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the log last says of a place where checkpoints go: an entry is written when it begins or ceases to fail."""

    place: str  # "writing file:/anchors", "reading s3://…"
    failing: bool
    since: datetime


@dataclass(frozen=True, slots=True)
class Decided:
    """What a log says of who decided on keys and signers, up to its last entry."""

    signed: int  # changes that took effect, each signed as the rules ask
    genesis_kept: bool  # whether the first signers were compared with a genesis file that the DPO kept
    findings: Sequence[str]  # changes that nobody signed so, and keys that changed without one
    states: Mapping[Key, str]
    until: datetime


@dataclass(frozen=True, slots=True)
class Log:
    """One service's log and how far it is proven."""

    service: str
    origin: str
    size: int
    root: str  # hex
    verifier_key: str
    key_kept: bool | None  # whether it is the key that the DPO kept; None when none was kept
    witnesses: Sequence[Witness]
    anchors: Sequence[Anchor]
    kept: Sequence[Kept]
    findings: Sequence[str]  # what verification found wrong; empty when all agrees
    entries: Sequence[Entry]  # those of the month, and of the time before it that volumes are compared with
    proofs: Mapping[int, bool]  # index of a sampled entry → its proof of inclusion holds
    decided: Decided | None = None  # None: of the linker's log, which tells of no keys


@dataclass(frozen=True, slots=True)
class Material:
    """All that the report is made of."""

    logs: Sequence[Log]
    keys: Sequence[KeyVersion]
    generation: int
    rotations: Sequence[Rotation]
    changes: Sequence[Change]
    signers: Sequence[Signer]
    genesis: str  # hex of the genesis file's hash
    policy: Policy
    releases: Sequence[Release]  # newest first
    run: Run | None


def plain(value: Any) -> Any:
    """Return a value as JSON has it: instants as ISO 8601 with Z, keys as their names."""
    match value:
        case datetime():
            return value.isoformat(timespec="seconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case Key():
            return str(value)
        case _:
            raise TypeError(type(value).__name__)
