"""The rows of the report's tables: what JSON holds and the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from kinlink.report.material import Anchor, Holder, Kept, Witness
from kinlink.report.words import Words


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key version. `age_days`: since it became the primary, or was made; `limit_days` only of a primary."""

    name: str
    domain: str
    kind: str
    version: int
    state: str
    synthetic: bool
    age_days: int
    limit_days: int | None
    created_at: datetime
    activated_at: datetime | None
    state_since: datetime
    compromised_at: datetime | None
    rotate_before: datetime | None
    backups_until: datetime | None
    wrapping_version: str


@dataclass(frozen=True, slots=True)
class RotationRow:
    """A rotation; `changes` are the ids of the changes that moved it, oldest first."""

    old: str
    new: str
    state: str
    activated_at: datetime
    destroyed_at: datetime | None
    last_used_at: datetime | None
    holders: Sequence[Holder]
    changes: Sequence[str]


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant and how much it was used in the month."""

    name: str
    caller: str
    operation: str
    domains: Sequence[str]
    to: str
    kinds: Sequence[str]
    calls: int
    elements: int
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class PolicyEvent:
    """A change of the policy: of a grant, or of a budget; `before` and `after`: elements a day, a year."""

    at: datetime
    event: str  # "grant.added", "grant.removed", "budget.changed"
    grant: str
    caller: str
    operation: str = ""
    domains: Sequence[str] = ()
    to: str = ""
    kinds: Sequence[str] = ()
    before: Sequence[int] | None = None
    after: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class VolumeDay:
    """A day on which a caller did something; `usual` and `limit` are None with too little history."""

    day: date
    elements: int
    usual: float | None
    limit: float | None
    stands_out: bool


@dataclass(frozen=True, slots=True)
class Volume:
    """Elements that a caller sent through one operation in the month."""

    caller: str
    operation: str
    total: int
    calls: int
    busiest: int
    budget_per_day: int | None
    usual: float | None
    days: Sequence[VolumeDay]


@dataclass(frozen=True, slots=True)
class Denial:
    """Calls that were refused or failed for one reason: of one caller where that wants an explanation, else of all."""

    service: str
    callers: Sequence[str]  # "" when nobody was authenticated, or the service itself failed
    method: str
    outcome: str
    reason: str
    times: int
    last_at: datetime
    meaning: Words
    ask: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery accepted, replaced or withdrawn."""

    at: datetime
    source: str
    dataset: str
    period: str
    rows: int
    event: str


@dataclass(frozen=True, slots=True)
class ServedTable:
    """The newest revision of a table and period; `cells` = `shown` + `carried` + `suppressed`."""

    release_id: str
    table_id: str
    title_da: str
    title_en: str
    period: str
    revision: int
    released_at: datetime
    in_month: bool
    cells: int
    shown: int
    carried: int
    suppressed: int


@dataclass(frozen=True, slots=True)
class Reading:
    """Who read which released table, how often; `cells` each time."""

    caller: str
    table: str
    period: str
    release_id: str
    times: int
    cells: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Sampled:
    """A log entry drawn for the monthly control; `proven`: it is under the checkpoint's root."""

    service: str
    index: int
    recorded_at: datetime
    caller: str
    method: str
    outcome: str
    reason: str
    subject: str
    kind: str
    count: int
    grant: str
    proven: bool


@dataclass(frozen=True, slots=True)
class LogState:
    """How far a service's log is proven, and how much of it is of the month."""

    service: str
    origin: str
    size: int
    root: str
    verifier_key: str
    key_kept: bool | None
    witnesses: Sequence[Witness]
    anchors: Sequence[Anchor]
    kept: Sequence[Kept]
    findings: Sequence[str]
    undecided: Sequence[str]  # changes of keys that nobody signed as the rules ask
    month_ok: int
    month_refused: int
    month_failed: int
