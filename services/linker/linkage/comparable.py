"""What is compared: of all encodings delivered, one row a person of the register and one a record of a source.

1. Only encodings under one linkage schema and key version are alike: those that the register was encoded under last.
2. Of several deliveries with a record, or with an answer about it, the newest counts; of the register the newest alone.
   What is not of a record's posting (MISFITS) does not count: a source may number its rows anew.
3. A person is the one that number changes lead to, once: under the current number, else under the former one that the
   linker learned of last. So no person is its own runner-up.
4. An id that stands in postings of several deliveries names no record: a source that numbers its rows anew each month
   would have this month's payer pay for all.
5. Who objected, or was erased or restricted, is not there to be compared with.

Pure: frames in, frames out. It does not know which deliveries are accepted.
"""

from __future__ import annotations

from datetime import date
from typing import Final

import polars as pl

from kinlink.encoding.schema import LinkageSchema
from linker.frames import FACTS, ID, check
from linker.linkage.aliases import apply
from linker.linkage.fuzzy.encodings import RECORD, TOKENS

KEY: Final = ("source", "encoding_id")
ORDER: Final = pl.Schema({"source": pl.String(), "delivery_id": pl.String(), "rank": pl.UInt32()})
"""Deliveries that count, the newest with the highest rank; key source, delivery_id."""
MISFITS: Final = pl.Schema(
    {
        "source": pl.String(),
        "delivery_id": pl.String(),
        "posting_id": pl.String(),
        "why": pl.String(),
        "dataset": pl.String(),
        "period": pl.String(),
        "stands": pl.Boolean(),
    }
)
"""Deliveries of encodings or answers that are not of the records of a delivery of postings; key the first three.

`dataset`, `period`: of the former, and whether it `stands`: it was neither replaced nor withdrawn."""
_PAIR: Final = ("source", "delivery_id", "posting_id")
_RESOLVED = "now_id"
_DIGITS = 10


def excluded(exclusions: pl.LazyFrame, resolved: pl.DataFrame, on: date) -> pl.DataFrame:
    """Return the persons (`person_id`, ordered) whom an exclusion that has begun `on` this day takes out."""
    begun = check(exclusions, FACTS["exclusions"], "exclusions").filter(pl.col("valid_from") <= on)
    return apply(begun, resolved, ("person_id",)).select("person_id").unique().sort("person_id").collect()


def records(
    payers: pl.LazyFrame, order: pl.DataFrame, posted: pl.DataFrame, misfits: pl.DataFrame, schema: LinkageSchema
) -> pl.DataFrame:
    """Return the records of the deliveries in `order` (ORDER), ordered by source and encoding_id.

    `payers`: FACTS. `posted`: as `posted`. `misfits`: MISFITS. Columns: `record` (String, ascending), KEY,
    delivery_id, the schema's fields, tokens, `missing` (names of fields that are null). Which file or row a record came
    in changes nothing.
    """
    counted = (
        check(payers, FACTS["payer_encodings"], "payer encodings")
        .join(order.lazy(), on=["source", "delivery_id"], how="inner")
        .pipe(fitting, posted, misfits)
    )
    newest = counted.group_by(KEY).agg(pl.col("rank").max())
    fields = _fields(schema)
    found = (
        counted.join(newest, on=[*KEY, "rank"], how="semi")
        .select(*KEY, "delivery_id", *fields, TOKENS, _missing(schema))
        .collect(engine="streaming")
        .sort(KEY)
    )
    number = pl.int_range(pl.len(), dtype=pl.UInt32).cast(pl.String).str.zfill(_DIGITS)
    return found.select(number.alias(RECORD), pl.all())


def persons(
    register: pl.LazyFrame, delivery: tuple[str, str], resolved: pl.DataFrame, gone: pl.DataFrame, schema: LinkageSchema
) -> pl.DataFrame:
    """Return the persons of one delivery (source, id) of the register, but those in `gone` (person_id).

    `register`: FACTS. Columns: `record` (the person's number as text, `person_of` reads it), the fields, tokens.
    """
    source, delivery_id = delivery
    rows = check(register, FACTS["person_encodings"], "person encodings").filter(
        pl.col("source") == source, pl.col("delivery_id") == delivery_id
    )
    standing = (
        rows.select("person_id", pl.col("person_id").alias(_RESOLVED))
        .pipe(apply, resolved, (_RESOLVED,))
        .unique()
        .join(gone.lazy(), left_on=_RESOLVED, right_on="person_id", how="anti")
        .with_columns(own=pl.col("person_id") == pl.col(_RESOLVED))
        .sort(_RESOLVED, "own", "person_id", descending=[False, True, True])
        .unique(_RESOLVED, keep="first", maintain_order=True)
    )
    found = (
        rows.join(standing, on="person_id", how="inner")
        .select(_text(_RESOLVED).alias(RECORD), *_fields(schema), TOKENS)
        .collect(engine="streaming")
    )
    repeated = found[RECORD].is_duplicated()
    if not repeated.any():
        return found
    names = [field.name for field in schema.fields]
    kept = found.filter(repeated).sort(RECORD, *names).unique(RECORD, keep="first", maintain_order=True)
    return pl.concat([found.filter(~repeated), kept])


