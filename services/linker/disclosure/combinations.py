"""What the columns of one region tell together.

1. A combination of a region's counts with small whole coefficients that is 0 for every contributor, now and before, is
   an equation.
2. One that is not 0 for 1 to threshold - 1 contributors is a virtual cell, never shown: adults + single providers
   - 2 families counts the families with one adult who is married. So is one whose change since an earlier release was
   made by so few.
3. What a share leaves, its denominator less its numerator, is a virtual cell as well.
4. Only columns that could be shown matter in these: a combination with a cell that must stay uncertain is as uncertain.
5. A combination that everybody knows cannot be below 0 (a family has one adult or two) is a virtual cell that needs
   nothing, for the sake of its bound.

It does not know what is hidden for the sake of other cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import gcd

import numpy as np
import polars as pl

from linker.disclosure.changes import Difference, change_rules
from linker.disclosure.facts import CONTRIBUTOR, MONTH, FactFrame
from linker.disclosure.needs import Needs, ProtectionPolicy, needs
from linker.disclosure.regions import contributions_to, unlinked
from linker.disclosure.registered_system import Months, RegisteredSystem, restricted, strictest
from linker.disclosure.relations import CombinationFacts, Relation, related
from linker.disclosure.system import Integers
from linker.disclosure.views import Region

_COLUMNS_FOR_REACH_2 = 6  # 5 ** 6 combinations of a cell's counts; with more, coefficients are -1, 0 and 1


@dataclass(frozen=True, slots=True)
class _Group:
    """Columns of one frame that could be shown of one region, with their cells; and the policies of these."""

    region: Region
    months: Months
    columns: tuple[str, ...]
    cells: tuple[int, ...]
    policies: Mapping[str, ProtectionPolicy]


@dataclass(frozen=True, slots=True, eq=False)
class _Kinds:
    """Contributors to a region by what they add: a row of `values` a kind, how many are of it, and one of them."""

    values: Integers
    sizes: Integers
    one: Integers


@dataclass(frozen=True, slots=True, eq=False)
class _Combination:
    """A relation; of a virtual cell also the columns' weights, and what its changes need."""

    relation: Relation
    region: Region
    weights: tuple[tuple[str, int], ...]
    policies: tuple[str, ...]
    up: int
    down: int


def combined(
    registered: RegisteredSystem,
    facts: Sequence[FactFrame],
    shares: Iterable[tuple[str, str]],
    differences: Sequence[Difference],
    found: Needs,
    policies: Mapping[str, ProtectionPolicy],
) -> tuple[RegisteredSystem, Needs]:
    """Return the system with its equations between columns and virtual cells, and the needs of all its cells.

    `shares`: denominator and numerator of each share. `found`: the needs of the cells so far. Cost: for each region
    with several columns, their combinations (at most 5 ** 6) by the kinds of contributors.

    Guarantee: a combination of a region's counts with coefficients from -2 to 2 (-1 to 1 for more than 6 counts), all
    free of needs themselves, is 0 for all contributors, or not 0 for at least `threshold`, or a virtual cell with
    needs; and the same of its change since each earlier release.
    """
    combinations = list[_Combination]()
    for frame in facts:
        amounts = {pair for pair in shares if set(pair) <= set(frame.columns) - frame.counted}
        for months, groups in _groups(registered, frame, found, policies).items():
            compared = [
                each.rows for each in differences if each.months == each.before == months and each.frame == frame.name
            ]
            rows = [_of_months(frame, months), *compared]
            regions = [group.region for group in groups]
            nets = [contributions_to(regions, each, frame.columns) for each in rows]
            for place, group in enumerate(groups):
                parts = [each.filter(pl.col("region") == place) for each in nets]
                combinations += _of_counts(registered, frame, group, parts)
                combinations += _of_amounts(registered, frame, group, parts, amounts)
        combinations += _bounds(registered, frame)
    return _with(registered, combinations, found, policies)


