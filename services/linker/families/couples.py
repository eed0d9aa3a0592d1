"""Who forms a couple with whom at an address, by Statistics Denmark's order.

Source: Statistics Denmark, variables C_TYPE and FAMILIE_TYPE. Both persons are
residents at the same address, and a person is in at most one couple: the first
that applies of

1. *ægtepar*: both civil status G, each the other's spouse reference.
2. *registreret partnerskab*: the same with civil status P.
3. *samlevende*: a common child in the register, whatever its age or address.
4. *samboende*: a man and a woman, each 16 or over, age anchors less than 180
   months apart, no common child, neither siblings (no known parent shared) nor
   parent and child, and no other adult (18 or over) at the address but own
   children of one of the two.

Where a person could form more than one couple of the same kind (3 or 4), the
register does not tell which, and none of those couples is formed.
"""

from __future__ import annotations

import polars as pl

from linker.families.shared import shared

SAMBOENDE_AGE = 16
SAMBOENDE_MONTHS = 180
ADULT_AGE = 18


def parent_edges(people: pl.LazyFrame) -> pl.LazyFrame:
    """Return who lives at the same address as a parent.

    Args:
        people: person_id, address_id, age (Int16), mother_id, father_id; key person_id.

    Returns:
        person_id, parent_id, is_mother, age (the child's), address_id; key (person_id, is_mother).
    """
    references = pl.concat(
        [
            people.select("person_id", pl.col(f"{parent}_id").alias("parent_id"), "age", "address_id", is_mother=mother)
            for parent, mother in (("mother", pl.lit(True)), ("father", pl.lit(False)))
        ]
    ).filter(
        pl.col("parent_id").is_not_null()
        & pl.col("address_id").is_not_null()
        & (pl.col("parent_id") != pl.col("person_id"))
    )
    homes = people.select("person_id", "address_id").drop_nulls()
    return (
        references.join(homes, left_on="parent_id", right_on="person_id", how="inner", suffix="_parent")
        .filter(pl.col("address_id") == pl.col("address_id_parent"))
        .drop("address_id_parent")
    )


def couples(people: pl.LazyFrame, edges: pl.LazyFrame, parents: pl.LazyFrame) -> pl.LazyFrame:
    """Return one row for each person in a couple.

    Args:
        people: person_id, address_id, months (age, Int32), age, sex, civil_status,
            mother_id, father_id, spouse_id; key person_id.
        edges: `parent_edges(people)`.
        parents: person_id, mother_id, father_id of everybody in the register.

    Returns:
        person_id, head (the smaller id of the two), couple_type (Int16: 11, 21, 31, 41); key person_id.
    """
    located = people.drop_nulls("address_id")
    wed = shared(_wed(located))
    single = shared(located.join(wed, on="person_id", how="anti"))
    common = shared(_with_common_child(single, parents))
    samlevende = _each(_unambiguous(common), 31)
    single = single.join(samlevende, on="person_id", how="anti")
    samboende = _each(_unambiguous(shared(_samboende_pairs(located, single, edges, common))), 41)
    return pl.concat([wed, samlevende, samboende])


def _wed(located: pl.LazyFrame) -> pl.LazyFrame:
    spouses = located.filter(pl.col("civil_status").is_in(["G", "P"]) & pl.col("spouse_id").is_not_null()).select(
        "person_id", "spouse_id", "address_id", "civil_status"
    )
    return (
        spouses.join(spouses, left_on="spouse_id", right_on="person_id", how="inner", suffix="_other")
        .filter(
            (pl.col("spouse_id_other") == pl.col("person_id"))
            & (pl.col("spouse_id") != pl.col("person_id"))
            & (pl.col("address_id") == pl.col("address_id_other"))
            & (pl.col("civil_status") == pl.col("civil_status_other"))
        )
        .select(
            "person_id",
            pl.min_horizontal("person_id", "spouse_id").alias("head"),
            pl.when(pl.col("civil_status") == "G").then(11).otherwise(21).cast(pl.Int16).alias("couple_type"),
        )
    )


