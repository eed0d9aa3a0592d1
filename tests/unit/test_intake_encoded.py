"""Deliveries of encodings and of answers about records in review."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from kinlink.delivery.datasets import DATASETS
from kinlink.encoding.schema import find
from linker.intake import chunks, rows
from linker.intake.header import ClaimedKey
from linker.intake.intake import Chunk, Finish, Intake, Part
from linker.linkage.conversion import convert_all
from linker.store import deliveries
from linker.store.delta import DeltaTables
from linker.store.memory import MemoryTables
from linker.store.snapshots import Snapshots
from linker.store.state import DeliveryState
from linker.store.tables import IDENTITIES, Tables, facts, quarantine
from servicekit.database import read
from servicekit.errors import ServiceError
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


def _rows(store: Snapshots, table: str) -> pl.DataFrame:
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
    assert _rows(store, quarantine("payer_encodings")).sort("encoding_id").equals(payers)

    convert_all(store, given.LocalConverter(), given.PURPOSE, lambda *_: None)
    assert _rows(store, facts("payer_encodings")).sort("encoding_id").equals(payers)
    known = _rows(store, facts("person_encodings")).sort("person_id")
    assert known["person_id"].to_list() == [0, 1]
    assert sorted(known["fields"].to_list()) == sorted(persons["fields"].to_list())
    assert sorted(_rows(store, facts("review_answers")).rows()) == [("r2", _id_of(store, "bo")), ("r3", None)]
    assert _rows(store, quarantine("person_encodings")).is_empty()


def _id_of(store: Snapshots, name: str) -> int:
    domain = f"linkage/{given.PURPOSE}"
    with store.pin() as pinned:
        found = pinned.scan(IDENTITIES).filter(pl.col("pseudonym") == given.element(name, domain=domain))
        return int(found.select("id").collect().item())


# What is refused


ONE = given.payer_encodings({"r1": given.ANNE, "r2": given.BO})
N_RULES = len(given.SCHEMA.tokens)
FIRST, *_, LAST = given.SCHEMA.fields
EACH = f"each of the {len(given.SCHEMA.fields)} fields"


def fields(change: Callable[[list[bytes | None]], list[bytes | None] | None]) -> pl.DataFrame:
    """Return two records, the second with other fields."""
    return ONE.with_columns(pl.Series("fields", [ONE["fields"][0].to_list(), change(ONE["fields"][1].to_list())]))


def tokens(*second: bytes | None) -> pl.DataFrame:
    """Return two records, the second with other tokens."""
    return ONE.with_columns(pl.Series("tokens", [ONE["tokens"][0].to_list(), list(second)], dtype=pl.List(pl.Binary)))


def ids(*values: str | None) -> pl.DataFrame:
    return ONE.with_columns(pl.Series("encoding_id", values, dtype=pl.String))


def payers(rows: pl.DataFrame = ONE, **header: Any) -> list[Part]:
    return given.delivery("payer_encodings", rows, source="prisme", **header)


def postings(**columns: Any) -> list[Part]:
    return given.delivery("postings", given.postings("a", **columns), source="prisme")


def key(domain: str = "linkage/familie", kind: str = "encoding", version: int = 1) -> ClaimedKey:
    return ClaimedKey(domain, kind, version)


OTHER_VERSION = given.SCHEMA.id.partition(".")[0] + ".0123456789abcdef"
REFUSED: dict[str, tuple[Callable[[], list[Part]], str, str, str]] = {
    # what comes: (parts, reason, the violation's field or "", what the message says)
    "no schema": (lambda: payers(schema_id=""), "SCHEMA_UNKNOWN", "header.schema_id", given.SCHEMA.id),
    "unknown schema": (lambda: payers(schema_id="x.1"), "SCHEMA_UNKNOWN", "header.schema_id", given.SCHEMA.id),
    "other version": (lambda: payers(schema_id=OTHER_VERSION), "SCHEMA_UNKNOWN", "header.schema_id", given.SCHEMA.id),
    "name of the schema alone": (
        lambda: payers(schema_id="dk-person-1"), "SCHEMA_UNKNOWN", "header.schema_id", given.SCHEMA.id,
    ),
    "another schema than encoded under": (
        lambda: payers(schema_id=find("febrl-1").id), "ROWS_INVALID", "fields[0]", "expected entry",
    ),
    "schema of plain postings": (
        lambda: [replace(postings()[0], schema_id=given.SCHEMA.id)], "HEADER_INVALID", "header.schema_id", "",  # type: ignore[type-var]
    ),
    "no encoding key": (lambda: payers(keys=[]), "HEADER_INVALID", "header.keys", "kind encoding"),
    "encoding key twice": (lambda: payers(keys=[key(), key()]), "HEADER_INVALID", "header.keys[1].kind", ""),
    "encoding key version 0": (lambda: payers(keys=[key(version=0)]), "HEADER_INVALID", "header.keys[0].version", ""),
    "encoding key of postings": (
        lambda: [replace(postings()[0], keys=[key()])], "HEADER_INVALID", "header.keys[0].kind", "",  # type: ignore[type-var]
    ),
    "key of another purpose": (
        lambda: payers(keys=[key("linkage/andet")]), "KEY_PURPOSE_NOT_OWN", "", "linkage/familie",
    ),
    "key of the source's own domain": (
        lambda: payers(keys=[key("source/prisme")]), "KEY_PURPOSE_NOT_OWN", "", "linkage/familie",
    ),
    "pseudonyms under the purpose's key": (
        lambda: given.delivery(
            "review_answers", given.review_answers({"r": "a"}), source="prisme", keys=[key(kind="cpr")]
        ),
        "KEY_DOMAIN_NOT_OWN", "", "source/prisme",
    ),
    "key version unknown": (lambda: payers(keys=[key(version=9)]), "KEY_VERSION_UNKNOWN", "", "does not exist"),
    "key version replaced": (
        lambda: payers(keys=[key(version=2)]), "KEY_VERSION_INACTIVE", "", "encode and deliver again",
    ),
    "fewer fields": (lambda: payers(fields(lambda has: has[:-1])), "ROWS_INVALID", "fields[1]", EACH),
    "more fields": (lambda: payers(fields(lambda has: [*has, None])), "ROWS_INVALID", "fields[1]", EACH),
    "no fields": (lambda: payers(fields(lambda _: [])), "ROWS_INVALID", "fields[1]", EACH),
    "fields null": (lambda: payers(fields(lambda _: None)), "ROWS_INVALID", "fields[1]", "a value"),
    "short filter": (
        lambda: payers(fields(lambda has: [has[0][:-1], *has[1:]])),  # type: ignore[index]
        "ROWS_INVALID", "fields[1]", f"entry 0 ({FIRST.name}) of {FIRST.n_bytes} bytes, or null",
    ),
    "empty filter for a missing value": (
        lambda: payers(fields(lambda has: [*has[:-1], b""])),
        "ROWS_INVALID", "fields[1]", f"({LAST.name}) of {LAST.n_bytes} bytes",
    ),
    "filters of other fields": (
        lambda: payers(fields(lambda has: has[::-1])),
        "ROWS_INVALID", "fields[1]", f"({FIRST.name}) of {FIRST.n_bytes} bytes",
    ),
    "short token": (lambda: payers(tokens(b"1234567")), "ROWS_INVALID", "tokens[1]", "tokens of 8 bytes"),
    "long token": (lambda: payers(tokens(b"123456789")), "ROWS_INVALID", "tokens[1]", "tokens of 8 bytes"),
    "token null": (lambda: payers(tokens(None)), "ROWS_INVALID", "tokens[1]", "tokens of 8 bytes"),
    "a token twice": (lambda: payers(tokens(b"12345678", b"12345678")), "ROWS_INVALID", "tokens[1]", "once"),
    "more tokens than rules": (
        lambda: payers(tokens(*(bytes([n]) * 8 for n in range(N_RULES + 1)))), "ROWS_INVALID", "tokens[1]", "at most",
    ),
    "id null": (lambda: payers(ids("r1", None)), "ROWS_INVALID", "encoding_id[1]", "a value"),
    "id empty": (lambda: payers(ids("r1", "")), "ROWS_INVALID", "encoding_id[1]", "a digit"),
    "id that is a name": (lambda: payers(ids("r1", "ANNE")), "ROWS_INVALID", "encoding_id[1]", "a digit"),
    "id of several words": (lambda: payers(ids("r1", "Vej 12")), "ROWS_INVALID", "encoding_id[1]", "no blank"),
    "id twice": (lambda: payers(ids("r1", "r1")), "ROWS_INVALID", "encoding_id[1]", "stands once"),
    "id twice, in two chunks": (
        lambda: given.delivery("payer_encodings", ONE, ONE.tail(1), source="prisme"),
        "ROWS_INVALID", "encoding_id[2]", "stands once",
    ),
    "id like a CPR number": (lambda: payers(ids("r1", "610180-0010")), "ROWS_INVALID", "encoding_id[1]", "CPR number"),
    "id too long": (lambda: payers(ids("r1", "x" * 501)), "ROWS_INVALID", "encoding_id[1]", "at most 500"),
    "answer twice": (
        lambda: given.delivery(
            "review_answers", given.review_answers({"r1": "a"}), given.review_answers({"r1": None}), source="prisme"
        ),
        "ROWS_INVALID", "encoding_id[1]", "stands once",
    ),
    "id of a posting on a CPR number": (
        lambda: postings(encoding_id="r1"), "ROWS_INVALID", "encoding_id[0]", "null, as the posting is on a CPR number",
    ),
    "person without key": (
        lambda: given.delivery(
            "person_encodings", given.person_encodings({"anne": given.ANNE}, source="prisme"), source="prisme", kinds=()
        ),
        "ROWS_INVALID", "person[0]", "no key of kind cpr",
    ),
    "person no element": (
        lambda: given.delivery(
            "person_encodings",
            given.person_encodings({"anne": given.ANNE}).with_columns(person=pl.lit(b"\xff" * 32)),
            source="prisme",
        ),
        "ROWS_INVALID", "person[0]", "canonical",
    ),
    "filters as views, which may overlap": (
        lambda: views(ONE), "CHUNK_INVALID", "arrow_ipc", "not as views",
    ),
    "filters as text": (
        lambda: payers(ONE.with_columns(fields=pl.lit(["a"]))), "CHUNK_INVALID", "arrow_ipc", "column fields",
    ),
    "filters in one": (
        lambda: payers(ONE.with_columns(fields=pl.lit(b"a"))), "CHUNK_INVALID", "arrow_ipc", "column fields",
    ),
    "filters column missing": (lambda: payers(ONE.drop("tokens")), "CHUNK_INVALID", "arrow_ipc", "missing: tokens"),
}  # fmt: skip


def patched(found: tuple[int, ...], offsets: tuple[int, ...]) -> bytes:
    """Return a chunk of two records of which offsets within `fields` or its values are others."""
    rows = pl.DataFrame(
        {"encoding_id": ["r1", "r2"], "fields": [[b"x" * 32] * 5] * 2, "tokens": [[]] * 2}, schema=ONE.schema
    )
    data = given.ipc(rows)
    good, bad = (struct.pack(f"<{len(numbers)}q", *numbers) for numbers in (found, offsets))
    assert data.count(good) == 1
    return data.replace(good, bad)


LISTS, VALUES = (0, 5, 10), (0, 32, 64, 96)


@pytest.mark.parametrize(
    ("found", "offsets"),
    [
        (LISTS, (0, 5, 1000)),
        (LISTS, (0, 10, 5)),
        (LISTS, (5, 10, 5)),
        (LISTS, (-5, 5, 10)),
        (VALUES, (0, 32, 1 << 40, 96)),
        (VALUES, (0, 64, 32, 96)),
    ],
)
def test_a_chunk_whose_lists_overlap_or_reach_beyond_it_is_not_read(
    found: tuple[int, ...], offsets: tuple[int, ...]
) -> None:
    dataset = DATASETS["payer_encodings"]
    assert chunks.read(patched(found, found), dataset).height == 2
    with pytest.raises(chunks.ChunkError, match="one complete Arrow IPC stream"):
        chunks.read(patched(found, offsets), dataset)


def test_a_chunk_of_empty_entries_takes_no_more_than_a_few_times_its_bytes() -> None:
    dataset, values = DATASETS["payer_encodings"], pa.array([[None] * 1_000_000], pa.list_(pa.binary()))
    table = pa.table({"encoding_id": ["r1"], "fields": values, "tokens": pa.array([[]], pa.list_(pa.binary()))})
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    frame = chunks.read(buffer.getvalue(), dataset)
    assert frame.rechunk().to_arrow(compat_level=pl.CompatLevel.newest()).nbytes < 5 * buffer.tell()
    [found, *_] = rows.faults(frame, dataset, kinds=(), first_row=0, text_length=500, schema=given.SCHEMA)
    assert (found.column, found.row) == ("fields", 0)


def views(rows: pl.DataFrame) -> list[Part]:
    data = given.ipc(rows, compat_level=pl.CompatLevel.newest())
    begin = replace(payers(rows)[0], digest=given.digest([data]))  # type: ignore[type-var]
    return [begin, Chunk(0, data), Finish()]


def states(domain: str) -> Mapping[tuple[str, int], bool] | None:
    """Return that the encoding key's version 1 is in use, and 2 is not any more."""
    return {("encoding", 1): True, ("encoding", 2): False} if domain == "linkage/familie" else None


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_deliver_refuses_and_keeps_nothing_when(name: str, tmp_path: Path) -> None:
    store = given.store(tmp_path, MemoryTables())
    parts, reason, where, said = REFUSED[name]
    with pytest.raises(ServiceError) as error:
        given.intake(store, tmp_path, key_states=states).deliver("prisme", given.ALL, iter(parts()))
    assert error.value.reason == reason
    violations = error.value.violations
    assert where in [violation.field for violation in violations] or not where
    assert said in " ".join([error.value.message, *(violation.description for violation in violations)])
    assert store.current().number == 0
    assert [path for path in (tmp_path / "staging").rglob("*") if path.is_file()] == []
    with read(store.engine) as connection:
        assert deliveries.in_state(connection, DeliveryState.RECEIVING) == []