def _groups(
    registered: RegisteredSystem, frame: FactFrame, found: Needs, policies: Mapping[str, ProtectionPolicy]
) -> dict[Months, list[_Group]]:
    """Return groups of at least two columns, by months."""
    cells: dict[tuple[Months, Region], dict[str, int]] = {}
    for (column, region, months), cell in registered.places.items():
        if column in frame.columns and not found.primary[cell] and registered.system.contributors[cell]:
            cells.setdefault((months, region), {})[column] = cell
    groups: dict[Months, list[_Group]] = {}
    for (months, region), columns in sorted(cells.items()):
        if len(columns) > 1:
            mine = sorted(columns)
            places = tuple(columns[name] for name in mine)
            rules = {name: policies[name] for name, flags in registered.policies.items() if flags[list(places)].any()}
            groups.setdefault(months, []).append(_Group(region, months, tuple(mine), places, rules))
    return groups


def _bounds(registered: RegisteredSystem, frame: FactFrame) -> Iterator[_Combination]:
    """Yield the frame's bounds, in each region that has their columns."""
    cells: dict[tuple[Months, Region], dict[str, int]] = {}
    for (column, region, months), cell in registered.places.items():
        if column in frame.columns and registered.system.contributors[cell]:
            cells.setdefault((months, region), {})[column] = cell
    for (months, region), columns in sorted(cells.items()):
        bounds = [bound for bound in frame.bounds if set(bound) <= set(columns)]
        if bounds:
            group = _Group(region, months, tuple(columns), tuple(columns.values()), {})
            nets = contributions_to([region], _of_months(frame, months), frame.columns)
            for bound in bounds:
                yield _virtual(registered, frame, group, bound, [nets])


def _of_months(frame: FactFrame, months: Months) -> pl.DataFrame:
    return frame.frame.filter(pl.col(MONTH).is_in(months)) if frame.flow else frame.frame


def _kinds(nets: pl.DataFrame, columns: Sequence[str]) -> _Kinds:
    grouped = (
        nets.filter(pl.any_horizontal(pl.col(columns) != 0))
        .group_by(columns)
        .agg(pl.len().cast(pl.Int64).alias("size"), pl.col(CONTRIBUTOR).min().alias("one"))
        .sort(columns)
    )
    return _Kinds(grouped.select(columns).to_numpy(), grouped["size"].to_numpy(), grouped["one"].to_numpy())


def _of_counts(
    registered: RegisteredSystem, frame: FactFrame, group: _Group, parts: Sequence[pl.DataFrame]
) -> list[_Combination]:
    columns = [name for name in group.columns if name in frame.counted]
    if len(columns) < 2:
        return []
    weights = _weights(len(columns))
    kinds = [_kinds(part, columns) for part in parts]
    values = [each.values @ weights.T for each in kinds]
    counts = [each.sizes @ (found != 0) for each, found in zip(kinds, values, strict=True)]
    none = np.logical_and.reduce([count == 0 for count in counts])
    thresholds = [policy.threshold for policy in group.policies.values()]
    few = np.logical_or.reduce([(count > 0) & (count < least) for count in counts for least in thresholds])
    equations = [Relation("", _coefficients(group, columns, row)) for row in _independent(weights[none])]
    found = [_Combination(equation, group.region, (), (), 0, 0) for equation in equations]
    seen = set[bytes]()
    for place in np.flatnonzero(few):
        every = np.concatenate([each[:, place] for each in values])
        every = every // np.gcd.reduce(every)
        if {every.tobytes(), (-every).tobytes()} & seen:
            continue
        seen.add(every.tobytes())
        found.append(
            _virtual(registered, frame, group, dict(zip(columns, weights[place].tolist(), strict=True)), parts)
        )
    return found


def _of_amounts(
    registered: RegisteredSystem,
    frame: FactFrame,
    group: _Group,
    parts: Sequence[pl.DataFrame],
    shares: Iterable[tuple[str, str]],
) -> list[_Combination]:
    mine = [pair for pair in sorted(shares) if set(pair) <= set(group.columns)]
    return [
        _virtual(registered, frame, group, {denominator: 1, numerator: -1}, parts) for denominator, numerator in mine
    ]


