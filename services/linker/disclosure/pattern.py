"""A pattern: which cells are hidden, with the record and the certificate of it.

It does not know how a pattern is found (`suppression`), nor how it is checked (`certificate`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linker.disclosure.attackers import Attacker
from linker.disclosure.needs import Needs
from linker.disclosure.system import Flags, LinkedSystem, Numbers
from linker.disclosure.witnesses import Demand


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """What is hidden, with its record. Internal: never tells anyone which cells are primary.

    `hidden`: cells that nobody knows, atoms that no table shows included. `failures`: demands that cannot be met by
    hiding anything. `unchecked`: demands that a program did not finish, or whose witness does not stand the check.
    `programs`: programs solved. `witnesses`: the certificate: differences from the true table that count.
    """

    hidden: Flags
    needs: Needs
    attackers: tuple[Attacker, ...]
    failures: tuple[Demand, ...]
    unchecked: tuple[Demand, ...]
    programs: int
    witnesses: tuple[Numbers, ...]

    @property
    def proven(self) -> bool:
        """Say whether the pattern may be released."""
        return not self.failures and not self.unchecked

    def ranges(self) -> tuple[Numbers, Numbers]:
        """Return how far above and below its true value the outsider must find each cell possible; 0 where it is shown.

        Guarantee: as far as the witnesses prove it; a cell may be less known than that. What an attacker with
        knowledge of its own must find possible, the outsider must too.
        """
        up, down = np.zeros(len(self.hidden)), np.zeros(len(self.hidden))
        for witness in self.witnesses:
            np.maximum(up, witness, out=up)
            np.maximum(down, -witness, out=down)
        return up, down

    def secondary(self, system: LinkedSystem) -> Flags:
        """Return the cells hidden for the sake of primary ones."""
        flags: Flags = self.hidden & system.shown & ~self.needs.primary
        return flags
