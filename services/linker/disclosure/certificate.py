"""Checks a pattern's certificate from the system, the needs and the witnesses alone; it shares no code with the search.

A witness counts if it is a table that fits all that an attacker knows: every equation holds, shown cells do not
move, no cell goes below 0 that cannot, and counts are whole. A demand is certified if a witness that counts, and leaves
unmoved what the attacker knows, takes the cell as far as it must go.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linker.disclosure.attackers import Attacker
from linker.disclosure.needs import Needs, down
from linker.disclosure.system import Flags, LinkedSystem, Numbers

_TOLERANCE = 1e-6  # relative to the least need of the measure, for each cell that moves
_EXACT = 1e-14  # relative to what an equation sums: as good as numbers of double precision get


def uncertified(
    system: LinkedSystem,
    needs: Needs,
    attackers: Sequence[Attacker],
    hidden: Flags,
    witnesses: Sequence[Numbers],
) -> set[tuple[int, int, int]]:
    """Return (attacker, cell, side) of every demand that no witness certifies.

    Guarantee: if the set is empty, then for each attacker, primary cell that it does not know, and side, there is a
    table that agrees with all the attacker knows and in which the cell differs from its true value by the need,
    within a millionth; so no reasoning from what it knows, of whatever kind, excludes that value.
    """
    primary = np.flatnonzero(needs.primary)
    good = [witness for witness in witnesses if fits(system, needs, hidden, witness)]
    at = np.array([witness[primary] for witness in good]).reshape(len(good), len(primary))
    moved = np.array([witness != 0 for witness in good]).reshape(len(good), len(system))
    left = set[tuple[int, int, int]]()
    for number, attacker in enumerate(attackers):
        mine = at[~moved[:, attacker.known].any(axis=1)]
        known, below = np.isin(primary, attacker.known), down(system, needs, attacker)[primary]
        highest, lowest = mine.max(axis=0, initial=0), mine.min(axis=0, initial=0)
        for side, reached, need in ((1, highest, needs.up[primary]), (-1, -lowest, below)):
            short = ~known & (~hidden[primary] | (reached < need * (1 - _TOLERANCE)))
            left |= {(number, cell, side) for cell in primary[short].tolist()}
    return left


def fits(system: LinkedSystem, needs: Needs, hidden: Flags, witness: Numbers) -> bool:
    """Say whether a witness counts."""
    wide = np.max(needs.up[~system.counted], initial=0)
    unit = np.where(
        system.counted, 1.0, max(float(np.min(needs.up[needs.primary & ~system.counted], initial=wide)), 1.0)
    )
    if np.any(witness[system.counted] % 1):
        return False
    least = -_TOLERANCE * unit - _EXACT * system.values
    if np.any(witness[~hidden]) or np.any((witness + system.values < least) & system.nonnegative):
        return False
    sums = np.abs(system.equations) @ np.where(witness, _TOLERANCE * unit + _EXACT * np.abs(witness), 0.0)
    return bool(np.all(np.abs(system.equations @ witness) <= sums))
