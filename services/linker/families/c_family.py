"""The C-family (Statistics Denmark 1980-2007): children are under 18.

A child is under 18, civil status U, has no own child at the same address, is in no
couple, and lives with a parent, or, where it lives with none, with somebody who
has been married to a parent and has not remarried.
"""

from __future__ import annotations

import datetime

import polars as pl

from linker.families.formation import Definition, form

C_FAMILY = Definition(age_limit=18, any_child_counts=False, step_parents=True)


def c_family_members(residents: pl.LazyFrame, parents: pl.LazyFrame, reference_date: datetime.date) -> pl.LazyFrame:
    """Return every resident's household and C-family.

    Args:
        residents: RESIDENTS at the reference date.
        parents: person_id, mother_id, father_id of everybody in the register, living
            where they may; several rows a person are allowed.
        reference_date: a first of month.

    Returns:
        FAMILY_MEMBERS, one row a resident, in no order; ids do not depend on row order.

    Raises:
        ReferenceDateError: the date is not a first of month.
        SchemaError: an input lacks a column or has another type.
    """
    return form(residents, parents, reference_date, C_FAMILY)
