"""Who attacks: what each attacker knows besides what is shown.

1. The outsider knows what is shown, every equation, and which contributions cannot be below 0.
2. A lone contributor also knows the cells that it is alone in, and what it gives to others.
3. A department's insider also knows all that its own department gives, and so every cell to which no other
   department gives anything: that no other does is an empty cell, which is no secret.

Each is told nothing false and no more; all of them know the rules and the method. What an attacker knows
without any release no release can keep from it: `holds` ends what must stay uncertain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from linker.disclosure.system import Flags, Integers, LinkedSystem, summed_by

Held = tuple[Integers, Integers]  # cells, and amounts


def _nothing() -> Held:
    return np.zeros(0, np.int64), np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Attacker:
    """A name for the record, which tells no cell; and the cells whose value the attacker knows, ascending.

    `holds`: what it knows to be in cells, as it gave it.
    """

    name: str
    known: Integers
    holds: Held = field(default_factory=_nothing)


def outsider() -> Attacker:
    """Return who knows only what is shown."""
    return Attacker("outsider", np.zeros(0, np.int64))


def lone_contributors(system: LinkedSystem) -> tuple[Attacker, ...]:
    """Return an attacker for each contributor that is alone in a cell, in the order of their numbers."""
    known: dict[int, list[int]] = {}
    for cell in np.flatnonzero(system.sole >= 0):
        known.setdefault(int(system.sole[cell]), []).append(int(cell))
    found = sorted(known)
    holds = _held(system, summed_by(system.owners, system.given, np.array(found, np.int64)))
    return tuple(
        Attacker("lone contributor", np.array(known[each], np.int64), held)
        for each, held in zip(found, holds, strict=True)
    )


def insiders(system: LinkedSystem, known: Mapping[str, Flags]) -> tuple[Attacker, ...]:
    """Return an attacker for each department, who knows the cells that are flagged, and all that they are made of."""
    atoms = system.atom_cells()
    some = system.contributors > 0
    held = system.atoms != 0
    found = []
    for name in sorted(known):
        own = np.asarray(held[:, known[name]].sum(axis=1)).ravel() > 0
        others = held.T @ (some[atoms] & ~own).astype(np.int64)
        cells = np.flatnonzero(known[name] | (some & (others == 0)))
        given = sp.csr_matrix(np.where(own, system.values[atoms], 0))
        found.append(Attacker(f"insider of {name}", cells, _held(system, given)[0]))
    return tuple(found)


def _held(system: LinkedSystem, given: sp.csr_matrix) -> list[Held]:
    """Return, for each row of what is given to atoms, what that is in cells."""
    cells = (given.astype(np.int64) @ system.atoms.astype(np.int64)).tocsr()
    cells.sort_indices()
    bounds = zip(cells.indptr, cells.indptr[1:], strict=False)
    return [(cells.indices[start:end].astype(np.int64), cells.data[start:end]) for start, end in bounds]
