"""From the material of a month to the figures of its report.

1. The month is [first day, first day of the next), in UTC, as the logs are. Keys, grants,
   changes and releases are as they stand when the report is made; what happened in the month
   is from the logs.
2. Every figure is a count, a date or a name. Only what is in the log counts as having happened.
3. It knows no service, no clock and no page. `document` is the one way out: it redacts all.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from kinlink.report.lights import Light, lights, redaction_light
from kinlink.report.limits import LIMITS
from kinlink.report.material import Change, Entry, Grant, Log, Material, plain
from kinlink.report.outliers import judge
from kinlink.report.reasons import meaning
from kinlink.report.redact import Redaction
from kinlink.report.rows import (
    Delivery,
    Denial,
    GrantRow,
    KeyRow,
    LogState,
    Reading,
    RotationRow,
    Sampled,
    Volume,
    VolumeDay,
)

FORM = "kinlink-dpo-report-v1"
ELEMENTS = ("Evaluate", "Pseudonymise", "Convert", "Rekey")
_READS = ("GetTable", "StreamTable")


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month, UTC."""

    first: date
    end: date  # the first day of the next

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read "YYYY-MM". Raises ValueError when it is no month."""
        start = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
        return cls(start, date(start.year + start.month // 12, start.month % 12 + 1, 1))

    def holds(self, moment: datetime | None) -> bool:
        """Say whether an instant is within the month."""
        return moment is not None and self.first <= moment.astimezone(UTC).date() < self.end

    def __str__(self) -> str:
        return f"{self.first:%Y-%m}"


@dataclass(frozen=True, slots=True)
class Figures:
    """The content of a report, section by section."""

    month: Month
    made_at: datetime
    lights: Sequence[Light]
    key_versions: Sequence[KeyRow]
    rotations: Sequence[RotationRow]
    grants: Sequence[GrantRow]
    policy_events: Sequence[Entry]
    volumes: Sequence[Volume]
    denials: Sequence[Denial]
    deliveries: Sequence[Delivery]
    readings: Sequence[Reading]
    sample: Sequence[Sampled]
    logs: Sequence[LogState]
    material: Material

    def document(self) -> dict[str, Any]:
        """Return the report as a JSON value, without anything that looks like an identifier."""
        material = self.material
        content = {
            "form": FORM,
            "month": str(self.month),
            "made_at": self.made_at,
            "lights": [asdict(light) for light in self.lights],
            "generation": material.generation,
            "rotate_after_days": material.policy.rotate_after_days,
            "backups_kept_days": material.policy.backups_kept_days,
            "key_versions": [asdict(row) for row in self.key_versions],
            "rotations": [asdict(row) for row in self.rotations],
            "changes": [_change(change) for change in material.changes],
            "signers": [asdict(signer) for signer in material.signers],
            "genesis": material.genesis,
            "policy_digest": material.policy.digest,
            "grants": [asdict(row) for row in self.grants],
            "policy_events": [asdict(entry) for entry in self.policy_events],
            "plain_doors": list(material.policy.plain_doors),
            "volumes": [asdict(row) for row in self.volumes],
            "denials": [asdict(row) for row in self.denials],
            "deliveries": [asdict(row) for row in self.deliveries],
            "releases": [asdict(row) | {"in_month": self.month.holds(row.released_at)} for row in material.releases],
            "run": material.run and asdict(material.run),
            "readings": [asdict(row) for row in self.readings],
            "sample": [asdict(row) for row in self.sample],
            "logs": [asdict(row) for row in self.logs],
            "limits": [asdict(words) for words in LIMITS],
        }
        redaction = Redaction()
        document: dict[str, Any] = redaction.value(json.loads(json.dumps(content, default=plain)))
        document["lights"].append(asdict(redaction_light(redaction.left_out)))
        document["left_out"] = redaction.left_out
        return document


def _change(change: Change) -> dict[str, Any]:
    """Return a change; its keys under another name, which a template does not take for the mapping's own method."""
    content = asdict(change) | {"keys_named": [str(key) for key in change.keys]}
    del content["keys"]
    return content


def figures(material: Material, month: Month, made_at: datetime) -> Figures:
    """Return the month's figures, in a fixed order."""
    entries = [entry for log in material.logs for entry in log.entries]
    inside = [entry for entry in entries if month.holds(entry.recorded_at)]
    keys = _keys(material, made_at)
    volumes = _volumes(material, entries, month)
    denials = _denials(inside)
    policy_events = [entry for entry in inside if entry.rpc.startswith("policy.")]
    states = [_state(log, month) for log in material.logs]
    return Figures(
        month=month,
        made_at=made_at,
        lights=lights(material, keys, volumes, denials, policy_events, states, made_at),
        key_versions=keys,
        rotations=_rotations(material),
        grants=[_grant(grant, inside) for grant in material.policy.grants],
        policy_events=policy_events,
        volumes=volumes,
        denials=denials,
        deliveries=[_delivery(entry) for entry in inside if entry.rpc.startswith("delivery ")],
        readings=_readings(inside),
        sample=[_sampled(entry, log) for log in material.logs for entry in log.entries if entry.index in log.proofs],
        logs=states,
        material=material,
    )


def _keys(material: Material, made_at: datetime) -> list[KeyRow]:
    rows = []
    for version in material.keys:
        limit = None
        if version.activated_at and version.rotate_before and version.state == "active":
            limit = (version.rotate_before - version.activated_at).days
        since = version.activated_at or version.created_at
        rows.append(
            KeyRow(
                name=str(version.key),
                domain=version.key.domain,
                kind=version.key.kind,
                version=version.key.version,
                state=version.state,
                synthetic=version.synthetic,
                age_days=(made_at - since).days,
                limit_days=limit,
                created_at=version.created_at,
                activated_at=version.activated_at,
                state_since=version.state_since,
                compromised_at=version.compromised_at,
                rotate_before=version.rotate_before,
                backups_until=version.backups_until,
                wrapping_version=version.wrapping_version,
            )
        )
    return rows


