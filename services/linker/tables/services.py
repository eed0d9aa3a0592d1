"""Which services a family has in a year until now.

1. A service counts once for a family, department and year; what follows after the run's last month is not known yet.
2. It must count by the catalogue: administration and job status never do.
3. The evidence is a spell with a day in these months, or a posting whose event month is one
   of them, of a person who is a member on the reference date. The amount does not matter.
4. The department is the catalogue's. A service that the catalogue does not know is in no table.
"""

from __future__ import annotations

import polars as pl

from linker import frames
from linker.tables import catalogue as catalogue_rows
from linker.tables.periods import overlaps, year_to


def family_services(
    members: pl.LazyFrame,
    postings: pl.LazyFrame,
    spells: pl.LazyFrame,
    catalogue: pl.LazyFrame,
    year: int,
    through_month: int = 12,
) -> pl.LazyFrame:
    """Return the services that count, once each.

    Args:
        members: FAMILY_MEMBERS, or those of the families in question.
        postings, spells, catalogue: FACTS after aliases and exclusions.
        year, through_month: calendar year, and its last month that counts, 1 to 12.

    Returns:
        FAMILY_SERVICES, key all columns, in no order.

    Raises:
        CatalogueError, SchemaError: as in `catalogue.services`, `frames.check`.
    """
    first, after = period = year_to(year, through_month)
    counting = catalogue_rows.services(catalogue).filter("counts").select("service", "department")
    of_family = frames.check(members, frames.FAMILY_MEMBERS, "family_services: members").select(
        "person_id", "family_id"
    )
    posted = frames.check(postings, frames.FACTS["postings"], "family_services: postings").filter(
        pl.col("event_month").is_between(first, after, closed="left")
    )
    ran = frames.check(spells, frames.FACTS["spells"], "family_services: spells").filter(overlaps(period))
    found = (
        pl.concat([evidence.select("person_id", "service") for evidence in (posted, ran)])
        .join(of_family, on="person_id", how="inner")
        .select("family_id", "service")
        .unique()
        .join(counting, on="service", how="inner")
    )
    return frames.check(found, frames.FAMILY_SERVICES, "family_services")