def test_a_field_that_is_empty_everywhere_is_taken(store: Snapshots, intake: Intake) -> None:
    rows = given.payer_encodings({"r1": {"given_name": "Anne"}, "r2": {}, "r3": {"given_name": "Bo"}})
    assert rows.filter(pl.col("fields").list.eval(pl.element().is_not_null()).list.sum() > 1).is_empty()
    intake.deliver("prisme", given.ALL, iter(payers(rows)))
    assert rows.equals(_rows(store, quarantine("payer_encodings")).sort("encoding_id"))


def test_an_empty_period_needs_a_schema_and_no_key(intake: Intake) -> None:
    empty = given.delivery("payer_encodings", source="prisme", keys=[])
    header = intake.deliver("prisme", given.ALL, iter(empty)).delivery.header
    assert (header.rows, header.keys, header.schema_id) == (0, {}, given.SCHEMA.id)


def test_encodings_are_not_taken_while_nobody_can_say_whether_the_key_is_in_use(
    store: Snapshots, tmp_path: Path
) -> None:
    intake = given.intake(store, tmp_path, key_states=lambda _: None)
    with pytest.raises(ServiceError, match="try again") as error:
        intake.deliver("prisme", given.ALL, iter(payers()))
    assert error.value.reason == "PSEUDONYMIZER_UNAVAILABLE"
    assert intake.page("prisme", dataset=None, limit=10, before=None) == []


