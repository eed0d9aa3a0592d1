"""Which families are in a target group.

Evaluated inside the linker only: the ids go into tables that pass the gate, never out.

1. Only families with a child at home can be in a group.
2. *Parent* is an adult of the family on the reference date; a child's spells count if the
   child is at home in the family that day. Spells may lie before the family was one.
3. Days are distinct days: overlapping spells, also of several services, count once, and no
   two persons' days are added up.
4. A rule that names a service or flag which the catalogue does not know is an error:
   otherwise a misspelt rule would give a group that is empty, or too large.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import polars as pl

from linker import frames
from linker.families.formation import CHILD_NOT_AT_HOME
from linker.tables import catalogue as catalogue_rows
from linker.tables.periods import distinct_days, months_before, overlaps
from linker.tables.target_rules import (
    AnyOf,
    ChildrenAtHome,
    Days,
    Match,
    Rule,
    Services,
    Spell,
    Spending,
    TargetGroup,
    TargetGroupError,
    Who,
    load,
    parse,
)

__all__ = ["TargetGroup", "TargetGroupError", "load", "parse", "target_families"]


def target_families(
    group: TargetGroup,
    members: pl.LazyFrame,
    spells: pl.LazyFrame,
    catalogue: pl.LazyFrame,
    reference_date: datetime.date,
    *,
    services: pl.LazyFrame | None = None,
    spending: pl.LazyFrame | None = None,
    parameters: Mapping[str, int] | None = None,
) -> pl.LazyFrame:
    """Return the families for which all rules of the group hold.

    Args:
        group: from `load` or `parse`.
        members: FAMILY_MEMBERS at the reference date.
        spells, catalogue: FACTS after aliases and exclusions.
        reference_date: windows end here (it is not part of them).
        services, spending: FAMILY_SERVICES, FAMILY_SPENDING; needed by rules of that name.
        parameters: a value for each of `group.parameters`, øre.

    Returns:
        family_id, each once, in no order.

    Raises:
        TargetGroupError: a rule names an unknown service or flag, a parameter is not given, or a
            frame that a rule needs is not.
        CatalogueError, SchemaError: as in `catalogue.services`, `frames.check`.
    """
    given = dict(parameters or {})
    if set(given) != set(group.parameters):
        raise TargetGroupError(f"target group {group.name}: give exactly the parameters {list(group.parameters)}")
    at_home = (pl.col("family_type") % 2 == 0) & (pl.col("family_type") != CHILD_NOT_AT_HOME)
    people = (
        frames.check(members, frames.FAMILY_MEMBERS, "target_families: members")
        .filter(at_home)
        .select("person_id", "family_id", "role")
    )
    evaluation = _Evaluation(
        group.name,
        people,
        frames.check(spells, frames.FACTS["spells"], "target_families: spells"),
        catalogue_rows.services(catalogue).collect(),
        reference_date,
        services,
        spending,
        given,
    )
    return evaluation.all_of(group.rules)


class _Evaluation:
    """One evaluation: the frames that rules read."""

    def __init__(
        self,
        name: str,
        people: pl.LazyFrame,
        spells: pl.LazyFrame,
        catalogue: pl.DataFrame,
        reference_date: datetime.date,
        services: pl.LazyFrame | None,
        spending: pl.LazyFrame | None,
        parameters: Mapping[str, int],
    ) -> None:
        self._name = name
        self._people = people
        self._spells = spells
        self._catalogue = catalogue
        self._reference_date = reference_date
        self._services = services
        self._spending = spending
        self._parameters = parameters

    def all_of(self, rules: Sequence[Rule]) -> pl.LazyFrame:
        """Return family_id where all rules hold."""
        found = self._people.select("family_id").unique()
        for rule in rules:
            found = found.join(self._holds(rule), on="family_id", how="semi")
        return found

    def _holds(self, rule: Rule) -> pl.LazyFrame:
        """Return family_id where the rule holds; perhaps several times."""
        match rule:
            case ChildrenAtHome(at_least):
                children = self._people.filter(role="child").group_by("family_id").agg(pl.len().alias("n"))
                return children.filter(pl.col("n") >= at_least).select("family_id")
            case Days(who, months, more_than_days, matches):
                days = distinct_days(self._fitting(who, matches), months_before(self._reference_date, months))
                return self._families_of(days.filter(pl.col("days") > more_than_days), who)
            case Spell(who, months, matches):
                period = months_before(self._reference_date, months)
                return self._families_of(self._fitting(who, matches).filter(overlaps(period)), who)
            case Services():
                return self._with_services(rule)
            case Spending(parameter):
                spending = self._given(self._spending, "spending", frames.FAMILY_SPENDING)
                sums = spending.group_by("family_id").agg(pl.col("amount_ore").sum())
                return sums.filter(pl.col("amount_ore") >= self._parameters[parameter]).select("family_id")
            case AnyOf(rules):
                return pl.concat([self._holds(part) for part in rules])

    def _families_of(self, persons: pl.LazyFrame, who: Who) -> pl.LazyFrame:
        return self._people.filter(role=who.value).join(persons, on="person_id", how="semi").select("family_id")

    def _fitting(self, who: Who, matches: Sequence[Match]) -> pl.LazyFrame:
        """Return the spells of such persons that fit one of the matches."""
        fits = pl.any_horizontal([self._fits(match) for match in matches])
        mine = self._people.filter(role=who.value).select("person_id")
        return self._spells.filter(fits).join(mine, on="person_id", how="semi")

    def _fits(self, match: Match) -> pl.Expr:
        found = self._catalogue
        if match.service:
            found = found.filter(service=match.service)
        if match.flag:
            found = found.filter(pl.col("flags").list.contains(match.flag))
        if match.department:
            found = found.filter(department=match.department)
        if found.is_empty():
            what = match.service or match.flag
            raise TargetGroupError(f"target group {self._name}: no service of the catalogue fits {what!r}")
        for flag in match.without_flags:
            found = found.filter(~pl.col("flags").list.contains(flag))
        fits = pl.col("service").is_in(found["service"].to_list())
        return fits & (pl.col("category") == match.category) if match.category else fits

    def _with_services(self, rule: Services) -> pl.LazyFrame:
        services = self._given(self._services, "services", frames.FAMILY_SERVICES)
        left_out = self._catalogue.filter(pl.col("area").is_in(rule.without_areas)).lazy()
        counted = (
            services.join(left_out, on="service", how="anti")
            .group_by("family_id")
            .agg(pl.len().alias("services"), pl.col("department").n_unique().alias("departments"))
        )
        enough = (pl.col("services") >= rule.services_at_least) & (pl.col("departments") >= rule.departments_at_least)
        return counted.filter(enough).select("family_id")

    def _given(self, frame: pl.LazyFrame | None, name: str, schema: pl.Schema) -> pl.LazyFrame:
        if frame is None:
            raise TargetGroupError(f"target group {self._name}: a rule needs the families' {name}")
        return frames.check(frame, schema, f"target_families: {name}")
