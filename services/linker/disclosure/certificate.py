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
    good = [witness for witness in witnesses if fits(system, needs, hidden, witness)]
    left = set()
    for number, attacker in enumerate(attackers):
        mine = [witness for witness in good if not np.any(witness[attacker.known])]
        known, below = set(attacker.known.tolist()), down(system, needs, attacker)
        highest, lowest = np.zeros(len(system)), np.zeros(len(system))
        for witness in mine:
            np.maximum(highest, witness, out=highest)
            np.minimum(lowest, witness, out=lowest)
        for cell in np.flatnonzero(needs.primary):
            if int(cell) in known:
                continue
            if not hidden[cell] or highest[cell] < needs.up[cell] * (1 - _TOLERANCE):
                left.add((number, int(cell), 1))
            if not hidden[cell] or -lowest[cell] < below[cell] * (1 - _TOLERANCE):
                left.add((number, int(cell), -1))
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
