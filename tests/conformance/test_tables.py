"""The contract of `linker.store.tables.Tables`, run over every adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from linker import frames
from linker.store.delta import DeltaTables
from linker.store.memory import MemoryTables
from linker.store.tables import IDENTITIES, SCHEMAS, Tables, facts, quarantine

ALIASES = facts("aliases")

ADAPTERS: dict[str, Callable[[Path], Tables]] = {
    "memory": lambda _: MemoryTables(),
    "delta": lambda folder: DeltaTables(folder / "store"),
}


@pytest.fixture(params=sorted(ADAPTERS))
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Tables:
    return ADAPTERS[request.param](tmp_path)


def rows(*ids: int, source: str = "folkeregister", delivery: str = "d1") -> pl.LazyFrame:
    return pl.LazyFrame(
        {
            "former_id": ids,
            "current_id": ids,
            "source": [source] * len(ids),
            "delivery_id": [delivery] * len(ids),
        },
        schema=SCHEMAS[ALIASES],
    )


def ids(tables: Tables, version: int | None) -> list[int]:
    return sorted(tables.scan(ALIASES, version).collect()["former_id"])


def test_scan_returns_no_rows_with_the_schema_when_never_written(tables: Tables) -> None:
    assert tables.scan(ALIASES, None).collect().is_empty()
    assert tables.scan(ALIASES, None).collect_schema() == SCHEMAS[ALIASES]


def test_write_appends_to_the_base_version(tables: Tables) -> None:
    first = tables.write(ALIASES, None, append=rows(1, 2))
    second = tables.write(ALIASES, first, append=rows(3, delivery="d2"))
    assert ids(tables, first) == [1, 2]
    assert ids(tables, second) == [1, 2, 3]


@pytest.mark.parametrize("table", sorted(SCHEMAS))
def test_scan_returns_the_schema_of_every_table_when_empty(tables: Tables, table: str) -> None:
    version = tables.write(table, None, append=pl.LazyFrame(schema=SCHEMAS[table]))
    assert tables.scan(table, version).collect().schema == SCHEMAS[table]


def test_write_removes_just_the_named_deliveries(tables: Tables) -> None:
    version = tables.write(ALIASES, None, append=rows(1, delivery="d1"))
    version = tables.write(ALIASES, version, append=rows(2, delivery="d2"))
    version = tables.write(ALIASES, version, append=rows(3, source="o'dd", delivery="d1"))
    version = tables.write(
        ALIASES, version, remove=[("o'dd", "d1"), ("folkeregister", "d2")], append=rows(4, delivery="d3")
    )
    assert ids(tables, version) == [1, 4]


def test_write_discards_what_was_written_after_its_base(tables: Tables) -> None:
    base = tables.write(ALIASES, None, append=rows(1))
    tables.write(ALIASES, base, append=rows(2))  # a writer that died before its snapshot
    again = tables.write(ALIASES, base, append=rows(3))
    assert ids(tables, again) == [1, 3]


def test_write_discards_everything_when_no_version_was_ever_named(tables: Tables) -> None:
    tables.write(ALIASES, None, append=rows(1))
    version = tables.write(ALIASES, None, append=rows(2))
    assert ids(tables, version) == [2]


def test_purge_keeps_the_version_and_later_writes_work(tables: Tables) -> None:
    first = tables.write(ALIASES, None, append=rows(1))
    second = tables.write(ALIASES, first, remove=[("folkeregister", "d1")], append=rows(2, delivery="d2"))
    tables.write(ALIASES, second, append=rows(9))  # never named
    assert tables.purge(ALIASES, second) >= 1
    assert tables.purge(ALIASES, second) == 0
    assert ids(tables, second) == [2]
    assert ids(tables, tables.write(ALIASES, second, append=rows(3))) == [2, 3]


def test_write_refuses_rows_of_another_schema(tables: Tables) -> None:
    with pytest.raises(frames.SchemaError, match="current_id"):
        tables.write(ALIASES, None, append=rows(1).drop("current_id"))


def test_binary_lists_nulls_and_dates_survive(tables: Tables) -> None:
    identities = pl.DataFrame(
        {
            "id": [0, 2**31 - 1],
            "kind": ["cpr", "replacement"],
            "source": [None, "ky"],
            "pseudonym": [b"\x00" * 32, b"\xff" * 32],
            "key_version": [1, 2],
        },
        schema=SCHEMAS[IDENTITIES],
    )
    version = tables.write(IDENTITIES, None, append=identities.lazy())
    assert tables.scan(IDENTITIES, version).sort("id").collect().equals(identities)

    catalogue = pl.DataFrame(
        {
            "service": ["a", "b"],
            "name_da": ["æøå", "b"],
            "department": ["SOF"] * 2,
            "type": ["offer"] * 2,
            "area": ["special", None],
            "counts": [True, False],
            "cost_basis": ["spell"] * 2,
            "flags": [["su", "job_status"], []],
            "legal_code": [None, "SEL § 52"],
            "valid_from": [date(2010, 1, 1)] * 2,
            "valid_to": [None, date(2020, 1, 1)],
            "source": ["prisme"] * 2,
            "delivery_id": ["d"] * 2,
        },
        schema=SCHEMAS[quarantine("catalogue")],
    )
    version = tables.write(quarantine("catalogue"), None, append=catalogue.lazy())
    assert tables.scan(quarantine("catalogue"), version).sort("service").collect().equals(catalogue)


def test_lists_of_encodings_survive_with_their_nulls_and_go_with_their_delivery(tables: Tables) -> None:
    table = facts("payer_encodings")
    full, none = [b"\x00" * 32, None, b"\xff" * 64], [None, None, None]
    rows = pl.DataFrame(
        {
            "encoding_id": ["a", "b", "c", "d"],
            "fields": [full, none, full, none],
            "tokens": [[b"\x00" * 8, b"\xff" * 8], [], [b"12345678"], []],
            "source": ["prisme"] * 4,
            "delivery_id": ["d1", "d1", "d2", "d2"],
        },
        schema=SCHEMAS[table],
    )
    first, second = rows.head(2), rows.tail(2)
    version = tables.write(table, None, append=first.lazy())
    version = tables.write(table, version, append=second.lazy())
    assert tables.scan(table, version).sort("encoding_id").collect().equals(rows)
    version = tables.write(table, version, remove=[("prisme", "d1")])
    assert tables.scan(table, version).sort("encoding_id").collect().equals(second)
    tables.purge(table, version)
    again = tables.write(table, version, append=first.lazy())
    assert tables.scan(table, again).sort("encoding_id").collect().equals(rows)


def test_no_statistics_of_pseudonyms_or_encodings_are_kept(tmp_path: Path) -> None:
    """The least and the greatest of a column are values of it, in a file's footer or in the log of the table."""
    table = quarantine("person_encodings")
    row = {"person": b"\x17" * 32, "fields": [b"\x18" * 32], "tokens": [b"\x19" * 8], "source": "p", "delivery_id": "d"}
    DeltaTables(tmp_path).write(table, None, append=pl.LazyFrame([row], schema=SCHEMAS[table]))
    [file] = (tmp_path / table).rglob("*.parquet")
    group = pq.read_metadata(file).row_group(0)
    assert [group.column(at).is_stats_set for at in range(group.num_columns)] == [False] * 3
    entries = (tmp_path / table / "_delta_log").glob("*.json")
    actions = [json.loads(line) for entry in entries for line in entry.read_text().splitlines()]
    stats = [json.loads(action["add"]["stats"]) for action in actions if "add" in action]
    assert [(each["numRecords"], each["minValues"], each["maxValues"]) for each in stats] == [(1, {}, {})]


def test_replace_leaves_the_rows_of_append_alone_which_may_come_from_the_base(tables: Tables) -> None:
    def identities(*ids: int) -> pl.LazyFrame:
        row = {"kind": "cpr", "source": None, "pseudonym": b"\1" * 32, "key_version": 1}
        return pl.LazyFrame([{"id": number, **row} for number in ids], schema=SCHEMAS[IDENTITIES])

    first = tables.write(IDENTITIES, None, append=identities(1, 2, 3))
    rewritten = tables.scan(IDENTITIES, first).with_columns(pl.lit(2, dtype=pl.UInt32).alias("key_version"))
    second = tables.write(IDENTITIES, first, replace=True, append=rewritten)
    assert tables.scan(IDENTITIES, second).collect()["key_version"].to_list() == [2, 2, 2]
    assert tables.scan(IDENTITIES, first).collect()["key_version"].to_list() == [1, 1, 1]
    emptied = tables.write(IDENTITIES, second, replace=True)
    assert tables.scan(IDENTITIES, emptied).collect().is_empty()
    tables.purge(IDENTITIES, emptied)
    third = tables.write(IDENTITIES, emptied, append=identities(4))
    assert tables.scan(IDENTITIES, third).collect()["id"].to_list() == [4]