def _rotations(material: Material) -> list[RotationRow]:
    rows = []
    for rotation in material.rotations:
        named = [change for change in material.changes if rotation.old in change.keys or rotation.new in change.keys]
        named = [
            change
            for change in named
            if change.action != "activate" or rotation.new in change.keys  # the old one's own activation is another's
        ]
        named = [change for change in named if change.action == "activate" or rotation.old in change.keys]
        rows.append(
            RotationRow(
                old=str(rotation.old),
                new=str(rotation.new),
                state=rotation.state,
                activated_at=rotation.activated_at,
                destroyed_at=rotation.destroyed_at,
                last_used_at=rotation.last_used_at,
                holders=tuple(rotation.holders),
                changes=tuple(change.change_id for change in reversed(named)),
            )
        )
    return rows


def _grant(grant: Grant, inside: Iterable[Entry]) -> GrantRow:
    used = [entry for entry in inside if entry.grant == grant.name and entry.outcome == "ok"]
    return GrantRow(
        name=grant.name,
        caller=grant.caller,
        operation=grant.operation,
        domains=tuple(grant.domains),
        to=grant.to,
        kinds=tuple(grant.kinds),
        calls=len(used),
        elements=sum(entry.count for entry in used),
        last_used_at=max((entry.recorded_at for entry in used), default=None),
    )


def _volumes(material: Material, entries: Iterable[Entry], month: Month) -> list[Volume]:
    counts: dict[tuple[str, str], Counter[date]] = defaultdict(Counter)
    calls = Counter[tuple[str, str]]()
    for entry in entries:
        if entry.outcome == "ok" and entry.method in ELEMENTS and entry.count:
            line = entry.caller, entry.method
            counts[line][entry.recorded_at.astimezone(UTC).date()] += entry.count
            calls[line] += month.holds(entry.recorded_at)
    rows = []
    for (caller, method), days in sorted(counts.items()):
        judged = judge(days, month.first, month.end)
        if not judged:
            continue
        budget = material.policy.budgets.get(caller)
        most = max(day.count for day in judged)
        rows.append(
            Volume(
                caller=caller,
                operation=method,
                total=sum(day.count for day in judged),
                calls=calls[caller, method],
                busiest=most,
                budget_per_day=budget[0] if budget else None,
                usual=judged[-1].usual,
                days=tuple(VolumeDay(d.day, d.count, d.usual, d.limit, d.stands_out) for d in judged),
            )
        )
    return rows


def _denials(inside: Iterable[Entry]) -> list[Denial]:
    groups: dict[tuple[str, str, str, str, str], list[Entry]] = defaultdict(list)
    for entry in inside:
        if entry.outcome != "ok":
            groups[entry.service, entry.caller, entry.method, entry.outcome, entry.reason].append(entry)
    rows = []
    for (service, caller, method, outcome, reason), found in groups.items():
        said = meaning(reason)
        rows.append(
            Denial(
                service=service,
                caller=caller,
                method=method,
                outcome=outcome,
                reason=reason,
                times=len(found),
                last_at=max(entry.recorded_at for entry in found),
                meaning=said.words,
                ask=said.ask,
            )
        )
    return sorted(rows, key=lambda row: (not row.ask, -row.times, row.reason, row.caller, row.method))


def _delivery(entry: Entry) -> Delivery:
    source, dataset, period = (*entry.subject.split("/"), "", "", "")[:3]
    event = entry.rpc.removeprefix("delivery ")
    return Delivery(entry.recorded_at, source, dataset, period, entry.count, event)


def _readings(inside: Iterable[Entry]) -> list[Reading]:
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in inside:
        if entry.outcome == "ok" and entry.method in _READS:
            groups[entry.caller, entry.subject].append(entry)
    rows = []
    for (caller, subject), found in sorted(groups.items()):
        table, period, release = (*subject.split("/"), "", "", "")[:3]
        last = max(entry.recorded_at for entry in found)
        rows.append(Reading(caller, table, period, release, len(found), found[0].count, last))
    return rows


def _sampled(entry: Entry, log: Log) -> Sampled:
    return Sampled(
        service=log.service,
        index=entry.index,
        recorded_at=entry.recorded_at,
        caller=entry.caller,
        method=entry.method,
        outcome=entry.outcome,
        reason=entry.reason,
        subject=_short(entry.subject),
        kind=entry.kind,
        count=entry.count,
        grant=entry.grant,
        proven=log.proofs[entry.index],
    )


def _short(subject: str) -> str:
    """Return a subject without the id of a delivery or release at its end."""
    parts = subject.split("/")
    return "/".join(parts[:-1]) if len(parts) > 2 and len(parts[-1]) >= 32 else subject


def _state(log: Log, month: Month) -> LogState:
    counts: Mapping[str, int] = Counter(entry.outcome for entry in log.entries if month.holds(entry.recorded_at))
    return LogState(
        service=log.service,
        origin=log.origin,
        size=log.size,
        root=log.root,
        verifier_key=log.verifier_key,
        key_kept=log.key_kept,
        witnesses=tuple(log.witnesses),
        kept=tuple(log.kept),
        findings=tuple(log.findings),
        month_ok=counts.get("ok", 0),
        month_refused=counts.get("refused", 0),
        month_failed=counts.get("failed", 0),
    )
