"""One row for each family with a child at home.

1. Families of type 53 (a child not at home) are not among them: nobody in it is a
   parent and no child is at home.
2. Nor are persons without an address: each is a household of its own.
3. A single provider (*enlig forsørger*) is the only adult of the family whose civil
   status is not married (G) or registered partner (P). So a family may have one
   adult and no single provider: the spouse is registered elsewhere.
"""

from __future__ import annotations

import polars as pl

from linker import frames
from linker.families.formation import CHILD_NOT_AT_HOME


def families_with_children(members: pl.LazyFrame) -> pl.LazyFrame:
    """Return the families with at least one child at home.

    Args:
        members: FAMILY_MEMBERS, C- or E-families.

    Returns:
        FAMILIES, one row a family, in no order. district: the first of the members'
        by alphabet; null when all are null.

    Raises:
        SchemaError: the input is not FAMILY_MEMBERS.
    """
    members = frames.check(members, frames.FAMILY_MEMBERS, "families_with_children: members")
    child = pl.col("role") == "child"
    families = (
        # An even type has children, and 53 is odd as the childless types are.
        members.filter((pl.col("family_type") % 2 == 0) & (pl.col("family_type") != CHILD_NOT_AT_HOME))
        .group_by("family_id")
        .agg(
            pl.col("family_type").first(),
            pl.len().alias("n_persons"),
            (~child).sum().alias("n_adults"),
            child.sum().alias("n_children"),
            (~child & ~pl.col("civil_status").is_in(["G", "P"])).sum().alias("unwed"),
            pl.col("district").min(),
        )
        .with_columns(single_provider=(pl.col("n_adults") == 1) & (pl.col("unwed") == 1))
    )
    return frames.check(families, frames.FAMILIES, "families_with_children")
