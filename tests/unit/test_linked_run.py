"""Does a whole run count what is linked by encodings as it counts what has a number, and nothing twice?

The town of `test_pipeline`, whose people have names and addresses; part of their spending in BIF and SOF stands under
the payer's name alone.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linker import frames
from linker.linkage.links import applied
from linker.store.runs import Run
from linker.store.tables import LINKS
from linker.store.tables import facts as stored
from linker.tables.coverage import coverage
from tests import payer_town
from tests.payer_town import Rates
from tests.unit import linkage_fixtures as encoded
from tests.unit.family_rows import facts
from tests.unit.test_pipeline import CHILD, FAMILIES, REGISTRY, Linker, outcomes, town, values

D = datetime.date
RECORDS = 260
RATES = Rates(outside=0.1, moved=0.04, misspelt=0.05, missing=0.03, swapped=0.01)
PEOPLE = [*range(1, FAMILIES + 1), *range(CHILD + 1, CHILD + FAMILIES + 1)]


@pytest.fixture
def linker(tmp_path: Path) -> Iterator[Linker]:
    made = Linker(tmp_path)
    yield made
    made.store.engine.dispose()


def people() -> encoded.EncodedTown:
    """Return encodings of the town's people and of the records: everybody of the register is one of the town."""
    made = payer_town.town(2 * FAMILIES + 40, RECORDS, 5, RATES)
    names = dict(zip(made.persons["record"].to_list(), PEOPLE, strict=False))
    known = made.persons.filter(pl.col("record").is_in(list(names)))
    persons = encoded.encodings(known).select(
        pl.col("record").replace_strict(names, return_dtype=pl.UInt32).alias("person_id"), "fields", "tokens"
    )
    truth = {record: names.get(person or "") for record, person in made.truth.iter_rows()}
    return encoded.EncodedTown(persons, encoded.encodings(made.records).rename({"record": "encoding_id"}), truth)


def postings(records: list[str]) -> list[dict[str, Any]]:
    """Return a posting a record: of a service that its payer's family may not have otherwise."""
    services = cycle(("BIF-SYGEDAGPENGE", "BIF-RESSOURCEFORLOEB", "SOF-CHILD"))
    kinds = cycle(({"person_kind": None}, {"person_kind": "replacement", "person_id": 70_000}))
    months = cycle(range(1, 13))
    return [
        {
            **kind,
            "encoding_id": record,
            "service": service,
            "event_month": D(2014, month, 1),
            "booked_month": D(2014, month, 1),
            "amount_ore": 400_000 + 1_000 * place,
        }
        for place, (record, service, kind, month) in enumerate(zip(records, services, kinds, months, strict=False))
    ]


def delivered(linker: Linker) -> dict[str, list[dict[str, Any]]]:
    """Put the town, its encodings and the records' postings into the store; return the rows of its facts."""
    rows, made = town(), people()
    rows["postings"] += postings(made.records["encoding_id"].to_list())
    linker.holds(rows)
    encoded.deliver(linker.store, "person_encodings", made.persons, source="folkeregister")
    encoded.deliver(linker.store, "payer_encodings", made.records)
    return rows


def linked(linker: Linker) -> dict[str, int]:
    with linker.store.pin() as pinned:
        links = pinned.scan(LINKS).filter(status="linked").collect()
    return dict(links.select("encoding_id", "person_id").iter_rows())


def tables(linker: Linker, run: Run) -> dict[str, Any]:
    """Return what each registered table but coverage shows."""
    assert set(outcomes(run).values()) == {"released"}
    periods = {table.table_id: table.period.label(2014, 12) for table in REGISTRY if table.table_id != "coverage"}
    return {table_id: values(linker.table(table_id, period)) for table_id, period in periods.items()}


