"""Decide whether delivered rows keep their dataset's contract.

1. All checks are expressions over the whole frame; each answers "which rows break
   it", so a fault names column, row and expected form, never the value.
2. A pseudonym is 32 bytes here; that it is a group element is checked once for each
   distinct one (`elements`), as that is dear.
3. Text that looks like a CPR number is refused wherever it stands: the linker holds
   none. A source whose own ids look like one prefixes them. For the same reason an amount
   on a person is not as large as such a number.
4. A record id is given once in a delivery that has a row a record; a posting on a CPR number has none.

Pure: no file, no network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date

import polars as pl

from kinlink import ristretto255
from kinlink.delivery.dataset import Column, Dataset
from kinlink.delivery.datasets import PersonKind
from kinlink.delivery.refused_values import CPR_IN_TEXT, MAX_PERSON_AMOUNT_ORE, RECORD_NUMBER
from kinlink.encoding.schema import LinkageSchema
from kinlink.pseudonyms import PSEUDONYM_KINDS, Kind
from linker.intake import encoded

MAX_FAULTS = 20
_INTERVALS = (("valid_from", "valid_to"), ("start", "end"), ("given", "withdrawn"))


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken rule in one row; `row` counts from 0 over the whole delivery."""

    column: str
    row: int
    expected: str


def faults(
    frame: pl.DataFrame,
    dataset: Dataset,
    *,
    kinds: Collection[str],
    first_row: int,
    text_length: int,
    schema: LinkageSchema | None = None,
) -> list[Fault]:
    """Return what is wrong with the rows, in the order of the checks, at most MAX_FAULTS.

    `frame` has exactly the dataset's schema. `kinds`: those the header names a key for.
    `first_row`: the index of the frame's first row within the delivery. `schema`: the one that an encoded dataset's
    header names.
    """
    checks = list(_checks(dataset, kinds, text_length))
    checks += encoded.checks(schema) if schema else ()
    broken = frame.select(
        (expression.fill_null(value=False).arg_true().head(MAX_FAULTS).implode()).alias(str(index))
        for index, (_, _, expression) in enumerate(checks)
    )
    found = [
        Fault(column, first_row + row, expected)
        for index, (column, expected, _) in enumerate(checks)
        for row in broken[str(index)][0]
    ]
    return found[:MAX_FAULTS]


def outside_period(rows: pl.LazyFrame, dataset: Dataset, start: date, end: date) -> bool:
    """Say whether the rows are plainly of another period than [start, end).

    So it is when fewer than half of the postings are of the period by event or by booking, and
    when no spell touches it. The same extract under a second period would be counted twice.
    `rows` are not empty.
    """
    match dataset.name:
        case "postings":
            inside = pl.any_horizontal(pl.col("event_month", "booked_month").is_between(start, end, closed="left"))
        case "spells":
            inside = ((pl.col("start") < end) & (pl.col("end").is_null() | (pl.col("end") > start))).any()
        case _:
            return False
    return bool(rows.select(inside.mean() < 0.5).collect(engine="streaming").item())


def _checks(dataset: Dataset, kinds: Collection[str], text_length: int) -> Iterator[tuple[str, str, pl.Expr]]:
    names = {column.name for column in dataset.columns}
    for column in dataset.columns:
        value = pl.col(column.name)
        if not column.nullable:
            yield column.name, "a value", value.is_null()
        if column.values:
            yield column.name, f"one of {', '.join(column.values)}", ~value.is_in(list(column.values))
        if column.dtype == pl.Date:  # 32 bits of days reach further than any calendar; polars panics there
            yield column.name, "a date of the years 1 to 9999", ~value.is_between(date.min, date.max)
        if column.first_of_month:
            yield column.name, "a first of month", value.dt.day() != 1
        if column.dtype == pl.Binary:
            yield column.name, "a 32-byte element", value.bin.size() != 32
            yield from _kind_checks(column, kinds)
        yield from _text_checks(column, text_length)
        if column.name.endswith("_ore"):
            large = ~value.is_between(-MAX_PERSON_AMOUNT_ORE, MAX_PERSON_AMOUNT_ORE)
            somebody = pl.any_horizontal(pl.col(names & {"person", "encoding_id"}).is_not_null())
            yield column.name, f"at most {MAX_PERSON_AMOUNT_ORE} on a person", large & somebody
    if {"encoding_id", "person_kind"} <= names:
        named = (pl.col("person_kind") == PersonKind.CPR) & pl.col("encoding_id").is_not_null()
        yield "encoding_id", "null, as the posting is on a CPR number", named
    for start, end in _INTERVALS:
        if {start, end} <= names:
            yield end, f"not before {start}", pl.col(end) < pl.col(start)


