"""The schemas of every frame that crosses a function inside the linker.

1. A delivered row stands in quarantine under its source's pseudonyms
   (`kinlink.delivery.datasets`), until conversion turns it into a fact.
2. In facts a person is a dense number, `person_id`; the pseudonym stands once, in
   IDENTITIES. So rekeying rewrites one table, and joins run on integers. The
   number says nothing: it is given in order of arrival.
3. Facts keep `source` and `delivery_id`, by which they are replaced, withdrawn
   and erased. Frames after linkage do not.
4. Ids are as delivered in facts; `linkage.aliases` resolves number changes when a
   run reads them.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from kinlink.delivery import datasets
from kinlink.delivery.dataset import Dataset

ID = pl.UInt32()

# Key: id. One row a pseudonym. `source` is null but for replacement numbers, which
# mean nothing outside the system that made them. kind: cpr, address, replacement.
IDENTITIES = pl.Schema(
    {"id": ID, "kind": pl.String(), "source": pl.String(), "pseudonym": pl.Binary(), "key_version": pl.UInt32()}
)

_ORIGIN: dict[str, pl.DataType] = {"source": pl.String(), "delivery_id": pl.String()}

# Key: id. What `pseudonym` and `key_version` become when the rekeying under way switches over.
REKEYED = pl.Schema({"id": ID, "pseudonym": pl.Binary(), "key_version": pl.UInt32()})


def _fact(dataset: Dataset) -> pl.Schema:
    """Return the dataset's schema with each pseudonym column `x` as `x_id`, and its origin."""
    columns = {
        f"{column.name}_id" if column.kind or column.kind_column else column.name: (
            ID if column.kind or column.kind_column else column.dtype
        )
        for column in dataset.columns
    }
    return pl.Schema({**columns, **_ORIGIN})


# One schema a dataset: persons have person_id, mother_id, father_id, spouse_id,
# address_id; aliases former_id, current_id; the others person_id; catalogue none.
FACTS: Mapping[str, pl.Schema] = {name: _fact(dataset) for name, dataset in datasets.DATASETS.items()}

# Key: source, encoding_id. What became of a record without a usable CPR number. delivery_id: of its encodings, or of
# the answer where there are none. posting_id: the delivery of the record's posting, null where it has none; of another
# delivery's posting the row says nothing. register_id: the delivery of the register's encodings that it was compared
# with, null where a source's answer decided. status: linked, review or unlinked. person_id: null unless linked, and of
# whom an exclusion takes out. missing: fields of the linkage schema without a usable value.
LINKS = pl.Schema(
    {
        "source": pl.String(),
        "encoding_id": pl.String(),
        "delivery_id": pl.String(),
        "posting_id": pl.String(),
        "register_id": pl.String(),
        "status": pl.String(),
        "person_id": ID,
        "missing": pl.List(pl.String()),
    }
)

# Key: person_id. The register at one reference date, after aliases and exclusions:
# one row a person who is registered (status 1 or 3) in the municipality that day.
RESIDENTS = pl.Schema(
    {
        "person_id": ID,
        "mother_id": ID,
        "father_id": ID,
        "spouse_id": ID,
        "address_id": ID,
        "age_anchor": pl.Date(),
        "sex": pl.String(),
        "civil_status": pl.String(),
        "district": pl.String(),
    }
)

# Key: person_id. household_id, family_id: the smallest person_id of the group, so
# deterministic within a snapshot and never released. role: adult or child.
# family_type: Statistics Denmark's C_TYPE or E_TYPE code (families/README of codes
# in docs/spec/families.md).
FAMILY_MEMBERS = pl.Schema(
    {
        "person_id": ID,
        "household_id": ID,
        "family_id": ID,
        "role": pl.String(),
        "family_type": pl.Int16(),
        "age": pl.Int16(),
        "civil_status": pl.String(),
        "district": pl.String(),
    }
)

# Key: family_id. Families with at least one child at home. n_*: persons of the
# family. single_provider: the only adult, not married (G) or in partnership (P).
FAMILIES = pl.Schema(
    {
        "family_id": ID,
        "family_type": pl.Int16(),
        "n_persons": pl.UInt32(),
        "n_adults": pl.UInt32(),
        "n_children": pl.UInt32(),
        "single_provider": pl.Boolean(),
        "district": pl.String(),
    }
)

# Key: family_id, department, service. Services that count, in the year until now.
FAMILY_SERVICES = pl.Schema({"family_id": ID, "department": pl.String(), "service": pl.String()})

# Key: family_id, department, type, area, month. Net amount in the month (1 to 12 of the year), øre.
FAMILY_SPENDING = pl.Schema(
    {
        "family_id": ID,
        "department": pl.String(),
        "type": pl.String(),
        "area": pl.String(),
        "month": pl.Int8(),
        "amount_ore": pl.Int64(),
    }
)


class SchemaError(TypeError):
    """A frame does not have the columns or types that a function promises or expects."""


def check(frame: pl.LazyFrame, schema: Mapping[str, pl.DataType], where: str) -> pl.LazyFrame:
    """Return `frame` with just the columns of `schema`, in its order.

    Resolves the lazy schema only; no row is read.

    Raises:
        SchemaError: a column is missing or has another type; names column and types.
    """
    found = frame.collect_schema()
    for name, dtype in schema.items():
        if name not in found:
            raise SchemaError(f"{where}: column {name} is missing")
        if found[name] != dtype:
            raise SchemaError(f"{where}: column {name} is {found[name]}, expected {dtype}")
    return frame.select(list(schema))
