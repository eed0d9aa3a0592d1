"""Killed at any step and opened again: an accepted delivery is there exactly once, any other not at all.

A kill is an exception that nothing catches, raised before or after each write of a table,
each purge and each statement to the database. What the process had in memory is lost.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from linker.intake.intake import Intake
from linker.intake.retention import expire
from linker.linkage.conversion import convert_all
from linker.store.delta import DeltaTables
from linker.store.snapshots import Snapshots
from linker.store.state import DELIVERIES, DeliveryState
from linker.store.tables import IDENTITIES, DeliveryKey, facts, quarantine
from servicekit.audit import AuditLog
from tests.unit import linker_fixtures as given


class KilledError(BaseException):
    """The process is gone."""


class Killer:
    """Kills at the n-th step; counts the steps."""

    def __init__(self, at: int | None = None) -> None:
        self.steps, self.at = 0, at

    def step(self) -> None:
        """Note a step."""
        self.steps += 1
        if self.steps - 1 == self.at:
            raise KilledError


class MortalTables(DeltaTables):
    """Delta tables in a process that may be killed around each call."""

    def __init__(self, root: Path, killer: Killer) -> None:
        super().__init__(root)
        self.killer = killer

    def write(
        self,
        table: str,
        base: int | None,
        *,
        remove: Sequence[DeliveryKey] = (),
        replace: bool = False,
        append: pl.LazyFrame | None = None,
    ) -> int:
        self.killer.step()
        version = super().write(table, base, remove=remove, replace=replace, append=append)
        self.killer.step()
        return version

    def purge(self, table: str, version: int | None) -> int:
        self.killer.step()
        return super().purge(table, version)


def mortal(folder: Path, killer: Killer) -> tuple[Snapshots, Intake]:
    """Open store and intake, and let the killer count from then on."""
    tables = MortalTables(folder / "store", Killer())
    store = given.store(folder, tables)
    intake = given.intake(store, folder)
    tables.killer = killer
    sa.event.listen(store.engine, "before_cursor_execute", lambda *_: killer.step())
    return store, intake


PARTS = given.delivery("postings", given.postings("a"), given.postings("b"), source="prisme")
OLD = given.delivery("postings", given.postings("c"), source="prisme")
PAYERS = given.payer_encodings({"p1": given.ANNE, "p2": given.CARL})
ENCODINGS = given.delivery("payer_encodings", PAYERS, source="prisme")


def deliver(_: Snapshots, intake: Intake) -> None:
    intake.deliver("prisme", given.ALL, iter(PARTS))


def convert(store: Snapshots, _: Intake) -> None:
    convert_all(store, given.LocalConverter(), "familie", lambda *_: None)


def withdraw(_: Snapshots, intake: Intake) -> None:
    intake.withdraw("prisme", OLD[0].delivery_id)  # type: ignore[union-attr]


def replace_converted(store: Snapshots, intake: Intake) -> None:
    deliver(store, intake)


def deliver_encodings(_: Snapshots, intake: Intake) -> None:
    intake.deliver("prisme", given.ALL, iter(ENCODINGS))


def expire_encodings(store: Snapshots, _: Intake) -> None:
    expire(store, 0, AuditLog(store.engine))


def seen(store: Snapshots) -> dict[str, list[bytes]]:
    """Return the pseudonyms in quarantine, those of the persons in facts, and the records that are encoded."""
    with store.pin() as pinned:
        waiting = pinned.scan(quarantine("postings")).collect()
        rows = pinned.scan(facts("postings")).collect()
        identities = pinned.scan(IDENTITIES).collect()
        encoded = [pinned.scan(table("payer_encodings")).collect() for table in (quarantine, facts)]
    assert identities["id"].is_unique().all()
    assert identities["pseudonym"].is_unique().all()
    linked = rows.join(identities, left_on="person_id", right_on="id", how="left")
    records = [record for rows in encoded for record in rows["encoding_id"]]
    return stands(sorted(waiting["person"]), sorted(linked["pseudonym"]), sorted(records))


def stands(waiting: list[bytes], linked: list[bytes], encoded: list[str] | None = None) -> dict[str, list[bytes]]:
    """Return what `seen` does."""
    return {"quarantine": waiting, "facts": linked, "encoded": [record.encode() for record in encoded or []]}


def recorded(store: Snapshots) -> bool:
    """Tell whether the audit log has just the deliveries that were accepted, withdrawn and expired, each once."""
    log: dict[str, list[str]] = {"delivery accepted": [], "delivery withdrawn": [], "delivery expired": []}
    for entry in AuditLog(store.engine).entries():
        log[entry["rpc"]].append(entry["subject"].rpartition("/")[2])
    with store.engine.connect() as connection:
        known = connection.execute(sa.select(DELIVERIES.c.delivery_id, DELIVERIES.c.accepted_at, DELIVERIES.c.state))
        rows = known.all()
    accepted = [row.delivery_id for row in rows if row.accepted_at is not None]
    gone = {state: [row.delivery_id for row in rows if row.state == state] for state in DeliveryState}
    left = [gone[DeliveryState.WITHDRAWN], gone[DeliveryState.EXPIRED]]
    told = [log["delivery withdrawn"], log["delivery expired"]]
    return sorted(log["delivery accepted"]) == sorted(accepted) and told == left


def own(*names: str) -> list[bytes]:
    return sorted(given.element(name, domain="source/prisme") for name in names)


def linked(*names: str) -> list[bytes]:
    return sorted(given.element(name, domain="linkage/familie") for name in names)


Step = Callable[[Snapshots, Intake], None]
NOTHING: list[bytes] = []
# case: (what came before, the step that is killed, before and after it)
CASES: dict[str, tuple[list[Step], Step, dict[str, list[bytes]], dict[str, list[bytes]]]] = {
    "a delivery": ([], deliver, stands([], []), stands(own("a", "b"), [])),
    "a conversion": ([deliver], convert, stands(own("a", "b"), []), stands([], linked("a", "b"))),
    "a replacement of converted rows": (
        [lambda _, intake: void(intake.deliver("prisme", given.ALL, iter(OLD))), convert],
        replace_converted,
        stands([], linked("c")),
        stands(own("a", "b"), []),
    ),
    "a withdrawal": (
        [lambda _, intake: void(intake.deliver("prisme", given.ALL, iter(OLD)))],
        withdraw,
        stands(own("c"), []),
        stands([], []),
    ),
    "a delivery of encodings": ([], deliver_encodings, stands([], []), stands([], [], ["p1", "p2"])),
    "an expiry of encodings": ([deliver_encodings], expire_encodings, stands([], [], ["p1", "p2"]), stands([], [])),
    "an expiry of converted encodings": (
        [deliver_encodings, convert],
        expire_encodings,
        stands([], [], ["p1", "p2"]),
        stands([], []),
    ),
}


def void(_: object) -> None:
    """Drop a result."""


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_kill_at_any_step_leaves_all_or_nothing_and_the_retry_completes_it(name: str, tmp_path: Path) -> None:
    earlier, step, before, after = CASES[name]
    start = tmp_path / "start"
    start.mkdir()
    first = mortal(start, Killer())
    for done in earlier:
        done(*first)
    first[0].engine.dispose()
    survived, at, outcomes = False, 0, set()
    while not survived:
        folder = tmp_path / str(at)
        shutil.copytree(start, folder)
        killer = Killer()
        store, intake = mortal(folder, killer)
        killer.at = at
        try:
            step(store, intake)
            survived = True
        except KilledError:
            killer.at = None
        store.engine.dispose()
        store, intake = mortal(folder, Killer())
        found = seen(store)
        assert found in (before, after), f"killed at step {at}"
        assert recorded(store), f"killed at step {at}"
        outcomes.add(found == after)
        step(store, intake)
        assert seen(store) == after, f"killed at step {at}, then tried again"
        assert recorded(store), f"killed at step {at}, then tried again"
        store.engine.dispose()
        at += 1
    assert outcomes == {True, False}, "kills fell on both sides of the commit"
    assert at > 5
