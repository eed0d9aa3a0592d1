"""Parts of a view's sums, which tell something together: along one axis, and over several.

It does not know what is hidden, nor what is unsafe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from linker.disclosure.registered_system import Place, RegisteredSystem
from linker.disclosure.system import Flags
from linker.disclosure.views import Region, View

_MIXED_ORDERS = 24


@dataclass(frozen=True, slots=True)
class Union:
    """Cells that have nothing in common, as one: where it is, the cells, and the regions that it consists of."""

    place: Place
    cells: tuple[int, ...]
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A sum and its parts, along one axis of a view: cells, and the axis, leaf of each part and region around."""

    view: View
    axis: str
    leaves: tuple[str, ...]
    around: tuple[tuple[str, tuple[str, ...]], ...]
    sum_: int
    cells: tuple[int, ...]
    whole: int  # leaves that the axis has

    def union(self, parts: Sequence[int]) -> Union:
        """Return some parts as one region: its place, and their cells."""
        region = list(self.around)
        if len(parts) < self.whole:
            region.append((self.axis, tuple(sorted(self.leaves[part] for part in parts))))
        place = (self.view.column, tuple(sorted(region)), self.view.months)
        return Union(place, tuple(self.cells[part] for part in parts), (place[1],))


def lines(registered: RegisteredSystem, view: View) -> Iterator[Line]:
    """Yield each sum of a view, along each axis."""
    cells = registered.cells(view).reshape([len(axis.codes) for axis in view.axes])
    within = [(name, tuple(sorted(each))) for name, each in view.within.items()]
    for number, axis in enumerate(view.axes):
        along = np.moveaxis(cells, number, 0)
        others = view.axes[:number] + view.axes[number + 1 :]
        for sum_, members in list(enumerate(axis.members()))[len(axis.leaves) :]:
            leaves = tuple(axis.leaves[member] for member in members)
            for at in np.ndindex(along.shape[1:]):
                around = list(within)
                for other, code in zip(others, at, strict=True):
                    mine = other.members()[code]
                    if len(mine) < len(other.leaves):
                        around.append((other.name, tuple(sorted(other.leaves[member] for member in mine))))
                parts = along[(list(members), *at)]
                yield Line(
                    view,
                    axis.name,
                    leaves,
                    tuple(around),
                    int(along[(sum_, *at)]),
                    tuple(map(int, parts)),
                    len(axis.leaves),
                )


def rests(registered: RegisteredSystem, view: View, known: Flags) -> Iterator[Union]:
    """Yield what is left of known sums of a view when what is known of them is taken away, as finest cells.

    There are as many ways to take it away as there are orders; these are tried: the largest numbers first, the
    smallest, those that sum all that the sum does along one axis, and some mixed ones. Empty cells are left out.
    """
    cells, regions = registered.cells(view), view.regions()
    members, sizes = [axis.members() for axis in view.axes], [len(axis.codes) for axis in view.axes]
    finest = [int(np.ravel_multi_index(at, sizes)) for at in product(*(range(len(axis.leaves)) for axis in view.axes))]
    full = sum(1 << number for number, each in enumerate(finest) if registered.system.contributors[cells[each]])
    masks = _masks(members, [len(axis.leaves) for axis in view.axes])
    within = [[[c for c, some in enumerate(each) if set(some) <= set(whole)] for whole in each] for each in members]
    found = dict[int, None]()
    for at in np.ndindex(*sizes):
        sums = sum(code >= len(axis.leaves) for code, axis in zip(at, view.axes, strict=True))
        if sums < 2 or not known[cells[np.ravel_multi_index(at, sizes)]]:
            continue
        inside = [
            (masks[part] & full, part)
            for part in product(*(each[code] for each, code in zip(within, at, strict=True)))
            if part != at and known[cells[np.ravel_multi_index(part, sizes)]]
        ]
        inside.sort(key=lambda each: -each[0].bit_count())
        orders = [inside, inside[::-1]]
        orders += [sorted(inside, key=lambda each: each[1][axis] != at[axis]) for axis in range(len(at))]
        for turn in range(_MIXED_ORDERS):
            mixed = sorted(range(len(inside)), key=lambda each: _scattered(each, turn))
            orders.append([inside[each] for each in mixed])
        for order in orders:
            found[_left(masks[at] & full, order)] = None
    for left in found:
        parts = [each for number, each in enumerate(finest) if left >> number & 1]
        if len(parts) > 1:
            codes = view.codes()
            names = tuple(sorted("/".join(codes[part]) for part in parts))
            region = (("/".join(axis.name for axis in view.axes), names), *sorted(view.within.items()))
            yield Union(
                (view.column, region, view.months),
                tuple(int(cells[part]) for part in parts),
                tuple(regions[part] for part in parts),
            )


def _scattered(number: int, turn: int) -> int:
    """Return a number that has nothing to do with its neighbours', another one each turn."""
    found = (number + 1) * (2 * turn + 1) * 0x9E3779B1 & 0xFFFFFFFF
    found = (found ^ found >> 15) * 0x85EBCA6B & 0xFFFFFFFF
    return found ^ found >> 13


def _left(whole: int, known: Sequence[tuple[int, tuple[int, ...]]]) -> int:
    """Return what is left of a set of finest cells when known ones are taken away in order, where they are in it."""
    for part, _ in known:
        if not part & ~whole:
            whole ^= part
    return whole


def _masks(members: Sequence[Sequence[tuple[int, ...]]], leaves: Sequence[int]) -> dict[tuple[int, ...], int]:
    """Return the finest cells of each cell of a table, as bits."""
    found: dict[tuple[int, ...], int] = {(): 1}
    for codes, count in zip(members, leaves, strict=True):
        found = {
            (*at, code): sum(_spread(mask, count, member) for member in mine)
            for at, mask in found.items()
            for code, mine in enumerate(codes)
        }
    return found


def _spread(mask: int, count: int, member: int) -> int:
    """Return the mask with each bit at `member` of its own `count` bits."""
    return sum(1 << (place * count + member) for place in range(mask.bit_length()) if mask >> place & 1)
