"""Collects a month's material from both services, as the data-protection officer.

What it gets it does not judge: `figures` does. A service that is away ends the report with
an error; half a report would read like a whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc

from kinlink.audit.reading import Progress
from kinlink.audit_client import AuditClient
from kinlink.change_document import Action, KeyVersionName
from kinlink.errors import ConflictError
from kinlink.key_administration_client import (
    Enrolment,
    KeyAdministrationClient,
    KeyVersion,
    Rotation,
    Signed,
    Standing,
)
from kinlink.linkage_client import LinkageClient
from kinlink.pseudonyms import Kind
from kinlink.report import material as m
from kinlink.report.logs import KeptFolder, take
from kinlink.report.month import Month
from kinlink.statistics_client import StatisticsClient

SERVICES = ("pseudonymizer", "linker")


def collect(
    channels: Mapping[str, grpc.Channel],
    month: Month,
    kept: KeptFolder,
    exports: Mapping[str, Path],
    open_stage: Callable[[str], Progress],
) -> m.Material:
    """Return the month's material; `channels` and `exports` by service.

    Raises:
        InputError: an export is none, or another log's.
        KinlinkError: a service is away or refuses.
    """
    keys = KeyAdministrationClient(channels["pseudonymizer"])
    people, genesis = keys.people()
    return m.Material(
        logs=[
            take(service, AuditClient(channels[service]), month, kept, exports.get(service), open_stage(service))
            for service in SERVICES
        ],
        keys=[_key(version) for version in keys.keys()],  # noqa: SIM118 - a call to the service, no mapping
        generation=keys.generation(),
        rotations=[_rotation(rotation) for rotation in keys.rotations()],
        changes=[_change(standing) for standing in keys.changes()],
        signers=[_signer(enrolment) for enrolment in people],
        genesis=genesis.hex(),
        policy=_policy(keys.policy()),
        releases=StatisticsClient(channels["linker"]).list_releases(),
        run=_run(channels["linker"]),
    )


def _name(name: KeyVersionName) -> m.Key:
    return m.Key(name.domain, name.kind.value, name.version)


def _key(version: KeyVersion) -> m.KeyVersion:
    return m.KeyVersion(
        key=_name(version.name),
        state=version.state,
        synthetic=version.suite.synthetic,
        created_at=version.created_at,
        state_since=version.state_since,
        activated_at=version.activated_at,
        compromised_at=version.compromised_at,
        backups_until=version.backups_until,
        rotate_before=version.rotate_before,
        wrapping_version=version.wrapping_version,
    )


def _rotation(rotation: Rotation) -> m.Rotation:
    return m.Rotation(
        old=_name(rotation.source),
        new=_name(rotation.target),
        state=rotation.state,
        activated_at=rotation.activated_at or datetime.fromtimestamp(0, UTC),  # the service always says when
        holders=[m.Holder(h.name, h.attested_at, h.held, h.converted, h.sample_size) for h in rotation.holders],
        destroyed_at=rotation.destroyed_at,
        last_used_at=rotation.last_used_at,
    )


def _change(standing: Standing) -> m.Change:
    change = standing.change
    return m.Change(
        change_id=change.change_id,
        action=change.action.value,
        state=standing.state,
        keys=[_name(name) for name in change.keys],
        subject=change.signer.name if change.signer else "",
        reason=change.reason,
        accept_loss=bool(change.accept_loss),
        proposal=_signed(standing.proposal),
        approvals=[_signed(one) for one in standing.approvals],
        expires_at=change.expires_at,
        applied_at=standing.applied_at,
        missing="" if change.action is Action.COMPROMISE else standing.missing,
    )


def _signed(one: Signed) -> m.Signature:
    return m.Signature(one.signer, one.signed_at)


def _signer(one: Enrolment) -> m.Signer:
    return m.Signer(one.signer.name, one.signer.role.value, one.enrolled_at, one.removed_at)


def _policy(policy: Any) -> m.Policy:
    return m.Policy(
        digest=policy.policy_hash.hex(),
        grants=[
            m.Grant(
                each.name,
                each.caller,
                each.operation,
                tuple(each.domains),
                each.to,
                tuple(kind.value for kind in map(Kind.of_wire, each.kinds) if kind),
            )
            for each in policy.grants
        ],
        budgets={each.caller: (each.per_day, each.per_year) for each in policy.budgets},
        plain_doors=tuple(policy.plain_doors),
        rotate_after_days=policy.rotate_after_days,
        backups_kept_days=policy.backups_kept_days,
    )


def _run(channel: grpc.Channel) -> m.Run | None:
    try:
        run = LinkageClient(channel).get()
    except ConflictError:  # there has been none
        return None
    return m.Run(
        run_id=run.run_id,
        state=run.state,
        reason=run.reason,
        reference_date=run.reference_date.isoformat(),
        year=run.year,
        outcomes=[(table.table_id, table.outcome) for table in run.tables],
    )
