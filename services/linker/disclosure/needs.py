"""What must stay uncertain: the primary rules, and how far the range of each primary cell must reach.

1. A cell is primary when its contributors are fewer than the threshold; for an amount also by the p % rule (what
   all but the two largest contribute is less than p % of the largest) and by (n, k) dominance (the n largest
   are more than k % of the whole), on absolute contributions.
2. A cell without contributors is known to be 0, unless the policy says that zeros are disclosive.
3. A primary count must be possible at 0 and at the threshold. A primary amount must be possible at its value plus and
   minus the largest of p % of the largest contribution, a share of the value, and an absolute minimum; or at 0,
   where everybody knows that it cannot be less, or at the part of it that the attacker knows.

All numbers come from the policy. It does not know other cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linker.disclosure.attackers import Attacker
from linker.disclosure.system import Flags, Integers, LinkedSystem


@dataclass(frozen=True, slots=True)
class ProtectionPolicy:
    """The controller's numbers.

    `threshold`: fewest contributors of a cell that is shown. `p_percent`: of the p % rule; None: not applied.
    `dominance`: pairs (n, k) with n 1 or 2 and k in percent. `interval_percent`: least half-width of a primary amount's
    interval, of its value. `interval_minimum`: the same in the amount's unit. `zeros_are_disclosive`: a cell
    without contributors is primary. `singletons`: lone contributors are attackers who know their own value.
    """

    threshold: int
    p_percent: int | None
    dominance: tuple[tuple[int, int], ...]
    interval_percent: int
    interval_minimum: int
    zeros_are_disclosive: bool
    singletons: bool


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """Which cells are primary, and how far above (`up`) and below (`down`) the true value each must be possible."""

    primary: Flags
    up: Integers
    down: Integers


def needs(system: LinkedSystem, policy: ProtectionPolicy, also: Flags | None = None) -> Needs:
    """Return what must stay uncertain, of the cells that are shown and, `also`, of those flagged.

    Guarantee: a shown cell that is not primary has no contributor (unless zeros are disclosive) or at least `threshold`
    of them; if it is an amount without negative contributions, the second largest contributor, who subtracts its own,
    cannot bound the largest from above within p % of it, and no n contributors are above their dominance share.
    """
    primary = _primary(system, policy) & (system.shown if also is None else system.shown | also)
    percent = np.where(primary, system.largest, 0) * (policy.p_percent or 0)
    width = np.maximum(-(-percent // 100), -(-np.abs(system.values) * policy.interval_percent // 100))
    width = np.maximum(width, policy.interval_minimum)
    up = np.where(system.counted, policy.threshold - system.values, width)
    down = np.where(system.counted, system.values, width)
    down = np.where(system.nonnegative, np.minimum(down, system.values), down)
    return Needs(primary, np.where(primary, np.maximum(up, 1), 0), np.where(primary, down, 0))


def down(system: LinkedSystem, found: Needs, attacker: Attacker) -> Integers:
    """Return how far below its true value each cell must be possible for an attacker.

    That is the need, but where nothing is below 0 no further than to what the attacker itself gave to the cell.
    """
    cells, amounts = attacker.holds
    floor = np.zeros(len(system), np.int64)
    floor[cells] = amounts
    floor = np.clip(floor, 0, np.maximum(system.values, 0))
    return np.where(system.nonnegative, np.minimum(found.down, system.values - floor), found.down)


def _primary(system: LinkedSystem, policy: ProtectionPolicy) -> Flags:
    few = system.contributors < policy.threshold
    few &= (system.contributors > 0) | policy.zeros_are_disclosive
    found = few
    amounts = ~system.counted & (system.contributors > 0)
    rest = system.absolute - system.largest - system.second
    if policy.p_percent is not None:
        found = found | (amounts & (rest * 100 < system.largest * policy.p_percent))
    for count, percent in policy.dominance:
        most = system.largest if count == 1 else system.largest + system.second
        found = found | (amounts & (most * 100 > system.absolute * percent))
    return found
