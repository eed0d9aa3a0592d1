"""One system over all registered tables of a run: every column, every table, and what earlier releases showed.

1. Cells are (column, region); a table that shows a mean or share has a cell for its numerator and one for its
   denominator.
2. Views of earlier releases join as cells that are not shown: what is shown now must not give them away either.
3. Combinations of the counts of a region, and what is left of a share, are equations or virtual cells (`combinations`).
4. A lone contributor is the same in all columns and frames, if they share a member; numbers follow from cells alone.
5. What must stay uncertain follows from the policy of each table; where tables share a cell, the strictest.

It does not know earlier facts, nor what is hidden.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from linker.disclosure.attackers import Attacker, insiders
from linker.disclosure.classification import ClassificationError
from linker.disclosure.facts import CONTRIBUTOR, MONTH, ContributionError, FactFrame
from linker.disclosure.linking import link
from linker.disclosure.needs import Needs, ProtectionPolicy, needs
from linker.disclosure.system import Flags, Integers, LinkedSystem, joined, summed_by
from linker.disclosure.views import Region, View, blocks

_DEPARTMENT = "department"

Months = tuple[int, ...]
Place = tuple[str, Region, Months]  # column, region, months


@dataclass(frozen=True, slots=True, eq=False)
class RegisteredSystem:
    """The system, with what its cells are.

    `views`: those shown, then those of earlier releases. `places`: column, region and months of a cell → its number.
    `policies`: for each policy, the cells that it protects. `identities`: for each frame, contributor → `identity`,
    which those share who share a member, also across frames.
    """

    system: LinkedSystem
    views: tuple[View, ...]
    places: Mapping[Place, int]
    policies: Mapping[str, Flags]
    identities: Mapping[str, pl.DataFrame]

    @property
    def reported(self) -> Flags:
        """Cells that are primary if they are unsafe: those of views."""
        found = np.zeros(len(self.system), bool)
        found[list(self.places.values())] = True
        return found

    def cells(self, view: View) -> Integers:
        """Return the cells of a view, in the order of its codes."""
        return self.system.tables[view.name]


def registered_system(
    shown: Sequence[View], earlier: Sequence[View], facts: Sequence[FactFrame], policies: Collection[str]
) -> RegisteredSystem:
    """Return the system. Cost: a group-by over the facts of each column.

    Raises:
        ContributionError: facts have a category that the registry does not have.
    """
    frames = {column: frame for frame in facts for column in frame.columns}
    found = [*shown, *_new_views(shown, earlier, frames)]
    systems, places, start = [], dict[Place, int](), 0
    persons = _components(facts)
    for column in sorted({view.column for view in found}):
        mine = [view for view in found if view.column == column]
        system = _link(column, mine, frames[column], persons)
        for view in mine:
            for region, cell in zip(view.regions(), system.tables[view.name].tolist(), strict=True):
                places[(column, region, view.months)] = start + cell
        start += len(system)
        systems.append(system)
    whole = joined(systems)
    return RegisteredSystem(whole, tuple(found), places, _policies(whole, found, policies), persons)


def by_region(frame: FactFrame, column: str, axes: Sequence[str], months: Mapping[int, str]) -> pl.DataFrame:
    """Return contributor, axes, `month` (leaf) if the facts are a flow, and `amount`: the column, in those months."""
    rows = frame.frame.lazy()
    keys = [CONTRIBUTOR, *axes]
    if frame.flow:
        leaf = pl.col(MONTH).replace_strict(dict(months), default=None, return_dtype=pl.String)
        rows = rows.with_columns(leaf.alias(MONTH)).filter(pl.col(MONTH).is_not_null())
        keys.append(MONTH)
    return rows.group_by(keys).agg(pl.col(column).sum().alias("amount")).collect()


def own_needs(registered: RegisteredSystem, policies: Mapping[str, ProtectionPolicy]) -> Needs:
    """Return what must stay uncertain by the rules for single releases, of shown and earlier cells."""
    parts = []
    for name, mine in registered.policies.items():
        found = needs(registered.system, policies[name], registered.reported)
        parts.append(restricted(found, mine & registered.reported))
    return strictest(parts, len(registered.system))


def restricted(found: Needs, cells: Flags) -> Needs:
    """Return the needs of some cells."""
    return Needs(found.primary & cells, np.where(cells, found.up, 0), np.where(cells, found.down, 0))


def strictest(parts: Sequence[Needs], size: int) -> Needs:
    """Return what satisfies all needs."""
    none = np.zeros(size, np.int64)
    return Needs(
        np.logical_or.reduce([np.zeros(size, bool), *(part.primary for part in parts)]),
        np.maximum.reduce([none, *(part.up for part in parts)]),
        np.maximum.reduce([none, *(part.down for part in parts)]),
    )


def whole_policy(policies: Sequence[ProtectionPolicy]) -> ProtectionPolicy:
    """Return the policy of the system: its attackers are those that any of the policies names."""
    first = policies[0]
    return replace(
        first,
        threshold=max(policy.threshold for policy in policies),
        zeros_are_disclosive=any(policy.zeros_are_disclosive for policy in policies),
        singletons=any(policy.singletons for policy in policies),
    )


def department_insiders(registered: RegisteredSystem) -> tuple[Attacker, ...]:
    """Return an attacker for each department, who knows every cell of all tables whose region lies in it."""
    known: dict[str, Flags] = {}
    for (_, region, _), cell in registered.places.items():
        leaves = dict(region).get(_DEPARTMENT, ())
        if len(leaves) == 1:
            known.setdefault(leaves[0], np.zeros(len(registered.system), bool))[cell] = True
    return insiders(registered.system, known)


def _new_views(shown: Sequence[View], earlier: Sequence[View], frames: Mapping[str, FactFrame]) -> list[View]:
    """Return the earlier views that add a region, and that the facts and axes of today can say something about."""
    leaves = {axis.name: set(axis.leaves) for view in shown for axis in view.axes}
    have = {(view.column, region, view.months) for view in shown for region in view.regions()}
    found = dict[str, View]()
    for view in earlier:
        frame = frames.get(view.column)
        if frame is None or not view.axis_names <= set(frame.axes) or frame.flow != bool(view.months):
            continue
        if any(set(axis.leaves) != leaves.setdefault(axis.name, set(axis.leaves)) for axis in view.axes):
            continue
        mine = {(view.column, region, view.months) for region in view.regions()}
        hidden = replace(view, shown=False)
        if not mine <= have and hidden.name not in found:
            have |= mine
            found[hidden.name] = hidden
    return list(found.values())


def _link(column: str, mine: Sequence[View], frame: FactFrame, persons: Mapping[str, pl.DataFrame]) -> LinkedSystem:
    months = blocks(mine)
    axes = sorted(set[str]().union(*(view.axis_names for view in mine)))
    rows = by_region(frame, column, axes, months)
    counted, nonnegative = column in frame.counted, column in frame.nonnegative
    try:
        system = link([view.cross_table(months) for view in mine], rows, counted=counted, nonnegative=nonnegative)
    except ClassificationError as error:
        raise ContributionError(f"facts {frame.name}: {error}; register it") from error
    names = _identities(system.owners, persons[frame.name])
    owners = np.unique(names)
    given = summed_by(names, system.given, owners)
    return replace(system, sole=_renamed(system.sole, persons[frame.name]), owners=owners, given=given)


def _components(facts: Sequence[FactFrame]) -> dict[str, pl.DataFrame]:
    """Return, for each frame, contributor → `identity`: those who share a member have the same, also across frames."""
    parts = [
        identified(frame).select(pl.lit(frame.name).alias("frame"), CONTRIBUTOR, "person").sort(CONTRIBUTOR, "person")
        for frame in facts
    ]
    linked = components(pl.concat(parts), ["frame", CONTRIBUTOR])
    return {frame.name: linked.filter(pl.col("frame") == frame.name).select(CONTRIBUTOR, "identity") for frame in facts}


def identified(frame: FactFrame) -> pl.DataFrame:
    """Return `person`, `contributor`: members, and a person of its own, below 0, for a contributor without."""
    without = frame.frame.select(CONTRIBUTOR).unique().join(frame.members, on=CONTRIBUTOR, how="anti")
    own = without.select((-1 - pl.col(CONTRIBUTOR)).alias("person"), CONTRIBUTOR)
    return pl.concat([frame.members.select("person", CONTRIBUTOR), own])


def components(rows: pl.DataFrame, of: Sequence[str]) -> pl.DataFrame:
    """Return the distinct `of` with their `identity` (Int64): the same for all that are linked by a `person`."""
    nodes = rows.select(of).unique().with_row_index("node")
    people = rows.select("person").unique().with_row_index("member")
    edges = rows.join(nodes, on=of).join(people, on="person")
    count, size = len(nodes), len(nodes) + len(people)
    ends = (edges["node"].to_numpy(), count + edges["member"].to_numpy().astype(np.int64))
    _, labels = connected_components(sp.coo_matrix((np.ones(len(edges), bool), ends), (size, size)), directed=False)
    return nodes.sort("node").select(*of, pl.Series("identity", labels[:count].astype(np.int64)))


def _renamed(sole: Integers, identities: pl.DataFrame) -> Integers:
    """Return the identities of lone contributors."""
    known = np.flatnonzero(sole >= 0)
    result = sole.copy()
    result[known] = _identities(sole[known], identities)
    return result


def _identities(contributors: Integers, identities: pl.DataFrame) -> Integers:
    asked = pl.DataFrame({CONTRIBUTOR: contributors})
    found = asked.join(identities, on=CONTRIBUTOR, how="left", maintain_order="left")["identity"]
    return found.to_numpy().astype(np.int64)


def renumbered(system: LinkedSystem) -> LinkedSystem:
    """Return the system with lone contributors numbered by their first cell, so that no number of a run matters.

    What others give is forgotten.
    """
    known = np.flatnonzero(system.sole >= 0)
    first = {who: number for number, who in enumerate(dict.fromkeys(system.sole[known].tolist()))}
    sole = system.sole.copy()
    sole[known] = [first[who] for who in system.sole[known].tolist()]
    alone = np.array(sorted(first), np.int64)
    order = np.argsort([first[who] for who in alone.tolist()])
    given = summed_by(system.owners, system.given, alone)[order]
    return replace(system, sole=sole, owners=np.arange(len(alone)), given=given)


def _policies(system: LinkedSystem, found: Sequence[View], policies: Collection[str]) -> dict[str, Flags]:
    """Return the cells of each policy; a view whose policy is no more is protected by all."""
    flags = {name: np.zeros(len(system), bool) for name in policies}
    for view in found:
        for name in [view.policy] if view.policy in policies else policies:
            flags[name][system.tables[view.name]] = True
    return {name: mine for name, mine in flags.items() if mine.any()}
