"""Who reads the family table and the ordinary tables: is each hidden amount as uncertain to it as to others?

1. Rows tell how much a set of departments spends, at least and at most (`reach.told_of_sets`); nothing else of amounts.
2. A release is certified by witnesses: other tables that agree with all that is shown. One that agrees with what the
   rows tell, too, is as good against who has them. Where it goes too far it is drawn towards the true table, until it
   agrees; that it may be, since what is told is a convex set that holds the true table.
3. For each demand that is then not met a program looks for a table that agrees with all. If there is none, or the
   program does not finish, the demand stays unmet.
4. How far all these tables reach is what such a reader must find possible, and what later releases are compared with.
5. Rows may be of an earlier run. An interval that the amount of now is outside of says nothing of it; nor does one of
   departments that no table has any more.

Counts are `reach`'s question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from linker.disclosure.certificate import uncertified
from linker.disclosure.family_table.columns import TOTAL
from linker.disclosure.family_table.reach import Rows, department_columns, told_of_sets
from linker.disclosure.needs import down
from linker.disclosure.protection import Protected
from linker.disclosure.registered_system import Place
from linker.disclosure.system import Flags, Integers, Numbers

_AMOUNT = "amount_ore"
_YEAR = tuple(range(1, 13))
_UNIT_ORE = 100_000.0  # of programs, so that numbers are of one size
_BEYOND = 1 + 1e-9  # of a need: what is asked for, so that rounding leaves enough


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """What rows tell of sets of departments: how far each sum can be above (`room[:, 0]`) and below its true value.

    `sets`: a row a set, a column a cell. `cells`: the departments' totals, and that of all.
    """

    cells: Integers
    sets: Flags
    room: Numbers


def joined(proof: Protected, rows: Rows) -> tuple[Protected, list[str]]:
    """Return the proof with tables that agree with the rows as well, and the cells that it then leaves unproven.

    Guarantee: if there are none, then for each attacker of the proof who has the rows, too, each unsafe amount lies as
    far from its true value, in some table that agrees with all it is told, as the policy says.

    Cost: a check of each witness for each set of departments, and a program for each demand that those do not meet.
    """
    system, pattern = proof.registered.system, proof.pattern
    told = _told(proof.registered.places, system.values, rows)
    if not len(told.sets):  # rows and tables have nothing in common
        return proof, []
    found = [np.where(system.counted, each, each * _share(each, told)) for each in pattern.witnesses]
    for number, cell, side in sorted(uncertified(system, pattern.needs, pattern.attackers, pattern.hidden, found)):
        witness = _searched(proof, told, number, cell, side)
        if witness is not None:
            found.append(witness)
    left = uncertified(system, pattern.needs, pattern.attackers, pattern.hidden, found)
    narrowed = replace(proof, pattern=replace(pattern, witnesses=tuple(found)))
    return narrowed, sorted({system.labels[cell] for _, cell, _ in left})


def _told(places: Mapping[Place, int], values: Integers, rows: Rows) -> _Told:
    all_ = (_AMOUNT, (), _YEAR)
    wanted = [*map(_place, department_columns(rows)), all_]
    numbers = {place: number for number, place in enumerate(each for each in wanted if each in places)}
    cells = np.array([places[place] for place in numbers], np.int64)
    sets, room = [], []
    for inside, floor, ceiling in told_of_sets(rows):
        those = [all_] if inside.all() and all_ in places else [wanted[number] for number in np.flatnonzero(inside)]
        if any(place not in places for place in those):
            continue
        flags = np.isin(np.arange(len(cells)), [numbers[place] for place in those])
        value = float(values[cells[flags]].sum())
        if floor <= value <= ceiling:
            sets.append(flags)
            room.append((ceiling - value, value - floor))
    return _Told(cells, np.array(sets, bool).reshape(-1, len(cells)), np.array(room, float).reshape(-1, 2))


def _share(witness: Numbers, told: _Told) -> float:
    """Return how much of a witness agrees with the rows: 1 all of it, 0 nothing."""
    by = told.sets @ witness[told.cells]
    moved = by != 0
    room = np.where(by > 0, told.room[:, 0], told.room[:, 1])
    return float(np.min(room[moved] / np.abs(by[moved]), initial=1.0))


def _searched(proof: Protected, told: _Told, number: int, cell: int, side: int) -> Numbers | None:
    """Return a table in which the cell is as far to the side as it needs, and that agrees with all; None without."""
    system, pattern = proof.registered.system, proof.pattern
    attacker = pattern.attackers[number]
    free = pattern.hidden & ~system.counted
    free[attacker.known] = False
    if system.counted[cell] or not free[cell]:
        return None
    columns = np.flatnonzero(free)
    place = np.full(len(system), -1)
    place[columns] = np.arange(len(columns))
    need = (pattern.needs.up if side > 0 else down(system, pattern.needs, attacker))[cell] * _BEYOND / _UNIT_ORE
    least = np.where(system.nonnegative[columns], -system.values[columns] / _UNIT_ORE, -np.inf)
    bounds = np.column_stack([least, np.full(len(columns), np.inf)])
    bounds[place[cell]] = (need, need) if side > 0 else (-need, -need)
    if side < 0:  # rounding must not ask for less than nothing
        bounds[place[cell]] = np.maximum(bounds[place[cell]], least[place[cell]])
    sums = told.sets.astype(float) @ _chosen(told.cells, place, len(columns))
    finite = np.isfinite(told.room)
    answer = linprog(
        np.zeros(len(columns)),
        A_ub=sp.vstack([sp.csr_matrix(sums[finite[:, 0]]), sp.csr_matrix(-sums[finite[:, 1]])]),
        b_ub=np.concatenate([told.room[finite[:, 0], 0], told.room[finite[:, 1], 1]]) / _UNIT_ORE,
        A_eq=system.equations[:, columns],
        b_eq=np.zeros(system.equations.shape[0]),
        bounds=bounds,
        method="highs",
    )
    if answer.status != 0:
        return None
    witness = np.zeros(len(system))
    witness[columns] = answer.x * _UNIT_ORE
    return witness


def _chosen(cells: Sequence[int] | Integers, place: Integers, size: int) -> Numbers:
    """Return a row a cell with 1 in its column; nothing for a cell that is known."""
    rows = np.zeros((len(cells), size))
    for row, cell in enumerate(cells):
        if place[cell] >= 0:
            rows[row, place[cell]] = 1
    return rows


def _place(column: str) -> Place:
    return _AMOUNT, (("department", (column.removeprefix(f"{TOTAL}_"),)),), _YEAR
