"""The E-family (Statistics Denmark 2008-): children are under 25.

A child is under 25, has never been married or in registered partnership (civil
status U), has no child in the register wherever it lives, is in no couple, and lives
with a parent. A child under 18 who lives with none is a family of its own.
"""

from __future__ import annotations

import datetime

import polars as pl

from linker.families.formation import Definition, form

E_FAMILY = Definition(age_limit=25, any_child_counts=True, step_parents=False)


def e_family_members(residents: pl.LazyFrame, parents: pl.LazyFrame, reference_date: datetime.date) -> pl.LazyFrame:
    """Return every resident's household and E-family; arguments and errors as `c_family_members`."""
    return form(residents, parents, reference_date, E_FAMILY)
