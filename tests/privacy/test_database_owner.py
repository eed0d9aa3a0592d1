"""What can somebody do who owns the database, and lets it change rows in the midst of the service's own transactions?

Such a person needs no forged signature: a trigger, or another session between two statements, writes what the service
would then seal as its own work. What is sealed is therefore what the service did, not what it finds.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, text

from kinlink.approvals import Verb, sign
from kinlink.change_document import Action, KeyVersionName
from kinlink.errors import KinlinkError
from kinlink.pseudonyms import Kind
from tests.privacy.signing_service import DOMAIN, SigningService, refused

_SINCE = "'2026-01-01T00:00:00+00:00'"
_ENROL = f"INSERT INTO signers VALUES (x'{{key}}', 'custodian/stranger', 'custodian', '', {_SINCE}, NULL)"
_FIRST = (KeyVersionName(DOMAIN, Kind.CPR, 1),)


def _execute(service: SigningService, *statements: str) -> None:
    with service.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def _enrolling(service: SigningService) -> str:
    return _ENROL.format(key=service.signer("custodian/stranger").public_key.hex())


@pytest.mark.parametrize("table", ["pseudonymisation_keys", "changes", "audit_entries"])
def test_a_trigger_enrols_nobody_while_the_service_seals_a_change(service: SigningService, table: str) -> None:
    change = service.change()
    service.propose(change)
    service.approve(change, "custodian/b")
    service.approve(change, "reviewer/r")
    act = "INSERT" if table == "audit_entries" else "UPDATE"
    once = "(SELECT count(*) FROM signers WHERE name = 'custodian/stranger') = 0"
    _execute(service, f"CREATE TRIGGER helper AFTER {act} ON {table} WHEN {once} BEGIN {_enrolling(service)}; END")
    assert refused(lambda: service.apply(change)).reason == "KEY_STORE_UNUSABLE"
    _execute(service, "DROP TRIGGER helper", "DELETE FROM signers WHERE name = 'custodian/stranger'")
    assert service.apply(change).state == "applied", "nothing was sealed, nothing is lost"


def test_a_trigger_puts_no_destroyed_key_back_while_the_service_seals_a_change(service: SigningService) -> None:
    service.carry_out(service.change())
    kept = "CREATE TABLE kept AS SELECT * FROM pseudonymisation_keys WHERE kind = 'cpr' AND version = 1"
    _execute(service, kept)
    service.carry_out(service.change(Action.DESTROY, keys=_FIRST, accept_loss=True))
    assert service.states()["cpr", 1] == "destroyed"
    back = "INSERT OR REPLACE INTO pseudonymisation_keys SELECT * FROM kept"
    _execute(
        service, f"CREATE TRIGGER helper AFTER INSERT ON pseudonymisation_keys WHEN NEW.version = 3 BEGIN {back}; END"
    )
    assert refused(lambda: service.client("custodian/a").create(DOMAIN, Kind.CPR)).reason == "KEY_STORE_UNUSABLE"
    assert service.states()["cpr", 1] == "destroyed"


@pytest.mark.parametrize("at", range(1, 8))
def test_who_appears_after_the_seal_was_proven_counts_for_nothing(service: SigningService, at: int) -> None:
    """As another session may on PostgreSQL: enrolled just before any one look of the service, and gone at the next."""
    change = service.change()
    service.propose(change)
    service.approve(change, "reviewer/r")
    forged = sign(service.keys["custodian/stranger"], Verb.APPROVE, "custodian/stranger", change.document())
    row = f"'{change.change_id}', 'custodian/stranger', x'{forged.hex()}', {_SINCE}"
    _execute(service, f"INSERT INTO approvals VALUES ({row})")
    looks = 0

    def lie(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        nonlocal looks
        if "FROM signers" not in statement:
            return
        looks += 1
        if looks == at:
            cursor.execute(_enrolling(service))
        elif looks > at:
            cursor.execute("DELETE FROM signers WHERE name = 'custodian/stranger'")

    event.listen(service.engine, "before_cursor_execute", lie)
    with pytest.raises(KinlinkError) as ended:
        service.apply(change)
    event.remove(service.engine, "before_cursor_execute", lie)
    assert ended.value.reason in ("APPROVALS_MISSING", "KEY_STORE_UNUSABLE")
    _execute(service, "DELETE FROM signers WHERE name = 'custodian/stranger'")
    assert service.states()["cpr", 1] == "active"