def test_encodings_that_began_under_a_key_replaced_meanwhile_are_forgotten(store: Snapshots, tmp_path: Path) -> None:
    in_use = {1: True}
    intake = given.intake(
        store, tmp_path, key_states=lambda _: {("encoding", version): used for version, used in in_use.items()}
    )
    parts = given.delivery("payer_encodings", ONE.head(1), ONE.tail(1), source="prisme")
    with pytest.raises(ConnectionError):
        intake.deliver("prisme", given.ALL, given.stream(parts[:2], broken=True))
    in_use |= {1: False, 2: True}
    begin = replace(parts[0], first_chunk=1)  # type: ignore[type-var]
    with pytest.raises(ServiceError, match="encode and deliver again") as error:
        intake.deliver("prisme", given.ALL, iter([begin, *parts[2:]]))  # type: ignore[list-item]
    assert error.value.reason == "KEY_VERSION_INACTIVE"
    assert intake.page("prisme", dataset=None, limit=10, before=None) == []
    assert store.current().number == 0


# What comes after


def test_encodings_are_replaced_and_withdrawn_like_any_other_rows(store: Snapshots, intake: Intake) -> None:
    first = intake.deliver("prisme", given.ALL, iter(payers())).delivery.key[1]
    convert_all(store, given.LocalConverter(), given.PURPOSE, lambda *_: None)
    second = intake.deliver("prisme", given.ALL, iter(payers(given.payer_encodings({"r9": given.CARL}))))
    assert second.replaced == first
    assert _rows(store, facts("payer_encodings")).is_empty()
    assert _rows(store, quarantine("payer_encodings"))["encoding_id"].to_list() == ["r9"]
    intake.withdraw("prisme", second.delivery.header.delivery_id)
    assert _rows(store, quarantine("payer_encodings")).is_empty()
