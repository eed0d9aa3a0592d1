"""What hidden parts of one sum tell together.

Who has a sum and all its parts but some, has what these parts are together: of two hidden departments that only
one family has, the family's spending, to the øre. So what parts are together is a virtual cell that nobody shows; where
it is unsafe, or its change since an earlier release is, it must stay uncertain like any other.

1. Before anything is hidden: the unsafe parts of each sum, together, and the parts that an earlier release hid: what
   they were together followed from it.
2. Once there is a pattern: any two to four hidden parts of a sum, and all of them, that no witness moves far; and
   what is left of a sum over several axes when shown numbers are taken away (`parts`).

It knows amounts only: a count of few could not reach the threshold if the sum of the hidden ones were known and small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import polars as pl

from linker.disclosure.changes import Difference, change_rules
from linker.disclosure.facts import CONTRIBUTOR, MONTH, FactFrame
from linker.disclosure.needs import Needs, ProtectionPolicy, needs
from linker.disclosure.parts import Union, lines, rests
from linker.disclosure.pattern import Pattern
from linker.disclosure.regions import contributions_together, unlinked
from linker.disclosure.registered_system import Months, Place, RegisteredSystem, restricted, strictest
from linker.disclosure.relations import CombinationFacts, Relation, related
from linker.disclosure.views import View

_TOGETHER = 4  # hidden parts that are looked at together, besides all of them
_AT_ONCE = 200  # unions at a time


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
    frames = _amounts(facts)
    wanted = [
        union
        for view in _shown(registered, frames)
        for union in (*_unions(registered, view, found), *_hidden_then(registered, view, differences))
    ]
    return _with(registered, frames, wanted, differences, found, policies)


def united_again(
    registered: RegisteredSystem,
    facts: Sequence[FactFrame],
    differences: Sequence[Difference],
    found: Needs,
    pattern: Pattern,
    policies: Mapping[str, ProtectionPolicy],
) -> tuple[RegisteredSystem, Needs]:
    """Return the system with more virtual cells, for what the pattern hides and nobody has shown to be uncertain.

    Cost: the pattern's witnesses times the unions of two to four hidden parts of a sum, and a group-by for those that
    are in doubt. Where none is unsafe the system comes back as it is.

    Guarantee: of every sum of a table, two to four hidden parts, and all of them, are together safe, or a virtual cell
    with needs, or can be further from the truth than any need of theirs by a witness of the pattern. Needs of changes
    are taken to be no larger than p % of the parts' largest amounts. What `rests` finds of sums over several axes is
    safe, or a virtual cell with needs.
    """
    frames = _amounts(facts)
    hidden = [union for view in _shown(registered, frames) for union in _hidden(registered, view, pattern)]
    up, down = pattern.ranges()
    wanted = _doubtful(registered, hidden, pattern, policies)
    for view in registered.views:
        if view.column in frames:
            wanted += rests(registered, view, (up == 0) & (down == 0))
    return _with(registered, frames, wanted, differences, found, policies)


def _amounts(facts: Sequence[FactFrame]) -> dict[str, FactFrame]:
    return {column: frame for frame in facts for column in frame.columns if column not in frame.counted}


def _shown(registered: RegisteredSystem, frames: Mapping[str, FactFrame]) -> list[View]:
    return [view for view in registered.views if view.shown and view.column in frames]


def _with(
    registered: RegisteredSystem,
    frames: Mapping[str, FactFrame],
    unions: Sequence[Union],
    differences: Sequence[Difference],
    found: Needs,
    policies: Mapping[str, ProtectionPolicy],
) -> tuple[RegisteredSystem, Needs]:
    wanted: dict[tuple[str, Months], dict[Place, Union]] = {}
    for each in unions:
        if each.place not in registered.places:
            wanted.setdefault((each.place[0], each.place[2]), {})[each.place] = each
    parts = [
        _judged(registered, frames[column], mine, differences, policies) for (column, _), mine in sorted(wanted.items())
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


def _unions(registered: RegisteredSystem, view: View, found: Needs) -> Iterator[Union]:
    """Yield the unsafe parts of each sum of a view, where there are several and others, and the sum is safe."""
    for line in lines(registered, view):
        unsafe = [found.primary[cell] for cell in line.cells]
        full = [registered.system.contributors[cell] > 0 for cell in line.cells]
        others = any(here and not bad for here, bad in zip(full, unsafe, strict=True))
        if sum(unsafe) > 1 and others and not found.primary[line.sum_]:
            yield line.union([number for number, bad in enumerate(unsafe) if bad])


def _hidden_then(registered: RegisteredSystem, view: View, differences: Sequence[Difference]) -> Iterator[Union]:
    """Yield the parts of each sum of a view that an earlier release hid, where there are several."""
    every = list(lines(registered, view))
    for each in differences:
        if each.months == view.months and view.column in each.columns:
            for line in every:
                then = [each.known.get((*line.union([part]).place[:2], each.before)) for part in range(len(line.cells))]
                parts = [part for part, known in enumerate(then) if known is not None and any(known)]
                if len(parts) > 1:
                    yield line.union(parts)


def _hidden(registered: RegisteredSystem, view: View, pattern: Pattern) -> Iterator[Union]:
    """Yield every two to four hidden parts of each sum of a view, and all of them."""
    for line in lines(registered, view):
        parts = [
            number
            for number, cell in enumerate(line.cells)
            if pattern.hidden[cell] and registered.system.contributors[cell] > 0
        ]
        for size in {*range(2, min(_TOGETHER, len(parts)) + 1), max(len(parts), 2)}:
            for chosen in combinations(parts, size):
                yield line.union(chosen)


def _doubtful(
    registered: RegisteredSystem,
    unions: Sequence[Union],
    pattern: Pattern,
    policies: Mapping[str, ProtectionPolicy],
) -> list[Union]:
    """Return the unions that no witness moves further up and down than the most that they could need."""
    system, percent = registered.system, max(policy.p_percent or 0 for policy in policies.values())
    share = max(policy.interval_percent for policy in policies.values())
    least = max(policy.interval_minimum for policy in policies.values())
    moved = np.array(pattern.witnesses).reshape(-1, len(system))
    found = []
    by_size: dict[int, list[Union]] = {}
    for union in {each.place: each for each in unions if each.place not in registered.places}.values():
        by_size.setdefault(len(union.cells), []).append(union)
    for _, mine in sorted(by_size.items()):
        for start in range(0, len(mine), _AT_ONCE):
            part = mine[start : start + _AT_ONCE]
            together = np.array([each.cells for each in part])
            sums = moved[:, together].sum(axis=2)
            reach = np.minimum(sums.max(axis=0, initial=0), -sums.min(axis=0, initial=0))
            values, largest = np.abs(system.values[together].sum(axis=1)), system.largest[together].sum(axis=1)
            most = np.maximum(np.maximum(values * share, largest * percent) / 100, least)
            found += [part[number] for number in np.flatnonzero(reach < most)]
    return found


def _judged(
    registered: RegisteredSystem,
    frame: FactFrame,
    unions: Mapping[Place, Union],
    differences: Sequence[Difference],
    policies: Mapping[str, ProtectionPolicy],
) -> _United:
    """Return those that are unsafe, of one column and months."""
    places = list(unions)
    column, _, months = places[0]
    size, regions = len(places), [unions[place].regions for place in places]
    rows = frame.frame.filter(pl.col(MONTH).is_in(months)) if frame.flow else frame.frame
    nets = contributions_together(regions, rows, column)
    own = unlinked(nets, column, size, counted=False)
    mine = {
        name: np.array([flags[list(each.cells)].any() for each in unions.values()], bool)
        for name, flags in registered.policies.items()
    }
    parts = [restricted(needs(own, policies[name]), flags) for name, flags in mine.items()]
    for each in differences:
        if each.frame == frame.name and each.months == months and column in each.columns:
            compared = np.array([{name for part in parts for name, _ in part} <= each.axes for parts in regions], bool)
            there = [parts if same else () for parts, same in zip(regions, compared, strict=True)]
            changed = unlinked(contributions_together(there, each.rows, column), column, size, counted=False)
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
                f"{registered.system.labels[unions[places[each]].cells[0]]}, and what is unsafe beside it",
                dict.fromkeys(unions[places[each]].cells, 1),
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
