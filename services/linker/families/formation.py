"""From couples and parent references to families: the part that C and E share.

1. A child at home has no couple and no marriage behind it (civil status U), is
   under the age limit, is no parent (in the definition's sense), and lives at the
   address of a parent or, where the definition says so, of a step-parent.
2. It belongs to the family of the mother where she lives at the address, else of
   the father, else of the step-parent. So where resident parents are in different
   couples it follows the mother.
3. Everybody else is an adult: a couple is one family with the children of both, and a
   single is a family with the own children. As a parent is never a child at home,
   no family has more than two generations.
4. Under 18, with nobody's home to belong to, but a child in every other way: a family of its own,
   type 53, role child ("ikke-hjemmeboende barn").
5. family_type: 1/2 single without/with children, 11/12 married, 21/22 registered
   partnership, 31/32 samlevende, 41/42 samboende, 53. Same-sex marriages are 11/12.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import polars as pl

from linker import frames
from linker.families.couples import couples, parent_edges
from linker.families.residents import age_months, households, require_first_of_month
from linker.families.shared import shared

CHILD_NOT_AT_HOME = 53
_NOT_AT_HOME_AGE = 18

PARENTS = pl.Schema({"person_id": frames.ID, "mother_id": frames.ID, "father_id": frames.ID})


@dataclass(frozen=True, slots=True)
class Definition:
    """What makes a child: under `age_limit`; any child in the register, or only one at the same address,
    makes its parent an adult; a step-parent's home counts or not."""

    age_limit: int
    any_child_counts: bool
    step_parents: bool


def form(
    residents: pl.LazyFrame, parents: pl.LazyFrame, reference_date: datetime.date, definition: Definition
) -> pl.LazyFrame:
    """Return FAMILY_MEMBERS by the definition; see c_family and e_family.

    Raises:
        ReferenceDateError: the date is not a first of month.
        SchemaError: an input has not the columns of RESIDENTS or PARENTS.
    """
    require_first_of_month(reference_date)
    residents = frames.check(residents, frames.RESIDENTS, "families: residents")
    parents = frames.check(parents, PARENTS, "families: parents")
    residents = shared(residents)
    people = shared(
        residents.with_columns(age_months(reference_date).alias("months")).with_columns(
            (pl.col("months") // 12).cast(pl.Int16).alias("age")
        )
    )
    edges = shared(parent_edges(people))
    paired = shared(couples(people, edges, parents))
    eligible = shared(_eligible(people, edges, parents, paired, definition))
    children = shared(_homes(eligible, edges))
    if definition.step_parents:
        children = shared(pl.concat([children, _step_homes(eligible, children, people)]))
    heads = shared(_heads(people, paired, children))
    families = _families(heads)
    strays = eligible.filter(pl.col("age") < _NOT_AT_HOME_AGE).join(children, on="person_id", how="anti")
    members = (
        people.join(heads, on="person_id", how="left")
        .join(families, on="head", how="left")
        .join(households(residents), on="person_id", how="left")
        .join(strays.select("person_id", stray=pl.lit(value=True)), on="person_id", how="left")
        .with_columns(stray=pl.col("stray").fill_null(value=False))
        .select(
            "person_id",
            "household_id",
            "family_id",
            pl.when(pl.col("child") | pl.col("stray")).then(pl.lit("child")).otherwise(pl.lit("adult")).alias("role"),
            pl.when(pl.col("stray"))
            .then(CHILD_NOT_AT_HOME)
            .otherwise(pl.col("family_type"))
            .cast(pl.Int16)
            .alias("family_type"),
            "age",
            "civil_status",
            "district",
        )
    )
    return frames.check(members, frames.FAMILY_MEMBERS, "families: members")


def _eligible(
    people: pl.LazyFrame, edges: pl.LazyFrame, parents: pl.LazyFrame, paired: pl.LazyFrame, definition: Definition
) -> pl.LazyFrame:
    """Return those who are children in every way but where they live."""
    if definition.any_child_counts:
        of_somebody = pl.concat(
            [parents.select(pl.col(f"{parent}_id").alias("person_id")) for parent in ("mother", "father")]
        )
    else:
        of_somebody = edges.select(pl.col("parent_id").alias("person_id"))
    return (
        people.filter((pl.col("age") < definition.age_limit) & (pl.col("civil_status") == "U"))
        .join(paired, on="person_id", how="anti")
        .join(of_somebody, on="person_id", how="anti")
        .select("person_id", "age", "address_id", "mother_id", "father_id")
    )


def _homes(eligible: pl.LazyFrame, edges: pl.LazyFrame) -> pl.LazyFrame:
    """Return person_id, parent_id: the mother where she lives at the address, else the father."""
    return (
        edges.join(eligible, on="person_id", how="semi")
        .group_by("person_id")
        .agg(
            pl.when(pl.col("is_mother")).then(pl.col("parent_id")).max().alias("mother_id"),
            pl.col("parent_id").max().alias("any_id"),
        )
        .select("person_id", pl.coalesce("mother_id", "any_id").alias("parent_id"))
    )


def _step_homes(eligible: pl.LazyFrame, children: pl.LazyFrame, people: pl.LazyFrame) -> pl.LazyFrame:
    """Return person_id, parent_id for children who live with someone who has been married to a parent.

    The register keeps one spouse reference, the latest. So it still names the parent
    unless the step-parent has remarried, which is Statistics Denmark's own condition
    (CTYPE). Where an extract blanks the reference at death or divorce, the child is not
    recognised and counts as not at home. The mother's spouse comes before the
    father's, then the lowest id.
    """
    orphans = eligible.drop_nulls("address_id").join(children, on="person_id", how="anti")
    steps = people.filter(
        pl.col("spouse_id").is_not_null() & pl.col("address_id").is_not_null() & (pl.col("civil_status") != "U")
    ).select(pl.col("person_id").alias("step_id"), "spouse_id", "address_id")
    found = [
        orphans.join(steps, left_on=f"{parent}_id", right_on="spouse_id", how="inner", suffix="_step")
        .filter((pl.col("address_id") == pl.col("address_id_step")) & (pl.col("step_id") != pl.col("person_id")))
        .group_by("person_id")
        .agg(pl.col("step_id").min().alias("parent_id"))
        for parent in ("mother", "father")
    ]
    return pl.concat([found[0], found[1].join(found[0], on="person_id", how="anti")])


def _heads(people: pl.LazyFrame, paired: pl.LazyFrame, children: pl.LazyFrame) -> pl.LazyFrame:
    """Return person_id, head (an adult of the family), couple_type (0 for singles), child."""
    grown = people.join(children, on="person_id", how="anti").join(paired, on="person_id", how="left")
    adults = grown.select(
        "person_id",
        pl.coalesce("head", "person_id").alias("head"),
        pl.col("couple_type").fill_null(1),
        child=pl.lit(value=False),
    )
    young = children.join(adults, left_on="parent_id", right_on="person_id", how="inner").select(
        "person_id", "head", "couple_type", child=pl.lit(value=True)
    )
    return pl.concat([adults, young])


def _families(heads: pl.LazyFrame) -> pl.LazyFrame:
    """Return head, family_id (smallest person_id of the family), family_type; key head."""
    return heads.group_by("head").agg(
        pl.col("person_id").min().alias("family_id"),
        (pl.col("couple_type").first() + pl.col("child").any().cast(pl.Int16)).alias("family_type"),
    )