def person_of(record: str) -> pl.Expr:
    """Return the person whom this column of `persons` records names."""
    return pl.col(record).cast(ID)


def fitting(rows: pl.LazyFrame, posted: pl.DataFrame, misfits: pl.DataFrame) -> pl.LazyFrame:
    """Return the rows (KEY, delivery_id) of records whose posting is not one that their delivery is no part of.

    `posted`: as `posted`. `misfits`: MISFITS. A column `posting_id` is added: null without a posting.
    """
    placed = rows.join(posted.lazy().select(*KEY, "posting_id"), on=KEY, how="left")
    return placed.join(misfits.lazy(), on=list(_PAIR), how="anti")


def held_back(rows: pl.LazyFrame, posted: pl.DataFrame, misfits: pl.DataFrame) -> pl.DataFrame:
    """Return the records (KEY, and the columns of MISFITS) that `fitting` leaves out."""
    placed = rows.select(*KEY, "delivery_id").join(posted.lazy().select(*KEY, "posting_id"), on=KEY)
    return placed.join(misfits.lazy(), on=list(_PAIR)).collect(engine="streaming")


def answers(
    given: pl.LazyFrame,
    order: pl.DataFrame,
    posted: pl.DataFrame,
    misfits: pl.DataFrame,
    resolved: pl.DataFrame,
    gone: pl.DataFrame,
) -> pl.DataFrame:
    """Return what sources answered: KEY, delivery_id, `somebody`, person_id (null: nobody, or one in `gone`), by KEY.

    `given`: FACTS of the deliveries in `order` (ORDER). `posted`, `misfits`: as in `fitting`.
    """
    counted = (
        check(given, FACTS["review_answers"], "review answers")
        .join(order.lazy(), on=["source", "delivery_id"], how="inner")
        .pipe(fitting, posted, misfits)
    )
    return (
        apply(counted, resolved, ("person_id",))
        .collect()
        .sort(*KEY, "rank", "person_id", descending=[False, False, True, False], nulls_last=True)
        .unique(KEY, keep="first", maintain_order=True)
        .select(*KEY, "delivery_id", without(gone), somebody=pl.col("person_id").is_not_null())
    )


def without(gone: pl.DataFrame) -> pl.Expr:
    """Return `person_id`, null for those in `gone`."""
    return pl.when(~pl.col("person_id").is_in(gone["person_id"].implode())).then("person_id").alias("person_id")


def posted(postings: pl.LazyFrame) -> pl.DataFrame:
    """Return of each record with a posting: KEY, `weight` (sum of absolute amounts, øre), `month` (its first event).

    `posting_id`: the delivery that it stands in. `reused`: whether its id stands in several.
    """
    return (
        check(postings, FACTS["postings"], "postings")
        .filter(pl.col("encoding_id").is_not_null())
        .group_by(KEY)
        .agg(
            pl.col("amount_ore").abs().sum().alias("weight"),
            pl.col("event_month").min().alias("month"),
            pl.col("delivery_id").min().alias("posting_id"),
            (pl.col("delivery_id").n_unique() > 1).alias("reused"),
        )
        .collect(engine="streaming")
    )


def _fields(schema: LinkageSchema) -> list[pl.Expr]:
    fields = pl.col("fields")
    return [fields.list.get(i, null_on_oob=True).alias(field.name) for i, field in enumerate(schema.fields)]


def _missing(schema: LinkageSchema) -> pl.Expr:
    named = [
        pl.when(field.is_null()).then(pl.lit(spec.name))
        for field, spec in zip(_fields(schema), schema.fields, strict=True)
    ]
    return pl.concat_list(named).list.drop_nulls().alias("missing")


def _text(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).str.zfill(_DIGITS)
