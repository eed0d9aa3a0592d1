"""What is told of persons: how much of it can be compared, and its encodings.

1. Names, birth dates and addresses are in this process's memory and nowhere else; what leaves is encoded.
2. The same rows under the same key give the same frames, so that a delivery that broke off goes on.
"""

from __future__ import annotations

import polars as pl

from kinlink.delivery.mapping import Described
from kinlink.encoding.distinct import per_distinct
from kinlink.encoding.encode import Encoder, normalise_records
from kinlink.encoding.normalise import rules_of
from kinlink.encoding.schema import RECORD, TOKENS, Part


class Usable:
    """Counts, over all rows added.

    `records`: rows. `fields`: in how many each field of the schema has a value that can be compared. `without`: how
    many have so little that they get no token, and so are compared with nobody.
    """

    def __init__(self, described: Described) -> None:
        self._described = described
        self.records = 0
        self.fields = {field.name: 0 for field in described.schema.fields}
        self.without = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Count rows that hold the columns to encode."""
        if not rows.height:
            return
        schema = self._described.schema
        normalised = normalise_records(records_of(rows, self._described), schema)
        self.records += rows.height
        for field in schema.fields:
            self.fields[field.name] += normalised[field.name].count()
        rules = rules_of(schema)

        def is_told(part: Part) -> pl.Series:
            values = normalised[part.field]
            return per_distinct(values, lambda distinct: rules.form(distinct, part.form)).is_not_null()

        parts = {part for rule in schema.tokens for part in rule.parts + rule.unordered}
        names = {part: f"{part.field}.{part.form}" for part in parts}
        told = pl.DataFrame({names[part]: is_told(part) for part in parts})
        made = [pl.all_horizontal(names[part] for part in rule.parts + rule.unordered) for rule in schema.tokens]
        self.without += int(told.select((~pl.any_horizontal(made)).sum()).item())


def records_of(rows: pl.DataFrame, described: Described) -> pl.DataFrame:
    """Return the columns to encode, under running numbers."""
    return rows.select(pl.int_range(pl.len()).cast(pl.String).alias(RECORD), *described.inputs)


def encoded(rows: pl.DataFrame, described: Described, encoder: Encoder) -> pl.DataFrame:
    """Return the rows with `fields` and `tokens` (List(Binary), as in a dataset) in place of the columns to encode."""
    fields = [field.name for field in encoder.schema.fields]
    made = pl.concat(
        (
            part.select(pl.concat_list(fields).alias("fields"), TOKENS)
            for part in encoder.batches(records_of(rows, described))
        ),
        how="vertical",
    )
    return rows.drop(described.inputs).hstack(made)