def _virtual(
    registered: RegisteredSystem,
    frame: FactFrame,
    group: _Group,
    weights: Mapping[str, int],
    parts: Sequence[pl.DataFrame],
) -> _Combination:
    counted = set(weights) <= frame.counted
    value = pl.sum_horizontal(pl.col(name) * weight for name, weight in weights.items())
    rows = [
        part.select(pl.lit(0, pl.Int64).alias("region"), CONTRIBUTOR, value.alias("value")).filter(pl.col("value") != 0)
        for part in parts
    ]
    if rows[0]["value"].sum() < 0:  # which sign it has is no matter
        return _virtual(registered, frame, group, {name: -weight for name, weight in weights.items()}, parts)
    facts = unlinked(rows[0], "value", 1, counted=counted)
    sole = -1
    if len(rows[0]) == 1:
        sole = rows[0].select(CONTRIBUTOR).join(registered.identities[frame.name], on=CONTRIBUTOR)["identity"].item()
    label = f"{registered.system.labels[group.cells[0]]}, columns together"
    relation = Relation(
        label,
        _coefficients(group, list(weights), list(weights.values())),
        CombinationFacts(
            contributors=int(facts.contributors[0]),
            absolute=int(facts.absolute[0]),
            largest=int(facts.largest[0]),
            second=int(facts.second[0]),
            sole=sole,
            nonnegative=bool((rows[0]["value"] >= 0).all()),
        ),
    )
    musts = [
        change_rules(unlinked(each, "value", 1, counted=counted), policy)
        for each in rows[1:]
        for policy in group.policies.values()
    ]
    must = strictest(musts, 1)
    return _Combination(
        relation,
        group.region,
        tuple(sorted(weights.items())),
        tuple(group.policies),
        int(must.up[0]),
        int(must.down[0]),
    )


def _coefficients(group: _Group, columns: Sequence[str], weights: Iterable[int]) -> dict[int, int]:
    cells = [group.cells[group.columns.index(name)] for name in columns]
    return {cell: int(weight) for cell, weight in zip(cells, weights, strict=True) if weight}


@cache
def _weights(columns: int) -> Integers:
    """Return combinations of at least two columns, each once up to a factor; the smallest first."""
    reach = 2 if columns <= _COLUMNS_FOR_REACH_2 else 1
    every = [
        each
        for each in product(range(-reach, reach + 1), repeat=columns)
        if sum(map(bool, each)) > 1 and gcd(*each) == 1 and next(filter(None, each)) > 0
    ]
    return np.array(sorted(every, key=lambda each: (sum(map(abs, each)), each)), np.int64)


def _independent(weights: Integers) -> list[Integers]:
    """Return the first rows that are not combinations of those before."""
    found = list[Integers]()
    for row in weights:
        if np.linalg.matrix_rank(np.array([*found, row])) > len(found):
            found.append(row)
    return found


def _with(
    registered: RegisteredSystem,
    combinations: Sequence[_Combination],
    found: Needs,
    policies: Mapping[str, ProtectionPolicy],
) -> tuple[RegisteredSystem, Needs]:
    system = related(registered.system, [each.relation for each in combinations])
    virtual = [each for each in combinations if each.relation.facts is not None]
    old, size = len(found.primary), len(system)
    parts = [
        Needs(
            *(
                np.concatenate([each, np.zeros(size - old, each.dtype)])
                for each in (found.primary, found.up, found.down)
            )
        )
    ]
    flags = {
        name: np.concatenate([mine, np.array([name in each.policies for each in virtual], bool)])
        for name, mine in registered.policies.items()
    }
    new = np.arange(size) >= old
    for name, mine in flags.items():
        own = needs(system, policies[name], new)
        signed = ~system.nonnegative & system.counted & own.primary  # could as well be on the other side of 0
        parts.append(restricted(replace(own, down=np.where(signed, np.maximum(own.down, 1), own.down)), mine & new))
    up, down = (np.array([0] * old + [getattr(each, end) for each in virtual], np.int64) for end in ("up", "down"))
    parts.append(Needs(up > 0, up, down))
    return replace(registered, system=system, policies=flags), strictest(parts, size)