def test_tables_are_those_of_postings_under_the_linked_persons_numbers(linker: Linker, tmp_path: Path) -> None:
    """Services, target groups, spending: whether a payer was linked or had a number all along makes no difference."""
    rows = delivered(linker)
    found = tables(linker, linker.run(12))
    persons = linked(linker)
    assert len(persons) > RECORDS / 2
    (tmp_path / "other").mkdir()
    other = Linker(tmp_path / "other")
    known = [
        {**row, "person_id": persons[row["encoding_id"]], "person_kind": "cpr", "encoding_id": None}
        if row.get("encoding_id") in persons
        else row
        for row in rows["postings"]
    ]
    other.holds({**rows, "postings": known})
    assert found == tables(other, other.run(12))
    other.store.engine.dispose()


def test_the_control_tables_without_encodings_are_others(linker: Linker) -> None:
    """What has no number is in no family's spending."""
    delivered(linker)
    found = tables(linker, linker.run(12))
    for dataset in ("person_encodings", "payer_encodings"):
        with linker.store.change("test") as change:
            change.write(stored(dataset), replace=True, append=pl.LazyFrame(schema=frames.FACTS[dataset]))
            change.write(LINKS, replace=True, append=pl.LazyFrame(schema=frames.LINKS))
            with change.commit():
                pass
    linker.run(12)
    assert values(linker.table("spending_to_date", "2014M01-12")) != found["spending_to_date"]


def test_linked_and_unlinked_spending_is_what_was_delivered(linker: Linker) -> None:
    """To the øre, by method; and a second run says the same of it."""
    rows = delivered(linker)
    run = linker.run(12)
    with linker.store.pin() as pinned:
        posted = applied(pinned.scan(stored("postings")), pinned.scan(LINKS))
        none = pl.LazyFrame(schema=frames.FACTS["spells"])
        residents = pl.LazyFrame({"person_id": PEOPLE}, schema={"person_id": frames.ID})
        found = coverage(posted, none, residents, 2014).collect()
    sums = found.group_by("method").agg(pl.col("delivered_ore", "linked_ore").sum())
    by_method = {method: ores for method, *ores in sums.iter_rows()}
    encoded_ore = {row["encoding_id"]: row["amount_ore"] for row in rows["postings"] if row.get("encoding_id")}
    exact_ore = sum(abs(row["amount_ore"]) for row in rows["postings"] if not row.get("encoding_id"))
    assert by_method["exact"] == [exact_ore, exact_ore]
    of_linked = sum(encoded_ore[record] for record in linked(linker))
    assert by_method["encoded"] == [sum(encoded_ore.values()), of_linked]
    shares = {(row["source"], row["method"]): row["share_amount"] for row in run.coverage}
    assert shares["prisme", "encoded"] == pytest.approx(by_method["encoded"][1] / by_method["encoded"][0], abs=1e-3)
    total = run.quality[0]
    assert (total["source"], total["month"], total["records"]) == ("prisme", "", RECORDS)
    assert total["linked"] == len(linked(linker))
    thousands = [
        ore // 100_000 * 1_000 for ore in (exact_ore + sum(encoded_ore.values()), exact_ore, exact_ore + of_linked)
    ]
    assert [total["posted_kr"], total["identified_kr"], total["covered_kr"]] == thousands
    assert run.linkage_notes == []
    again = linker.run(12)
    assert again.quality == run.quality
    assert "its links stand" in again.linkage_notes[0]


def test_a_number_that_was_delivered_is_never_overridden(linker: Linker) -> None:
    """Whatever the record's encodings say: a posting under a CPR number stays with it."""
    rows, made = town(), people()
    records = made.records["encoding_id"].to_list()
    exact = [{**row, "person_id": 7, "person_kind": "cpr"} for row in postings(records)]
    linker.holds({**rows, "postings": [*rows["postings"], *exact]})
    encoded.deliver(linker.store, "person_encodings", made.persons, source="folkeregister")
    encoded.deliver(linker.store, "payer_encodings", made.records)
    linker.run(1)
    assert linked(linker)
    with linker.store.pin() as pinned:
        posted = applied(pinned.scan(stored("postings")), pinned.scan(LINKS)).collect()
    assert posted.filter(pl.col("encoding_id").is_not_null())["person_id"].unique().to_list() == [7]
    assert facts("postings", *rows["postings"]).collect().height + RECORDS == posted.height
