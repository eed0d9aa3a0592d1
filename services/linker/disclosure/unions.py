"""What unsafe parts of one sum tell together.

Who has a sum and all its parts but some, has what these parts are together: of two hidden departments that only
one family has, the family's spending, to the øre. So the unsafe parts of each sum, together, are a virtual cell that
nobody shows; where it is unsafe, or its change since an earlier release is, it must stay uncertain like any other.

It knows amounts only: a count of few could not reach the threshold if the sum of the hidden ones were known and small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from linker.disclosure.changes import Difference, change_rules
from linker.disclosure.facts import CONTRIBUTOR, MONTH, FactFrame
from linker.disclosure.needs import Needs, ProtectionPolicy, needs
from linker.disclosure.regions import contributions_to, unlinked
from linker.disclosure.registered_system import Months, Place, RegisteredSystem, restricted, strictest
from linker.disclosure.relations import CombinationFacts, Relation, related
from linker.disclosure.views import View


@dataclass(frozen=True, slots=True, eq=False)
class _United:
    """Unions of one column and months that are unsafe: a place, a relation and the policies' flags for each."""

    places: list[Place]
    relations: list[Relation]
    policies: Mapping[str, list[bool]]
    needs: Needs


def united(
    registered: RegisteredSystem,
    facts: Sequence[FactFrame],
    differences: Sequence[Difference],
    found: Needs,
    policies: Mapping[str, ProtectionPolicy],
) -> tuple[RegisteredSystem, Needs]:
    """Return the system with its unsafe unions as virtual cells, and the needs of all its cells.

    `found`: the needs of the cells so far. Cost: a group-by over the facts and each difference, of each column.

    Guarantee: of every sum of a table, the parts that have needs, if there are several, are together safe by the rules
    for single cells and for changes since each earlier release, or are a virtual cell with needs. What a part was known
    by then is not asked.
    """
    frames = {column: frame for frame in facts for column in frame.columns if column not in frame.counted}
    wanted: dict[tuple[str, Months], dict[Place, tuple[int, ...]]] = {}
    for view in registered.views:
        if view.shown and view.column in frames:
            for place, cells in _unions(registered, view, found):
                if place not in registered.places:
                    wanted.setdefault((view.column, view.months), {})[place] = cells
    parts = [
        _judged(registered, frames[column], unions, differences, policies)
        for (column, _), unions in sorted(wanted.items())
    ]
    places = [place for part in parts for place in part.places]
    system = related(registered.system, [relation for part in parts for relation in part.relations])
    first = len(registered.system)
    flags = {
        name: np.concatenate([mine, np.array([flag for part in parts for flag in part.policies[name]], bool)])
        for name, mine in registered.policies.items()
    }
    every = [found, *(part.needs for part in parts)]
    numbered = {**registered.places, **{place: first + number for number, place in enumerate(places)}}
    return (
        replace(registered, system=system, places=numbered, policies=flags),
        Needs(*(np.concatenate([getattr(each, field) for each in every]) for field in ("primary", "up", "down"))),
    )


def _unions(registered: RegisteredSystem, view: View, found: Needs) -> Iterator[tuple[Place, tuple[int, ...]]]:
    """Yield the unsafe parts of each sum of a view, where there are several and others, and the sum is safe."""
    codes = [axis.codes for axis in view.axes]
    cells = registered.cells(view).reshape([len(each) for each in codes])
    populated, unsafe = registered.system.contributors[cells] > 0, found.primary[cells]
    for number, axis in enumerate(view.axes):
        along = [np.moveaxis(each, number, 0) for each in (cells, populated, unsafe)]
        others = view.axes[:number] + view.axes[number + 1 :]
        for sum_, members in list(enumerate(axis.members()))[len(axis.leaves) :]:
            mine, full, bad = (each[list(members)] for each in along)
            few = (bad.sum(axis=0) > 1) & (full & ~bad).any(axis=0) & ~along[2][sum_]
            for at in np.argwhere(few):
                chosen = np.flatnonzero(bad[(slice(None), *at)])
                leaves = {axis.name: {axis.leaves[members[each]] for each in chosen}}
                for other, code in zip(others, at, strict=True):
                    leaves[other.name] = {other.leaves[member] for member in other.members()[code]}
                whole = {each.name: len(each.leaves) for each in view.axes}
                region = [(name, tuple(sorted(each))) for name, each in leaves.items() if len(each) < whole[name]]
                region += [(name, tuple(sorted(each))) for name, each in view.within.items()]
                place = view.column, tuple(sorted(region)), view.months
                yield place, tuple(int(mine[(each, *at)]) for each in chosen)


def _judged(
    registered: RegisteredSystem,
    frame: FactFrame,
    unions: Mapping[Place, tuple[int, ...]],
    differences: Sequence[Difference],
    policies: Mapping[str, ProtectionPolicy],
) -> _United:
    """Return those that are unsafe, of one column and months."""
    places = list(unions)
    column, _, months = places[0]
    size, regions = len(places), [region for _, region, _ in places]
    rows = frame.frame.filter(pl.col(MONTH).is_in(months)) if frame.flow else frame.frame
    nets = contributions_to(regions, rows, [column])
    own = unlinked(nets, column, size, counted=False)
    mine = {
        name: np.array([flags[list(cells)].any() for cells in unions.values()], bool)
        for name, flags in registered.policies.items()
    }
    parts = [restricted(needs(own, policies[name]), flags) for name, flags in mine.items()]
    for each in differences:
        if each.frame == frame.name and each.months == months and column in each.columns:
            compared = np.array([{name for name, _ in region} <= each.axes for region in regions], bool)
            there = [region if same else () for region, same in zip(regions, compared, strict=True)]
            changed = unlinked(contributions_to(there, each.rows, [column]), column, size, counted=False)
            parts += [
                restricted(change_rules(changed, policies[name]), flags & compared) for name, flags in mine.items()
            ]
    must = strictest(parts, size)
    nonnegative = column in frame.nonnegative
    if nonnegative:
        must = replace(must, down=np.minimum(must.down, own.values))
    sole = dict(
        nets.join(registered.identities[frame.name], on=CONTRIBUTOR).select("region", "identity").unique().rows()
    )
    kept = np.flatnonzero(must.primary).tolist()
    return _United(
        places=[places[each] for each in kept],
        relations=[
            Relation(
                f"{registered.system.labels[unions[places[each]][0]]}, and what is unsafe beside it",
                dict.fromkeys(unions[places[each]], 1),
                CombinationFacts(
                    contributors=int(own.contributors[each]),
                    absolute=int(own.absolute[each]),
                    largest=int(own.largest[each]),
                    second=int(own.second[each]),
                    sole=sole[each] if own.contributors[each] == 1 else -1,
                    nonnegative=nonnegative,
                ),
            )
            for each in kept
        ],
        policies={name: flags[kept].tolist() for name, flags in mine.items()},
        needs=Needs(must.primary[kept], must.up[kept], must.down[kept]),
    )
