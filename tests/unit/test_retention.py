"""Encodings go when their retention ends, off the disk as well; what was linked, answered or posted stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest

import linker
from kinlink.errors import UnavailableError
from linker.disclosure import policy as disclosure_policy
from linker.intake.intake import Intake
from linker.intake.retention import expire
from linker.linkage import policy as linkage_policy
from linker.linkage.conversion import convert_all
from linker.pipeline import LinkagePipeline
from linker.retention import looked_after
from linker.store import deliveries
from linker.store.family_tables import FamilyTables
from linker.store.releases import Releases
from linker.store.snapshots import Snapshots
from linker.store.state import DELIVERIES, DeliveryState, now
from linker.store.tables import facts, quarantine
from servicekit.audit import AuditLog
from servicekit.database import read
from servicekit.errors import ServiceError
from tests.unit import linker_fixtures as given

ROOT = Path(next(iter(linker.__path__)))
PERSONS = given.person_encodings({"anne": given.ANNE, "bo": given.BO})
PAYERS = given.payer_encodings({"r1": given.ANNE})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Snapshots]:
    made = given.store(tmp_path)
    yield made
    made.engine.dispose()


@pytest.fixture
def intake(store: Snapshots, tmp_path: Path) -> Intake:
    return given.intake(store, tmp_path)


def log(store: Snapshots) -> AuditLog:
    return AuditLog(store.engine)


def accepted(intake: Intake, dataset: str, source: str, period: str = "2014") -> str:
    rows = {"person_encodings": PERSONS, "payer_encodings": PAYERS, "review_answers": given.review_answers({"r1": "a"})}
    parts = given.delivery(dataset, rows[dataset], source=source, period=period)
    return intake.deliver(source, given.ALL, iter(parts)).delivery.header.delivery_id


def age(store: Snapshots, delivery_id: str, days: float) -> None:
    """Let a delivery have been accepted so many days ago."""
    with store.engine.begin() as connection:
        named = DELIVERIES.update().where(DELIVERIES.c.delivery_id == delivery_id)
        connection.execute(named.values(accepted_at=now() - timedelta(days=days)))


def states(store: Snapshots) -> dict[str, DeliveryState]:
    with read(store.engine) as connection:
        found = [each for state in DeliveryState for each in deliveries.in_state(connection, state)]
    return {each.header.delivery_id: each.state for each in found}


def on_disk(folder: Path) -> list[str]:
    return [str(path) for path in (folder / "store").glob("*/*_encodings/**/*.parquet")]


def test_encodings_older_than_the_policy_allows_are_deleted_in_one_snapshot(
    store: Snapshots, intake: Intake, tmp_path: Path
) -> None:
    converted = accepted(intake, "person_encodings", "folkeregister")
    convert_all(store, given.LocalConverter(), given.PURPOSE, lambda *_: None)
    waiting, young = (accepted(intake, "payer_encodings", "prisme", period) for period in ("2014-01", "2014-02"))
    answers = accepted(intake, "review_answers", "prisme")
    for delivery_id, days in ((converted, 31), (waiting, 30.1), (young, 29.9), (answers, 4000)):
        age(store, delivery_id, days)
    before = store.current().number
    assert on_disk(tmp_path)

    assert expire(store, 30, log(store)) == 2
    assert store.current().number == before + 1
    expired, kept = DeliveryState.EXPIRED, DeliveryState.ACCEPTED
    assert states(store) == {converted: expired, waiting: expired, young: kept, answers: kept}
    with store.pin() as pinned:
        left = {table: pinned.scan(table("payer_encodings")).collect()["delivery_id"] for table in (quarantine, facts)}
        assert pinned.scan(facts("person_encodings")).collect().is_empty()
        assert pinned.scan(quarantine("review_answers")).collect().height == 1
    assert (left[quarantine].to_list(), left[facts].to_list()) == ([young], [])
    assert [path for path in on_disk(tmp_path) if young not in path] == []
    entries = [entry for entry in log(store).entries() if entry["rpc"] == "delivery expired"]
    assert sorted((entry["subject"], entry["count"]) for entry in entries) == [
        (f"folkeregister/person_encodings/2014/{converted}", 2),
        (f"prisme/payer_encodings/2014-01/{waiting}", 1),
    ]

    assert expire(store, 30, log(store)) == 0
    assert store.current().number == before + 1


def test_encodings_stay_on_disk_while_they_are_read_and_go_after_that(
    store: Snapshots, intake: Intake, tmp_path: Path
) -> None:
    accepted(intake, "payer_encodings", "prisme")
    with store.pin() as pinned:
        assert expire(store, 0, log(store)) == 1
        assert pinned.scan(quarantine("payer_encodings")).collect()["encoding_id"].to_list() == ["r1"]
    assert on_disk(tmp_path)
    store.purge()
    assert on_disk(tmp_path) == []


def test_an_expired_delivery_is_not_withdrawn_and_its_place_is_free(store: Snapshots, intake: Intake) -> None:
    parts = given.delivery("payer_encodings", PAYERS, source="prisme")
    first = intake.deliver("prisme", given.ALL, iter(parts)).delivery.header.delivery_id
    expire(store, 0, log(store))
    with pytest.raises(ServiceError, match="this one is expired") as error:
        intake.withdraw("prisme", first)
    assert error.value.reason == "DELIVERY_NOT_ACCEPTED"
    assert intake.deliver("prisme", given.ALL, iter(parts)).delivery.state == DeliveryState.EXPIRED
    again = given.delivery("payer_encodings", PAYERS, source="prisme")
    receipt = intake.deliver("prisme", given.ALL, iter(again))
    assert (receipt.delivery.state, receipt.replaced) == (DeliveryState.ACCEPTED, "")
    assert states(store)[first] == DeliveryState.REPLACED  # and so are the links that were made from it


def test_a_run_begins_by_deleting_what_is_due(store: Snapshots, intake: Intake) -> None:
    """Whatever becomes of the run: here the pseudonymizer is away."""

    @contextmanager
    def away() -> Iterator[given.LocalConverter]:
        yield given.LocalConverter(down_after=0)

    pipeline = LinkagePipeline(
        store,
        Releases(store.engine),
        FamilyTables(store.engine),
        log(store),
        connect=away,
        registry=[],
        policy=disclosure_policy.parse((ROOT / "disclosure.toml").read_bytes()),
        linkage=replace(linkage_policy.load(ROOT / "linkage.toml"), encodings_kept_days=10),
        purpose=given.PURPOSE,
        municipality=101,
    )
    due, young = (accepted(intake, "person_encodings", "folkeregister", period) for period in ("2014-01", "2014-02"))
    age(store, due, 10.1)
    with pytest.raises(UnavailableError):
        pipeline(date(2015, 1, 1), 2014, 12, lambda *_: None)
    assert states(store) == {due: DeliveryState.EXPIRED, young: DeliveryState.ACCEPTED}


def test_a_running_service_deletes_what_becomes_due(store: Snapshots, intake: Intake) -> None:
    delivery_id = accepted(intake, "payer_encodings", "prisme")
    with looked_after([partial(expire, store, 30, log(store))], every_s=0.01):
        assert states(store)[delivery_id] is DeliveryState.ACCEPTED
        age(store, delivery_id, 31)
        deadline = time.monotonic() + 60
        while states(store)[delivery_id] is DeliveryState.ACCEPTED and time.monotonic() < deadline:
            threading.Event().wait(0.01)
    assert states(store)[delivery_id] is DeliveryState.EXPIRED
