"""What changed in the policy, in the log: at each start it is compared with the one that was logged last.

1. Each grant that was added or removed, and each budget that was added, removed or changed, is an entry; a grant
   that changed is one removed and one added. Then comes an entry with the hash of the file.
2. The comparison, its entries and what it is compared with the next time are one transaction.

So the log alone says who could do what at any time. It does not know keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Column, Connection, Engine, Integer, LargeBinary, MetaData, Table, delete, insert, select, text

from kinlink.change_document import canonical
from pseudonymizer.policy import Policy
from servicekit.audit import AuditEntry, AuditLog

_logged = Table(
    "policy_logged",
    MetaData(),
    Column("only", Integer, primary_key=True),
    Column("content", LargeBinary),
)
_LOCK: Final = 7_310_153  # any constant that no other advisory lock uses


def record(policy: Policy, engine: Engine, audit: AuditLog) -> None:
    """Log what changed since the last start; nothing when the file is the same.

    Raises:
        UnavailableError: AUDIT_UNAVAILABLE.
    """
    now = _content(policy)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        before = _before(connection)
        if now == before:
            return
        for entry in _entries(before, now):
            audit.append(entry, connection)
        connection.execute(delete(_logged))
        connection.execute(insert(_logged).values(only=1, content=canonical(now)))


def _content(policy: Policy) -> dict[str, Any]:
    grants = {
        grant.name: {
            "caller": grant.caller,
            "operation": grant.operation.value,
            "domains": list(grant.domains),
            "to": grant.to or "",
            "kinds": [kind.value for kind in grant.kinds],
        }
        for grant in policy.grants
    }
    budgets = {one.caller: {"per_day": one.per_day, "per_year": one.per_year} for one in policy.budgets}
    return {"sha256": policy.digest.hex(), "grants": grants, "budgets": budgets}


def _before(connection: Connection) -> dict[str, Any]:
    content = connection.execute(select(_logged.c.content)).scalar_one_or_none()
    none: dict[str, Any] = {"sha256": "", "grants": {}, "budgets": {}}
    return dict(json.loads(bytes(content))) if content else none


def _entries(before: dict[str, Any], now: dict[str, Any]) -> Iterator[AuditEntry]:
    for event, ours, theirs in (("removed", before, now), ("added", now, before)):
        for name, grant in ours["grants"].items():
            if theirs["grants"].get(name) != grant:
                yield _entry(f"policy.grant.{event}", grant["caller"], {"grant": name, **grant}, grant=name)
    for caller in sorted({*before["budgets"], *now["budgets"]}):
        old, new = before["budgets"].get(caller), now["budgets"].get(caller)
        if old != new:
            yield _entry("policy.budget.changed", caller, {"caller": caller, "before": old, "after": new})
    yield _entry("policy.loaded", "", {"sha256": now["sha256"]})


def _entry(event: str, subject: str, proof: dict[str, Any], grant: str = "") -> AuditEntry:
    return AuditEntry(event, "", "ok", subject=subject, grant=grant, evidence=canonical(proof).decode())
