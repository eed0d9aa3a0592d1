"""Encoding: records with names, dates and addresses in, an encoded frame out.

1. The input has `record` and the schema's fields, or a column that holds several of them in one text. A column
   that is missing or unknown refuses the whole: a source that does not have a field gives a column of nulls.
2. A row becomes a row, in the same order; each depends on nothing but its own values, the schema and the key.
3. A missing or unusable value is null. A record of which nothing is left has no tokens: it links to nothing.

*Guarantee:* the encoded frame is a function of what normalisation keeps; whoever lacks the key sees of a value which
rows share it, and how alike two of them are, and no bit or token that can be computed without the key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from kinlink.encoding.distinct import per_distinct
from kinlink.encoding.filters import FilterMaker
from kinlink.encoding.keys import EncodingKey
from kinlink.encoding.normalise import rules_of
from kinlink.encoding.schema import RECORD, TOKENS, Field, LinkageSchema, Part
from kinlink.encoding.tokens import listed, tokens

BATCH_ROWS: Final = 50_000
"""Rows encoded at once; memory is a few hundred bytes for each."""


class RecordsError(ValueError):
    """Records do not fit the schema; names the column and the expected form, never a value."""


class Encoder:
    """Encodes records under one schema and key."""

    def __init__(self, schema: LinkageSchema, key: EncodingKey) -> None:
        """Derive the keys of all fields and tokens.

        Raises:
            SchemaError: the schema uses rules that its normalisation does not have.
        """
        self.schema = schema
        self._rules = rules_of(schema)
        self._filters = {
            field.name: FilterMaker(
                field,
                key.derive(schema.id, "bits", field.key),
                key.derive(schema.id, "diffusion", field.key),
                schema.taps,
            )
            for field in schema.fields
        }
        self._token_keys = {rule.name: key.derive(schema.id, "token", rule.name) for rule in schema.tokens}

    def batches(self, records: pl.DataFrame, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Yield the encoded frame in parts of so many rows."""
        for start in range(0, records.height, rows):
            yield self.encode(records.slice(start, rows))

    def encode(self, records: pl.DataFrame) -> pl.DataFrame:
        """Return the encoded frame (`LinkageSchema.frame_schema`) of some records, a row for a row.

        `records` has `record` (String, unique, not null), and each field as String or Date, or columns of which
        the normalisation says that they hold several fields.

        Raises:
            RecordsError: a column is missing, unknown or of another type, or `record` is null or repeated.
        """
        normalised = normalise_records(records, self.schema)
        columns = {RECORD: normalised[RECORD]}
        for field in self.schema.fields:
            columns[field.name] = self._bits(normalised[field.name], field)
        columns[TOKENS] = self._tokens(normalised)
        return pl.DataFrame(columns, schema=self.schema.frame_schema())

    def _bits(self, column: pl.Series, field: Field) -> pl.Series:
        maker = self._filters[field.name]
        return per_distinct(column, lambda values: _binary(maker.encode(values.to_list())))

    def _tokens(self, normalised: pl.DataFrame) -> pl.Series:
        rules = self.schema.tokens
        parts = {part for rule in rules for part in rule.parts + rule.unordered}
        forms = {part: self._form(normalised[part.field], part) for part in parts}
        return listed([tokens(rule, self._token_keys[rule.name], forms) for rule in rules])

    def _form(self, column: pl.Series, part: Part) -> pl.Series:
        return per_distinct(column, lambda values: self._rules.form(values, part.form))


def normalise_records(records: pl.DataFrame, schema: LinkageSchema) -> pl.DataFrame:
    """Return `record` and the schema's fields, normalised (String, null where there is nothing to compare).

    Raises:
        RecordsError: as `Encoder.encode`.
    """
    rules = rules_of(schema)
    taken = _columns_of(records, schema)
    columns = {RECORD: records[RECORD]}
    for field in schema.fields:
        column = taken[field.name]

        def normal(
            values: pl.Series, column: str = column, name: str = field.name, kind: str = field.kind
        ) -> pl.Series:
            text = values if column == name else rules.split(values, column, name)
            return rules.normalise(text, kind)

        columns[field.name] = per_distinct(records[column].cast(pl.String), normal)
    return pl.DataFrame(columns)


def _columns_of(records: pl.DataFrame, schema: LinkageSchema) -> dict[str, str]:
    """Return the column that each field comes from."""
    splits = rules_of(schema).splits
    taken: dict[str, str] = {}
    for field in schema.fields:
        whole = [column for column, parts in splits.items() if field.name in parts and column in records.columns]
        if field.name in records.columns:
            taken[field.name] = field.name
        elif whole:
            taken[field.name] = whole[0]
        else:
            raise RecordsError(
                f"column {field.name} is missing; schema {schema.id} has it. Give it, with nulls if there is no value."
            )
    if RECORD not in records.columns:
        raise RecordsError("column record is missing: the source's own id of each row")
    if unknown := sorted(set(records.columns) - set(taken.values()) - {RECORD}):
        raise RecordsError(
            f"column {unknown[0]} is unknown to schema {schema.id}. Leave it out, or name it as a field."
        )
    for column in {RECORD, *taken.values()}:
        allowed = {RECORD: (pl.String(),)}.get(column, (pl.String(), pl.Date(), pl.Null()))
        if records.schema[column] not in allowed:
            raise RecordsError(f"column {column} is {records.schema[column]}; expected {allowed[0]}")
    if records[RECORD].null_count() or records[RECORD].n_unique() != records.height:
        raise RecordsError("column record must be unique and not null")
    return taken


def _binary(encodings: NDArray[np.uint8]) -> pl.Series:
    rows, length = encodings.shape
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(length), rows, [None, pa.py_buffer(encodings.tobytes())])
    return pl.Series(fixed.cast(pa.large_binary()), dtype=pl.Binary)