def _with_common_child(single: pl.LazyFrame, parents: pl.LazyFrame) -> pl.LazyFrame:
    """Return the pairs (first < second) at one address who have a child together."""
    homes = single.select("person_id", "address_id")
    return (
        parents.filter(pl.col("mother_id") != pl.col("father_id"))
        .select("mother_id", "father_id")
        .join(homes, left_on="mother_id", right_on="person_id", how="inner")
        .join(homes, left_on="father_id", right_on="person_id", how="inner", suffix="_father")
        .filter(pl.col("address_id") == pl.col("address_id_father"))
        .select(
            pl.min_horizontal("mother_id", "father_id").alias("first"),
            pl.max_horizontal("mother_id", "father_id").alias("second"),
        )
        .unique()
    )


def _samboende_pairs(
    located: pl.LazyFrame, single: pl.LazyFrame, edges: pl.LazyFrame, common: pl.LazyFrame
) -> pl.LazyFrame:
    """Return the pairs (first < second) who meet rule 4.

    Every other adult must be a child of one of the two, so at most two adults at the
    address have no parent there. That bounds the pairs formed at large addresses.
    As the two have no common child and are not each other's, "all others are own
    children" is a sum: others = adult children of one + adult children of the other.
    """
    grown = edges.filter(pl.col("age") >= ADULT_AGE)
    with_parent = grown.select("person_id", "address_id").unique()
    addresses = (
        located.filter(pl.col("age") >= SAMBOENDE_AGE)
        .group_by("address_id")
        .agg((pl.col("age") >= ADULT_AGE).sum().alias("adults"))
        .join(with_parent.group_by("address_id").agg(pl.len().alias("grown")), on="address_id", how="left")
        .filter(pl.col("adults") <= pl.col("grown").fill_null(0) + 2)
        .select("address_id", "adults")
    )
    own = grown.group_by("parent_id").agg(pl.len().alias("own"))
    candidates = (
        single.filter(pl.col("age") >= SAMBOENDE_AGE)
        .join(addresses, on="address_id", how="inner")
        .join(own, left_on="person_id", right_on="parent_id", how="left")
        .select(
            "person_id",
            "address_id",
            "months",
            "sex",
            "mother_id",
            "father_id",
            "adults",
            pl.col("own").fill_null(0),
            (pl.col("age") >= ADULT_AGE).cast(pl.UInt32).alias("adult"),
        )
    )
    men = candidates.filter(pl.col("sex") == "m").drop("sex", "adults")
    women = candidates.filter(pl.col("sex") == "f").drop("sex")

    # A parent may be mother of one and father of the other: number changes, two mothers.
    theirs = ("mother_id_man", "father_id_man")
    shared_parent = [pl.col(one) == pl.col(other) for one in ("mother_id", "father_id") for other in theirs]
    parent_and_child = [
        *(pl.col(parent) == pl.col("person_id_man") for parent in ("mother_id", "father_id")),
        *(pl.col(parent) == pl.col("person_id") for parent in theirs),
    ]
    kin = pl.any_horizontal(*shared_parent, *parent_and_child).fill_null(value=False)
    return (
        women.join(men, on="address_id", how="inner", suffix="_man")
        .filter(((pl.col("months") - pl.col("months_man")).abs() < SAMBOENDE_MONTHS) & ~kin)
        .filter(pl.col("adults") == pl.col("adult") + pl.col("adult_man") + pl.col("own") + pl.col("own_man"))
        .select(
            pl.min_horizontal("person_id", "person_id_man").alias("first"),
            pl.max_horizontal("person_id", "person_id_man").alias("second"),
        )
        .join(common, on=["first", "second"], how="anti")
    )


def _unambiguous(pairs: pl.LazyFrame) -> pl.LazyFrame:
    """Drop every pair one of whose persons is in another pair as well."""
    people = pl.concat(
        [pairs.select(pl.col("first").alias("person_id")), pairs.select(pl.col("second").alias("person_id"))]
    )
    several = people.group_by("person_id").agg(pl.len().alias("pairs")).filter(pl.col("pairs") > 1)
    return pairs.join(several, left_on="first", right_on="person_id", how="anti").join(
        several, left_on="second", right_on="person_id", how="anti"
    )


def _each(pairs: pl.LazyFrame, couple_type: int) -> pl.LazyFrame:
    """Return one row a person of the pairs."""
    return pl.concat(
        [
            pairs.select(
                pl.col(side).alias("person_id"),
                pl.col("first").alias("head"),
                pl.lit(couple_type, pl.Int16).alias("couple_type"),
            )
            for side in ("first", "second")
        ]
    )
