"""Rows made of log entries alone: volumes, refusals, deliveries, readings, changes of the policy, the sample."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date

from kinlink.report.material import Entry, Log, Material
from kinlink.report.month import Month
from kinlink.report.outliers import judge
from kinlink.report.reasons import meaning
from kinlink.report.rows import Delivery, Denial, LogState, PolicyEvent, Reading, Sampled, Volume, VolumeDay

ELEMENTS = ("Evaluate", "Pseudonymise", "Convert", "Rekey", "GetEncodingKey")
"""The RPCs whose entries count elements; an encoding key that is handed out counts as one."""
POLICY = ("policy.grant.added", "policy.grant.removed", "policy.budget.changed")
_READS = ("GetTable", "StreamTable", "StreamFamilyTable")


def policy_event(entry: Entry) -> PolicyEvent:
    """Return what the entry's evidence says; one that cannot be read leaves the names."""
    try:
        said = json.loads(entry.evidence)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        said = {}
    return PolicyEvent(
        at=entry.recorded_at,
        event=entry.rpc.removeprefix("policy."),
        grant=entry.grant,
        caller=entry.subject,
        operation=str(said.get("operation", "")),
        domains=_texts(said.get("domains")),
        to=str(said.get("to", "")),
        kinds=_texts(said.get("kinds")),
        before=_budget(said.get("before")),
        after=_budget(said.get("after")),
    )


def _texts(found: object) -> tuple[str, ...]:
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _budget(found: object) -> tuple[int, int] | None:
    if not isinstance(found, dict):
        return None
    day, year = found.get("per_day"), found.get("per_year")
    return (day, year) if isinstance(day, int) and isinstance(year, int) else None


def volumes(material: Material, entries: Iterable[Entry], month: Month) -> list[Volume]:
    """Return the month's volumes, a row a caller and operation, each day judged."""
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


def denials(inside: Iterable[Entry]) -> list[Denial]:
    """Return refusals and failures, those to be explained first, then the most frequent."""
    groups: dict[tuple[str, str, str, str, str], list[Entry]] = defaultdict(list)
    for entry in inside:
        if entry.outcome != "ok":
            caller = entry.caller if meaning(entry.reason).ask else ""
            groups[entry.service, caller, entry.method, entry.outcome, entry.reason].append(entry)
    rows = []
    for (service, _, method, outcome, reason), found in groups.items():
        said = meaning(reason)
        rows.append(
            Denial(
                service=service,
                callers=sorted({entry.caller for entry in found}),
                method=method,
                outcome=outcome,
                reason=reason,
                times=len(found),
                last_at=max(entry.recorded_at for entry in found),
                meaning=said.words,
                ask=said.ask,
            )
        )
    return sorted(rows, key=lambda row: (not row.ask, -row.times, row.reason, row.callers, row.method))


def delivery(entry: Entry) -> Delivery:
    """Return the delivery that an entry is about."""
    source, dataset, period = (*entry.subject.split("/"), "", "", "")[:3]
    event = entry.rpc.removeprefix("delivery ")
    return Delivery(entry.recorded_at, source, dataset, period, entry.count, event)


def readings(inside: Iterable[Entry]) -> list[Reading]:
    """Return who read which released table."""
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


def sampled(log: Log) -> list[Sampled]:
    """Return the sampled entries of a log, in order."""
    return [_sampled(entry, log) for entry in log.entries if entry.index in log.proofs]


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


def state(log: Log, month: Month) -> LogState:
    """Return how far a log is proven, and how many of its entries are of the month."""
    counts: Mapping[str, int] = Counter(entry.outcome for entry in log.entries if month.holds(entry.recorded_at))
    return LogState(
        service=log.service,
        origin=log.origin,
        size=log.size,
        root=log.root,
        verifier_key=log.verifier_key,
        key_kept=log.key_kept,
        witnesses=tuple(log.witnesses),
        anchors=tuple(log.anchors),
        kept=tuple(log.kept),
        findings=tuple(log.findings),
        undecided=tuple(log.decided.findings) if log.decided else (),
        month_ok=counts.get("ok", 0),
        month_refused=counts.get("refused", 0),
        month_failed=counts.get("failed", 0),
    )
