"""What a run reads: facts after number changes and exclusions.

1. Where a person has rows under a former and under the current number, the current
   one's row stands on the days both cover; between two former numbers, the row that
   began last.
2. A row under a former number whose status is 30, 50 or 60 (annulled, duplicate,
   changed) says only that the number is gone, and disappears.
3. An objection, erasure or restriction that has begun takes all rows of that person,
   under whichever of the person's numbers it was sent.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Final

import polars as pl

from linker.frames import FACTS, check
from linker.linkage.aliases import ID_COLUMNS, apply

_GONE: Final = (30, 50, 60)
_OVERLAP = (pl.col("valid_from_other") < pl.col("valid_to").fill_null(date.max)) & (
    pl.col("valid_from") < pl.col("valid_to_other").fill_null(date.max)
)


def read(scan: Callable[[str], pl.LazyFrame], resolved: pl.DataFrame, on: date) -> Mapping[str, pl.LazyFrame]:
    """Return the facts of each dataset but aliases, by name, with FACTS schemas.

    `scan` returns a dataset's facts as delivered; `resolved` is `Aliases.resolved`; `on` is
    the day of the run, by which exclusions have begun or not.
    """
    excluded = (
        apply(scan("exclusions").filter(pl.col("valid_from") <= on), resolved, ("person_id",))
        .select("person_id")
        .unique()
    )
    result: dict[str, pl.LazyFrame] = {"catalogue": scan("catalogue")}
    for name, columns in ID_COLUMNS.items():
        rows = scan(name)
        if name == "persons":
            rows = persons(rows, resolved)
        rows = apply(rows, resolved, columns)
        if name != "exclusions":
            rows = rows.join(excluded, on="person_id", how="anti")
        result[name] = check(rows, FACTS[name], name)
    return result


def persons(rows: pl.LazyFrame, resolved: pl.DataFrame) -> pl.LazyFrame:
    """Return the register's rows without those that a row under a later number replaces.

    person_id stays as delivered. Key afterwards, for a day and a resolved person: at most one
    row, as far as each number's own rows do not overlap.
    """
    formers = resolved.lazy().rename({"former_id": "person_id"})
    renamed = resolved.lazy().select(pl.col("resolved_id").alias("person_id")).unique()
    old = rows.join(formers, on="person_id").filter(~pl.col("status").is_in(_GONE))
    own = rows.join(renamed, on="person_id", how="semi").with_columns(resolved_id="person_id")
    key = ("person_id", "valid_from", "valid_to", "resolved_id")
    others = pl.concat([old.select(key).with_columns(own=False), own.select(key).with_columns(own=True)])
    other_former = (pl.col("person_id_other") != pl.col("person_id")) & (
        (pl.col("valid_from_other") > pl.col("valid_from"))
        | ((pl.col("valid_from_other") == pl.col("valid_from")) & (pl.col("person_id_other") < pl.col("person_id")))
    )
    replaced = (
        old.select(key)
        .join(others, on="resolved_id", suffix="_other")
        .filter(_OVERLAP & (pl.col("own") | other_former))
    )
    kept = old.join(replaced, on=["person_id", "valid_from"], how="anti")
    return pl.concat([rows.join(formers, on="person_id", how="anti"), kept.drop("resolved_id")])
