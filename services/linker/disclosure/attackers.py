"""Who attacks: what each attacker knows besides what is shown.

1. The outsider knows what is shown, every equation, and which contributions cannot be below 0.
2. A lone contributor also knows the cells that it is alone in.
3. A department's insider also knows every cell of its own department.

Each is told nothing false and no more; all of them know the rules and the method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from linker.disclosure.system import Flags, Integers, LinkedSystem


@dataclass(frozen=True, slots=True, eq=False)
class Attacker:
    """A name for the record, which tells no cell, and the cells whose value the attacker knows, ascending."""

    name: str
    known: Integers


def outsider() -> Attacker:
    """Return who knows only what is shown."""
    return Attacker("outsider", np.zeros(0, np.int64))


def lone_contributors(system: LinkedSystem) -> tuple[Attacker, ...]:
    """Return an attacker for each contributor that is alone in a cell, in the order of their numbers."""
    known: dict[int, list[int]] = {}
    for cell in np.flatnonzero(system.sole >= 0):
        known.setdefault(int(system.sole[cell]), []).append(int(cell))
    return tuple(Attacker("lone contributor", np.array(known[each], np.int64)) for each in sorted(known))


def insiders(known: Mapping[str, Flags]) -> tuple[Attacker, ...]:
    """Return an attacker for each department, who knows the cells that are flagged."""
    return tuple(Attacker(f"insider of {name}", np.flatnonzero(known[name])) for name in sorted(known))
