"""The doors over a real state database, without gRPC: what must hold when something goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, text

from kinlink import ristretto255
from kinlink.pseudonyms import Kind, Suite
from pseudonymizer.doors import Doors
from pseudonymizer.keyset import KeyName
from pseudonymizer.ledger import Ledger
from pseudonymizer.policy import Policy
from servicekit import database
from servicekit.audit import AuditLog
from servicekit.budget import Budget
from servicekit.errors import DeniedError, ExhaustedError, ServiceError, UnavailableError
from servicekit.identity import Caller, Role
from tests.unit import key_fixtures as given

_SOURCE = "source/prisme"
_CALLER = Caller(f"spiffe://kinlink.test/{_SOURCE}", Role.SOURCE, "prisme")
_NAME = KeyName(_SOURCE, Kind.CPR, 0)
_TODAY = date(2026, 1, 2)
_ELEMENTS = ristretto255.hash_to_group([b"%d" % number for number in range(10)], b"test")
_POLICY = Policy.model_validate(
    {
        "domain": [{"name": _SOURCE, "kinds": ["cpr"]}],
        "grant": [
            {"name": operation, "caller": _SOURCE, "operation": operation, "domain": _SOURCE, "kinds": ["cpr"]}
            for operation in ("evaluate", "pseudonymise")
        ],
        "budget": [{"caller": _SOURCE, "per_day": 45, "per_year": 60}],
    }
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = database.engine(f"sqlite:///{tmp_path}/state.db")
    database.migrate(engine, "pseudonymizer")
    yield engine
    engine.dispose()


@pytest.fixture
def doors(engine: Engine) -> Iterator[Doors]:
    keys = given.keystore(engine, _POLICY)
    with ristretto255.new_pool() as pool:
        ledger = Ledger(engine, AuditLog(engine), lambda: _TODAY)
        yield Doors(_POLICY, keys, ledger, pool, max_elements=100)


def _evaluate(doors: Doors, elements: bytes = _ELEMENTS) -> bytes:
    return doors.evaluate(_CALLER, _NAME, Suite.KINLINK_V1.wire, elements).elements


def _execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def _outcomes(engine: Engine) -> list[tuple[str, str, int]]:
    entries = AuditLog(engine).entries()
    return [(e["outcome"], e["reason"], e["count"]) for e in entries if not e["rpc"].startswith("key.")]


def test_no_audit_entry_no_answer_and_no_budget_used(engine: Engine, doors: Doors) -> None:
    full = "CREATE TRIGGER full BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'full'); END"
    _execute(engine, full)
    with pytest.raises(UnavailableError) as refused:
        _evaluate(doors)
    assert refused.value.reason == "AUDIT_UNAVAILABLE"
    assert Budget(engine).used(_SOURCE, "2026-01-02") == 0
    _execute(engine, "DROP TRIGGER full")
    assert len(_evaluate(doors)) == len(_ELEMENTS)
    assert _outcomes(engine) == [("ok", "", 10)]


def test_no_budget_table_no_answer(engine: Engine, doors: Doors) -> None:
    _execute(engine, "DROP TABLE budget_use")
    with pytest.raises(UnavailableError):
        _evaluate(doors)
    assert _outcomes(engine) == [("refused", "BUDGET_UNAVAILABLE", 10)]


def test_a_bad_element_uses_no_budget(engine: Engine, doors: Doors) -> None:
    with pytest.raises(ServiceError):
        _evaluate(doors, _ELEMENTS + bytes(32))
    assert Budget(engine).used(_SOURCE, "2026-01-02") == 0
    assert _outcomes(engine) == [("refused", "ELEMENT_INVALID", 11)]


def test_messages_at_the_same_time_never_pass_the_budget_together(engine: Engine, doors: Doors) -> None:
    together = Barrier(8)

    def attempt(_: int) -> str:
        together.wait()
        try:
            _evaluate(doors)
        except ExhaustedError as error:
            return error.reason
        return "ok"

    with ThreadPoolExecutor(8) as pool:
        results = sorted(pool.map(attempt, range(8)))
    assert results == ["BUDGET_DAY"] * 4 + ["ok"] * 4
    assert Budget(engine).used(_SOURCE, "2026-01-02") == 40
    assert sorted(_outcomes(engine)) == [("ok", "", 10)] * 4 + [("refused", "BUDGET_DAY", 10)] * 4


def test_messages_over_the_element_limit_are_refused(engine: Engine, doors: Doors) -> None:
    with pytest.raises(ExhaustedError) as refused:
        _evaluate(doors, _ELEMENTS * 11)
    assert refused.value.reason == "BATCH_TOO_LARGE"
    assert refused.value.metadata == {"limit": "100"}


def test_the_plain_door_is_closed_unless_the_domain_opens_it_whatever_is_granted(engine: Engine, doors: Doors) -> None:
    with pytest.raises(DeniedError) as refused:
        doors.pseudonymise(_CALLER, _NAME, Suite.KINLINK_V1.wire, ["61018000"])
    assert refused.value.reason == "PLAIN_DOOR_CLOSED"
    assert _outcomes(engine) == [("refused", "PLAIN_DOOR_CLOSED", 1)]


def test_an_identifier_too_long_for_a_number_is_refused_unread(engine: Engine) -> None:
    """Normalising a million combining characters in the wrong order takes an hour, and holds every thread."""
    opened = _POLICY.domains[0].model_copy(update={"plain_door": True})
    with ristretto255.new_pool() as pool:
        ledger = Ledger(engine, AuditLog(engine), lambda: _TODAY)
        policy = _POLICY.model_copy(update={"domains": (opened,)})
        doors = Doors(policy, given.keystore(engine, policy), ledger, pool, max_elements=100)
        slow = "\u0345" * 500_000 + "\u0334" * 500_000
        with pytest.raises(ServiceError) as refused:
            doors.pseudonymise(_CALLER, _NAME, Suite.KINLINK_V1.wire, [slow])
    assert refused.value.reason == "IDENTIFIER_INVALID"
