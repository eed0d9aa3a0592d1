"""From the material of a month to the figures of its report.

1. The month is [first day, first day of the next), in UTC, as the logs are. Keys, grants,
   changes and releases are as they stand when the report is made; what happened in the month
   is from the logs.
2. Every figure is a count, a date or a name. Only what is in the log counts as having happened.
3. It knows no service, no clock and no page. `document` is the one way out: it redacts all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from kinlink.report import log_rows
from kinlink.report.light import Light
from kinlink.report.lights import lights, redaction_light
from kinlink.report.limits import LIMITS
from kinlink.report.material import Change, Entry, Grant, Material, plain
from kinlink.report.month import Month
from kinlink.report.redact import Redaction
from kinlink.report.rows import (
    Delivery,
    Denial,
    GrantRow,
    KeyRow,
    LogState,
    PolicyEvent,
    Reading,
    RotationRow,
    Sampled,
    ServedTable,
    Volume,
)

FORM = "kinlink-dpo-report-v1"


@dataclass(frozen=True, slots=True)
class Figures:
    """The content of a report, section by section."""

    month: Month
    made_at: datetime
    lights: Sequence[Light]
    key_versions: Sequence[KeyRow]
    rotations: Sequence[RotationRow]
    grants: Sequence[GrantRow]
    policy_events: Sequence[PolicyEvent]
    volumes: Sequence[Volume]
    denials: Sequence[Denial]
    deliveries: Sequence[Delivery]
    tables: Sequence[ServedTable]
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
            "tables": [asdict(row) for row in self.tables],
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
    volumes = log_rows.volumes(material, entries, month)
    denials = log_rows.denials(inside)
    policy_events = [log_rows.policy_event(entry) for entry in inside if entry.rpc in log_rows.POLICY]
    states = [log_rows.state(log, month) for log in material.logs]
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
        deliveries=[log_rows.delivery(entry) for entry in inside if entry.rpc.startswith("delivery ")],
        tables=_tables(material, month),
        readings=log_rows.readings(inside),
        sample=[row for log in material.logs for row in log_rows.sampled(log)],
        logs=states,
        material=material,
    )


def _tables(material: Material, month: Month) -> list[ServedTable]:
    """Return what is served when no release is named, by table, newest period first."""
    newest: dict[tuple[str, str], ServedTable] = {}
    for release in material.releases:
        for table in release.tables:
            row = ServedTable(
                release_id=release.release_id,
                table_id=table.table_id,
                title_da=table.title_da,
                title_en=table.title_en,
                period=table.period,
                revision=table.revision,
                released_at=release.released_at,
                in_month=month.holds(release.released_at),
                cells=table.cells,
                shown=table.shown,
                carried=table.carried,
                suppressed=table.suppressed,
            )
            last = newest.setdefault((table.table_id, table.period), row)
            if last.revision < row.revision:
                newest[table.table_id, table.period] = row
    by_period = sorted(newest.values(), key=lambda row: row.period, reverse=True)
    return sorted(by_period, key=lambda row: row.table_id)


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
    used = [entry for entry in inside if entry.grant == grant.name and entry.outcome == "ok" and entry.caller]
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
