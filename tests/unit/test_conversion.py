"""Delivered rows become facts exactly once, and their source pseudonyms are gone from disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kinlink.errors import ConflictError, UnavailableError
from kinlink.pseudonyms import Kind
from kinlink.types.v1.types_pb2 import KeyRef
from linker.frames import FACTS
from linker.intake.header import ClaimedKey
from linker.intake.intake import Intake
from linker.linkage.conversion import convert_all
from linker.store.snapshots import Snapshots
from linker.store.tables import IDENTITIES, facts, quarantine
from tests.unit import linker_fixtures as given

PURPOSE = "familie"


@pytest.fixture
def store(tmp_path: Path) -> Snapshots:
    return given.store(tmp_path)


@pytest.fixture
def intake(store: Snapshots, tmp_path: Path) -> Intake:
    return given.intake(store, tmp_path)


def deliver(
    intake: Intake, source: str, dataset: str, *frames: pl.DataFrame, kinds: Sequence[str] = (Kind.CPR,), **fields: Any
) -> str:
    parts = given.delivery(dataset, *frames, source=source, kinds=kinds, **fields)
    return intake.deliver(source, given.ALL, iter(parts)).delivery.header.delivery_id


def convert(store: Snapshots, converter: given.LocalConverter | None = None) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    convert_all(store, converter or given.LocalConverter(), PURPOSE, lambda done, total: seen.append((done, total)))
    return seen


def scan(store: Snapshots, table: str) -> pl.DataFrame:
    with store.pin() as pinned:
        return pinned.scan(table).collect()


def ids(store: Snapshots) -> dict[bytes, int]:
    """Return the id of each linkage pseudonym."""
    return dict(scan(store, IDENTITIES).select("pseudonym", "id").iter_rows())


def linkage(name: str, kind: Kind = Kind.CPR) -> bytes:
    return given.element(name, kind, f"linkage/{PURPOSE}")


def test_the_same_person_from_two_sources_gets_one_id(store: Snapshots, intake: Intake) -> None:
    deliver(intake, "folkeregister", "persons", given.persons("a", "b"))
    deliver(intake, "prisme", "postings", given.postings("b", "c", None))
    assert convert(store)[-1] == (5, 5)
    known = ids(store)
    assert set(known) == {linkage(name) for name in "abc"}
    assert sorted(known.values()) == [0, 1, 2]
    persons, postings = scan(store, facts("persons")), scan(store, facts("postings"))
    assert persons.schema == FACTS["persons"]
    assert postings.schema == FACTS["postings"]
    assert sorted(persons["person_id"]) == sorted([known[linkage("a")], known[linkage("b")]])
    assert set(postings["person_id"]) == {known[linkage("b")], known[linkage("c")], None}
    assert scan(store, quarantine("postings")).is_empty()


def test_a_replacement_number_links_within_its_source_only(store: Snapshots, intake: Intake) -> None:
    kinds = (Kind.CPR, Kind.REPLACEMENT)
    for period in ("2014-03", "2014"):
        rows = given.postings("r", source="ky", kind=Kind.REPLACEMENT)
        deliver(intake, "ky", "postings", rows, given.postings("r", source="ky"), kinds=kinds, period=period)
    deliver(intake, "dubu", "postings", given.postings("r", source="dubu", kind=Kind.REPLACEMENT), kinds=kinds)
    convert(store)
    identities = scan(store, IDENTITIES)
    assert sorted(identities.select("kind", "source").iter_rows()) == [
        ("cpr", None), ("replacement", "dubu"), ("replacement", "ky"),
    ]  # fmt: skip
    assert scan(store, facts("postings"))["person_id"].n_unique() == 3


def test_an_address_is_no_person(store: Snapshots, intake: Intake) -> None:
    address = given.element("road 1", Kind.ADDRESS, "source/folkeregister")
    rows = given.persons("a", "b", address=address, mother=given.element("m", domain="source/folkeregister"))
    deliver(intake, "folkeregister", "persons", rows, kinds=(Kind.CPR, Kind.ADDRESS))
    convert(store)
    persons = scan(store, facts("persons"))
    assert persons["address_id"].n_unique() == persons["mother_id"].n_unique() == 1
    assert ids(store)[linkage("road 1", Kind.ADDRESS)] == persons["address_id"][0]
    assert persons["father_id"].null_count() == persons["spouse_id"].null_count() == 2


def test_ids_stay_the_same_in_later_conversions(store: Snapshots, intake: Intake) -> None:
    deliver(intake, "prisme", "postings", given.postings("a", "b"))
    convert(store)
    first = ids(store)
    converter = given.LocalConverter()
    deliver(intake, "ky", "spells", kinds=())
    deliver(intake, "ky", "postings", given.postings("b", "z", source="ky"))
    convert(store, converter)
    assert first.items() <= ids(store).items()
    assert scan(store, IDENTITIES).height == 3
    assert converter.versions == [1]  # asked for the version that the identities stand under


def test_conversion_goes_on_where_it_stopped_when_the_pseudonymizer_was_away(store: Snapshots, intake: Intake) -> None:
    for period in ("2014-03", "2014-04", "2014"):
        deliver(intake, "prisme", "postings", given.postings(period), period=period)
    with pytest.raises(UnavailableError):
        convert(store, given.LocalConverter(down_after=1))
    assert scan(store, facts("postings")).height == 1
    again = given.LocalConverter()
    assert convert(store, again)[0] == (0, 2)
    assert again.calls == 2
    assert scan(store, facts("postings")).height == 3
    assert scan(store, facts("postings"))["person_id"].n_unique() == 3


def test_a_delivery_whose_keys_are_refused_is_named(store: Snapshots, intake: Intake) -> None:
    """It holds up every run until its source withdraws it, so the operator must learn whose it is."""

    class Refusing(given.LocalConverter):
        def convert(self, elements: bytes, source_key: KeyRef, *more: Any, **named: Any) -> tuple[bytes, KeyRef]:
            if source_key.version == 99:
                raise ConflictError("there is no such key version", "KEY_VERSION_UNKNOWN")
            return super().convert(elements, source_key, *more, **named)

    deliver(intake, "ky", "postings", given.postings("a", source="ky"))
    keys = [ClaimedKey("source/prisme", Kind.CPR, 99)]
    bad = deliver(intake, "prisme", "postings", given.postings("a"), keys=keys)
    with pytest.raises(ConflictError, match=f"delivery {bad} of prisme: there is no such key version") as refused:
        convert(store, Refusing())
    assert refused.value.reason == "KEY_VERSION_UNKNOWN"
    intake.withdraw("prisme", bad)
    convert(store, Refusing())
    assert len(ids(store)) == 1


@pytest.mark.parametrize("change", ["replaced", "withdrawn"])
def test_the_facts_of_a_converted_delivery_go_when_it_is(change: str, store: Snapshots, intake: Intake) -> None:
    deliver(intake, "prisme", "postings", given.postings("x"), period="2014-03")
    first = deliver(intake, "prisme", "postings", given.postings("a", "b"))
    convert(store)
    if change == "withdrawn":
        intake.withdraw("prisme", first)
    else:
        deliver(intake, "prisme", "postings", given.postings("c"))
    left = scan(store, facts("postings"))
    assert left.height == 1
    assert first not in set(left["delivery_id"])
    convert(store)
    assert scan(store, facts("postings")).height == (1 if change == "withdrawn" else 2)


def test_a_delivery_withdrawn_during_its_conversion_leaves_nothing(store: Snapshots, intake: Intake) -> None:
    delivery_id = deliver(intake, "prisme", "postings", given.postings("a"))

    class Meanwhile(given.LocalConverter):
        def convert(self, *args: object, **options: object) -> object:  # type: ignore[override]
            intake.withdraw("prisme", delivery_id)
            return super().convert(*args, **options)  # type: ignore[arg-type]

    convert(store, Meanwhile())
    assert scan(store, facts("postings")).is_empty()
    assert scan(store, IDENTITIES).is_empty()
    assert scan(store, quarantine("postings")).is_empty()


def test_no_file_holds_a_source_pseudonym_after_conversion(store: Snapshots, intake: Intake, tmp_path: Path) -> None:
    deliver(intake, "prisme", "postings", given.postings("a", "b"))
    mine = given.element("a", domain="source/prisme")

    def holders() -> list[Path]:
        folders = (tmp_path / "store", tmp_path / "staging")
        found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        return [path for path in found if mine in _contents(path)]

    assert holders()  # the search finds it while it is there
    convert(store)
    assert holders() == []


def _contents(path: Path) -> bytes:
    """Return the file's bytes, and of a Parquet file the values of its binary columns."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    frame = pl.read_parquet(path, hive_partitioning=False)
    return b"".join(v for name in frame.columns if frame[name].dtype == pl.Binary for v in frame[name].drop_nulls())
