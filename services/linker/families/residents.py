"""Who lives in the municipality on the reference date, and in which household.

1. A register row counts when it is valid on the day: `valid_from` <= day <
   `valid_to`. A row about a number that is no longer in use (status 30, 50, 60)
   says nothing about the person and is passed over.
2. Of several valid rows for one person the newest `valid_from` decides, then the
   open one, then the one that ends last, then the greater status (dead before
   alive), then the lowest codes and ids. It decides first, and only then is it
   asked whether it is a resident's: an emigrant with an old row that nobody
   closed is not a resident.
3. A resident has status 1, or 3 (no fixed address), and the municipality's code.
4. A household is all residents at one address. A null address is a household of
   its own: null never equals null.
5. Ages are counted in months from the age anchor, which is exact on a first of
   month; other reference dates are refused.
"""

from __future__ import annotations

import datetime

import polars as pl

from linker import frames

_NUMBER_NOT_IN_USE = (30, 50, 60)
_RESIDENT = (1, 3)
_CHOICE = (
    "valid_from",
    "valid_to",
    "status",
    "municipality",
    "address_id",
    "mother_id",
    "father_id",
    "spouse_id",
    "civil_status",
    "sex",
    "age_anchor",
    "district",
)


class ReferenceDateError(ValueError):
    """A reference date that is not a first of month."""


def require_first_of_month(reference_date: datetime.date) -> None:
    """Refuse a reference date on which ages would not be exact.

    Raises:
        ReferenceDateError: the day is not the 1st.
    """
    if reference_date.day != 1:
        raise ReferenceDateError("reference date: expected a first of month; ages are exact only there")


def age_months(reference_date: datetime.date) -> pl.Expr:
    """Return full months from `age_anchor` to the reference date, Int32."""
    anchor = pl.col("age_anchor")
    month = reference_date.year * 12 + reference_date.month
    return pl.lit(month, pl.Int32) - (anchor.dt.year() * 12 + anchor.dt.month().cast(pl.Int32))


def residents(persons: pl.LazyFrame, reference_date: datetime.date, municipality: int) -> pl.LazyFrame:
    """Return the residents of the municipality on the reference date.

    Args:
        persons: FACTS["persons"] after aliases and exclusions; several rows a person.
        reference_date: a first of month.
        municipality: three-digit code.

    Returns:
        RESIDENTS, one row a person, in no order.

    Raises:
        ReferenceDateError: see `require_first_of_month`.
        SchemaError: the input has not the columns of FACTS["persons"].
    """
    require_first_of_month(reference_date)
    day = pl.lit(reference_date)
    valid = (
        frames.check(persons, frames.FACTS["persons"], "residents: persons")
        .filter(
            (pl.col("valid_from") <= day)
            & (pl.col("valid_to").is_null() | (day < pl.col("valid_to")))
            & ~pl.col("status").is_in(_NUMBER_NOT_IN_USE)
        )
        .select("person_id", *_CHOICE)
    )
    # Nearly everybody has one valid row; only the others need the costly choice.
    several = valid.group_by("person_id").agg(pl.len().alias("rows")).filter(pl.col("rows") > 1)
    chosen = (
        valid.join(several, on="person_id", how="semi")
        .sort(
            "person_id",
            *_CHOICE,
            descending=[False, True, True, True, *[False] * (len(_CHOICE) - 3)],
            nulls_last=[False, False, False, *[True] * (len(_CHOICE) - 2)],
        )
        .unique(subset="person_id", keep="first", maintain_order=True)
    )
    everybody = pl.concat([valid.join(several, on="person_id", how="anti"), chosen])
    found = everybody.filter(pl.col("status").is_in(_RESIDENT) & (pl.col("municipality") == municipality))
    return frames.check(found, frames.RESIDENTS, "residents")


def households(residents: pl.LazyFrame) -> pl.LazyFrame:
    """Return each resident's household.

    Args:
        residents: RESIDENTS.

    Returns:
        person_id, household_id (UInt32, the smallest person_id at the address), in no order.
    """
    people = frames.check(residents, frames.RESIDENTS, "households: residents").select("person_id", "address_id")
    first = people.drop_nulls("address_id").group_by("address_id").agg(pl.col("person_id").min().alias("household_id"))
    return people.join(first, on="address_id", how="left").select(
        "person_id", pl.coalesce("household_id", "person_id").alias("household_id")
    )
