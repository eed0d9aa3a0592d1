"""Which cells to hide: complementary suppression with a proof for every primary cell.

Gaussian elimination gives a first pattern (`elimination`); it is attacked, repaired, and freed of what need not be
hidden (`search`). It does not know policies, tables or clocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linker.disclosure.attackers import Attacker, lone_contributors, outsider
from linker.disclosure.elimination import eliminate
from linker.disclosure.needs import Needs, ProtectionPolicy, needs
from linker.disclosure.pattern import Pattern
from linker.disclosure.search import Progress, Search
from linker.disclosure.system import Flags, LinkedSystem
from linker.disclosure.witnesses import lengthened


def _silent(_: str, __: int, ___: int) -> None:
    pass


def protect(
    system: LinkedSystem,
    policy: ProtectionPolicy,
    found: Needs | None = None,
    *,
    insiders: Sequence[Attacker] = (),
    prefer: Flags | None = None,
    keep: Flags | None = None,
    progress: Progress = _silent,
) -> Pattern:
    """Return a pattern for a system. Deterministic. Cost: seconds for 1,000 cells, minutes for 10,000.

    `found`: what must stay uncertain, where that is more than the policy's rules for shown cells say; its primary cells
    need not be shown. `prefer`: cells that are hidden rather than others, as they were hidden before.
    `keep`: cells that are known whether they are hidden or not, so that hiding them protects nothing; a primary cell is
    hidden all the same. One that no table shows is as good as shown.

    Guarantee: if the pattern is proven, each of its attackers finds it possible that any primary cell it does not know
    lies as far above and below its true value as `needs` says (`uncertified`); nothing is claimed of a pattern
    that is not.
    """
    found = needs(system, policy) if found is None else found
    attackers = (outsider(), *(lone_contributors(system) if policy.singletons else ()), *insiders)
    may_hide = system.shown & ((system.contributors > 0) | policy.zeros_are_disclosive)
    kept = np.zeros(len(system), bool) if keep is None else keep & ~found.primary
    may_hide = (may_hide & ~kept) | (found.primary & system.shown)
    unshown = ~system.shown & ~kept
    gauss = eliminate(  # it does not know of kept cells: a way round them is cheaper found by the programs
        system,
        found.primary,
        may_hide=may_hide,
        lone=policy.singletons,
        zeros=policy.zeros_are_disclosive,
        prefer=prefer,
    )
    progress("elimination", 1, 1)
    return Search(system, found, attackers, may_hide, unshown, gauss, progress, prefer).run()


def extend(
    system: LinkedSystem,
    policy: ProtectionPolicy,
    found: Needs,
    before: Pattern,
    *,
    insiders: Sequence[Attacker] = (),
    keep: Flags | None = None,
    progress: Progress = _silent,
) -> Pattern:
    """Return a pattern for a system to which virtual cells were added, on top of its proven pattern `before`.

    What was hidden stays hidden, and witnesses stay witnesses: only what the new cells need is sought. The guarantee
    is that of `protect`; more may be hidden than it would hide, as ways are not found anew.
    """
    attackers = (outsider(), *(lone_contributors(system) if policy.singletons else ()), *insiders)
    hidden = np.concatenate([before.hidden, np.ones(len(system) - len(before.hidden), bool)])
    kept = np.zeros(len(system), bool) if keep is None else keep & ~found.primary
    may_hide = system.shown & ((system.contributors > 0) | policy.zeros_are_disclosive) & ~kept
    search = Search(
        system, found, attackers, may_hide | (hidden & system.shown), ~system.shown & hidden, hidden, progress
    )
    return search.extended(lengthened(system, before.witnesses), before.programs)


def prove(system: LinkedSystem, found: Needs, attackers: tuple[Attacker, ...], hidden: Flags) -> Pattern:
    """Attack a given pattern without changing it; for patterns of other programs, and controls that must fail."""
    search = Search(system, found, attackers, hidden & system.shown, ~system.shown, hidden, _silent)
    for demand in search.attack():
        search.fail(demand)
    return search.pattern()
