"""What the log says of a policy that changes from start to start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pseudonymizer import policy_log
from pseudonymizer.policy import Policy
from servicekit.audit import AuditLog
from tests.unit import key_fixtures as given

_DOMAIN = "source/prisme"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = given.database_in(tmp_path)
    yield engine
    engine.dispose()


def _policy(*operations: str, per_day: int = 10, kinds: tuple[str, ...] = ("cpr",)) -> Policy:
    return Policy.model_validate(
        {
            "domain": [{"name": _DOMAIN, "kinds": ["cpr", "address"]}],
            "grant": [
                {"name": f"prisme {o}s", "caller": _DOMAIN, "operation": o, "domain": _DOMAIN, "kinds": kinds}
                for o in operations
            ],
            "budget": [{"caller": _DOMAIN, "per_day": per_day, "per_year": 20}],
        }
    )


def _started(engine: Engine, policy: Policy) -> list[tuple[str, str, str, dict[str, Any]]]:
    audit = AuditLog(engine)
    before = audit.size()
    policy_log.record(policy, engine, audit)
    new = audit.entries(before - 1)
    return [(e["rpc"], e["subject"], e["grant"], json.loads(e["evidence"])) for e in new]


def test_each_change_of_the_policy_is_an_entry(engine: Engine) -> None:
    first, second = _policy("evaluate"), _policy("evaluate", "rekey", per_day=15)
    evaluates = {
        "grant": "prisme evaluates",
        "caller": _DOMAIN,
        "operation": "evaluate",
        "domains": [_DOMAIN],
        "to": "",
        "kinds": ["cpr"],
    }
    budget = {"per_day": 10, "per_year": 20}
    assert _started(engine, first) == [
        ("policy.grant.added", _DOMAIN, "prisme evaluates", evaluates),
        ("policy.budget.changed", _DOMAIN, "", {"caller": _DOMAIN, "before": None, "after": budget}),
        ("policy.loaded", "", "", {"sha256": first.digest.hex()}),
    ]
    assert _started(engine, first) == []
    assert [(event, grant) for event, _, grant, _ in _started(engine, second)] == [
        ("policy.grant.added", "prisme rekeys"),
        ("policy.budget.changed", ""),
        ("policy.loaded", ""),
    ]
    assert [(event, grant) for event, _, grant, _ in _started(engine, _policy("rekey", per_day=15))] == [
        ("policy.grant.removed", "prisme evaluates"),
        ("policy.loaded", ""),
    ]
    wider = _started(engine, _policy("rekey", per_day=15, kinds=("cpr", "address")))
    assert [(event, proof.get("kinds")) for event, _, _, proof in wider] == [
        ("policy.grant.removed", ["cpr"]),
        ("policy.grant.added", ["cpr", "address"]),
        ("policy.loaded", None),
    ]
