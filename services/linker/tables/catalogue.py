"""The catalogue as one row for each service.

1. A delivered catalogue has a row for each legal code and period. What decides a table
   (department, type, area, counts, cost basis, flags) must be the same in all rows of a
   service; rows that contradict each other are an error, not a choice.
2. Legal codes are for readers: no rule looks at a paragraph, whose numbers change meaning.
"""

from __future__ import annotations

import polars as pl

from linker import frames

# Key: service.
SERVICES = pl.Schema(
    {
        "service": pl.String(),
        "department": pl.String(),
        "type": pl.String(),
        "area": pl.String(),
        "counts": pl.Boolean(),
        "cost_basis": pl.String(),
        "flags": pl.List(pl.String()),
    }
)


class CatalogueError(ValueError):
    """The catalogue contradicts itself; names the service codes."""


def services(catalogue: pl.LazyFrame) -> pl.LazyFrame:
    """Return one row for each service, by service code.

    The catalogue (a few hundred rows) is computed here, since a contradiction must stop
    the run before any table is made from it.

    Args:
        catalogue: FACTS["catalogue"].

    Returns:
        SERVICES; flags sorted, each once.

    Raises:
        CatalogueError: rows of a service differ in more than name, legal code and period.
        SchemaError: the input is not FACTS["catalogue"].
    """
    rows = (
        frames.check(catalogue, frames.FACTS["catalogue"], "services: catalogue")
        .select(*[name for name in SERVICES if name != "flags"], pl.col("flags").list.unique().list.sort())
        .unique()
        .sort("service")
    )
    found = frames.check(rows, SERVICES, "services").collect()
    twice = found.filter(pl.col("service").is_duplicated())["service"].unique(maintain_order=True).to_list()
    if twice:
        raise CatalogueError(f"catalogue: rows of a service contradict each other: {', '.join(twice)}")
    return found.lazy()
