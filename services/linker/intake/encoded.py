"""Decide whether delivered encodings are what their linkage schema says.

1. A schema is one that this linker has (`kinlink.encoding.schema`), named by its whole id: what was encoded under
   another version of it cannot be compared, and is refused.
2. `fields` has an entry a field of the schema, in its order: null, or as long as the schema says. Records of which
   nothing is known are taken; they link to nothing.
3. `tokens` are distinct, and no more than the schema has rules for. So no record is compared with more others than an
   honest one.

Pure but for the schemas, which are files of the package. It has no key: whether the bits are of anybody it cannot see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import polars as pl

from kinlink.encoding.schema import TOKEN_BYTES, LinkageSchema, find, names


@cache
def schemas() -> Mapping[str, LinkageSchema]:
    """Return the linkage schemas there are, by id."""
    return {schema.id: schema for schema in map(find, names())}


def checks(schema: LinkageSchema) -> Iterator[tuple[str, str, pl.Expr]]:
    """Yield column, expected form, and the expression for "this row breaks it", for rows of an encoded dataset."""
    fields, tokens = pl.col("fields"), pl.col("tokens")
    n_fields, n_rules = len(schema.fields), len(schema.tokens)
    each = f"an entry, null or not, for each of the {n_fields} fields of {schema.id}"
    yield "fields", each, fields.list.len() != n_fields
    for index, field in enumerate(schema.fields):
        size = fields.list.get(index, null_on_oob=True).bin.size()
        yield "fields", f"entry {index} ({field.name}) of {field.n_bytes} bytes, or null", size != field.n_bytes
    bad = pl.element().is_null() | (pl.element().bin.size() != TOKEN_BYTES)
    yield "tokens", f"tokens of {TOKEN_BYTES} bytes", tokens.list.eval(bad).list.any()
    yield "tokens", f"at most {n_rules} tokens, one a rule of {schema.id}", tokens.list.len() > n_rules
    yield "tokens", "each token once", tokens.list.n_unique() != tokens.list.len()
