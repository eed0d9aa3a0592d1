"""Deliveries of encodings and of answers about records in review."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from linker.intake.intake import Intake
from linker.linkage.conversion import convert_all
from linker.store.delta import DeltaTables
from linker.store.memory import MemoryTables
from linker.store.snapshots import Snapshots
from linker.store.tables import IDENTITIES, Tables, facts, quarantine
from tests.unit import linker_fixtures as given

PERSONS = {"anne": given.ANNE, "bo": given.BO}
PAYERS = {"r1": given.ANNE, "r2": {"family_name": "Prøvesen"}, "r3": {}}
ADAPTERS: dict[str, Callable[[Path], Tables]] = {
    "memory": lambda _: MemoryTables(),
    "delta": lambda folder: DeltaTables(folder / "store"),
}


@pytest.fixture(params=sorted(ADAPTERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Snapshots:
    return given.store(tmp_path, ADAPTERS[request.param](tmp_path))


@pytest.fixture
def intake(store: Snapshots, tmp_path: Path) -> Intake:
    return given.intake(store, tmp_path)


def rows(store: Snapshots, table: str) -> pl.DataFrame:
    with store.pin() as pinned:
        return pinned.scan(table).collect().drop("source", "delivery_id")


def test_encodings_and_answers_are_accepted_and_converted(store: Snapshots, intake: Intake) -> None:
    persons, payers = given.person_encodings(PERSONS), given.payer_encodings(PAYERS)
    answers = given.review_answers({"r2": "bo", "r3": None})
    register = given.delivery("person_encodings", persons, source="folkeregister")
    receipt = intake.deliver("folkeregister", given.ALL, iter(register))
    header = receipt.delivery.header
    assert (header.schema_id, header.keys) == (given.SCHEMA.id, {"cpr": 1, "encoding": 1})
    payments = given.delivery("payer_encodings", payers.head(1), payers.tail(2), source="prisme", suite=0)
    intake.deliver("prisme", given.ALL, iter(payments))
    intake.deliver("prisme", given.ALL, iter(given.delivery("review_answers", answers, source="prisme")))
    assert rows(store, quarantine("payer_encodings")).sort("encoding_id").equals(payers)

    convert_all(store, given.LocalConverter(), given.PURPOSE, lambda *_: None)
    assert rows(store, facts("payer_encodings")).sort("encoding_id").equals(payers)
    known = rows(store, facts("person_encodings")).sort("person_id")
    assert known["person_id"].to_list() == [0, 1]
    assert sorted(known["fields"].to_list()) == sorted(persons["fields"].to_list())
    assert sorted(rows(store, facts("review_answers")).rows()) == [("r2", _id_of(store, "bo")), ("r3", None)]
    assert rows(store, quarantine("person_encodings")).is_empty()


def _id_of(store: Snapshots, name: str) -> int:
    domain = f"linkage/{given.PURPOSE}"
    with store.pin() as pinned:
        found = pinned.scan(IDENTITIES).filter(pl.col("pseudonym") == given.element(name, domain=domain))
        return int(found.select("id").collect().item())