def _text_checks(column: Column, text_length: int) -> Iterator[tuple[str, str, pl.Expr]]:
    value = pl.col(column.name)
    if column.dtype not in (pl.String, pl.List(pl.String)):
        return
    if column.dtype != pl.String:
        yield column.name, "no empty entry", value.list.eval(pl.element().is_null()).list.any()
        value = value.list.join(" ")
    yield column.name, f"at most {text_length} characters", value.str.len_chars() > text_length
    yield column.name, "text that does not look like a CPR number", value.str.contains(CPR_IN_TEXT)
    if column.name == "encoding_id":
        yield column.name, "a record number: a digit in it, and no blank", ~value.str.contains(RECORD_NUMBER)


def _kind_checks(column: Column, kinds: Collection[str]) -> Iterator[tuple[str, str, pl.Expr]]:
    value = pl.col(column.name)
    if column.kind and column.kind not in kinds:
        yield column.name, f"null, as the header names no key of kind {column.kind}", value.is_not_null()
    if column.kind_column:
        kind = pl.col(column.kind_column)
        yield column.kind_column, f"a kind where {column.name} is set, else null", value.is_null() != kind.is_null()
        for missing in sorted(set(PersonKind) - set(kinds)):
            yield column.kind_column, f"no {missing}, as the header names no such key", kind == missing


def pseudonyms(rows: pl.LazyFrame, dataset: Dataset, kind: Kind) -> pl.LazyFrame:
    """Return the distinct pseudonyms of `kind` in the rows: column `pseudonym`, no order, no null."""
    parts = [
        rows.filter(_has_kind(column, kind)).select(pseudonym=pl.col(column.name))
        for column in dataset.pseudonym_columns
        if column.kind == kind or column.kind_column
    ]
    if not parts:
        return pl.LazyFrame(schema={"pseudonym": pl.Binary()})
    return pl.concat(parts).drop_nulls().unique()


def _has_kind(column: Column, kind: Kind) -> pl.Expr:
    return pl.col(column.kind_column) == kind.value if column.kind_column else pl.lit(value=True)


def element_fault(rows: pl.LazyFrame, dataset: Dataset) -> Fault | None:
    """Return the first pseudonym that is no canonical element, or is the identity.

    Each distinct pseudonym is looked at once; rows and columns are searched only for a bad
    one. `rows` are in delivery order.
    """
    for kind in PSEUDONYM_KINDS:
        distinct = pseudonyms(rows, dataset, kind).collect(engine="streaming")["pseudonym"]
        try:
            ristretto255.validate(b"".join(distinct))
        except ristretto255.ElementError as error:
            bad = pl.lit(distinct[error.indices[0]], dtype=pl.Binary)
            for column in dataset.pseudonym_columns:
                at = rows.select((pl.col(column.name) == bad).arg_true()).collect().to_series()
                if len(at):
                    return Fault(column.name, int(at[0]), "a canonical ristretto255 element, not the identity")
            raise AssertionError("a pseudonym of the rows is in none of their columns") from error
    return None


def repeated_id(rows: pl.LazyFrame, dataset: Dataset) -> Fault | None:
    """Return the first row whose id stood before, in a dataset with a row a record. `rows` are in delivery order."""
    if not any(column.name == "encoding_id" and not column.nullable for column in dataset.columns):
        return None
    again = pl.col("encoding_id").is_first_distinct().not_()
    at = rows.select(again.arg_true().head(1)).collect()["encoding_id"]
    return Fault("encoding_id", int(at[0]), "an id that stands once in the delivery") if len(at) else None
