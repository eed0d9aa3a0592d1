"""Mixtures of witnesses that leave unmoved what an attacker knows.

What lies between two witnesses is a witness, but for counts, which are whole. Of two that move a cell to different
sides, one such mixture does not move it at all; so a few witnesses for who knows nothing make many for who knows one
cell or some, without a program.
"""

from __future__ import annotations

import numpy as np

from linker.disclosure.system import Flags, Integers, Numbers

_MOST_KNOWN = 4  # cells: with each, mixtures move the others less far
_PAIRED = 20  # witnesses of each side


def mixtures(witnesses: Numbers, counted: Flags, known: Integers) -> Numbers:
    """Return witnesses that do not move the known cells, nor counts. Rows are witnesses. Deterministic.

    None where more cells are known than makes sense, or the witnesses move one of them to one side only.
    """
    mixed: Numbers = np.where(counted, 0.0, witnesses)
    known = known[~counted[known]]
    if len(known) > _MOST_KNOWN:
        return mixed[:0]
    for cell in known:
        mixed = np.concatenate([mixed[mixed[:, cell] == 0], _between(mixed, int(cell))])
    return mixed


def _between(witnesses: Numbers, cell: int) -> Numbers:
    """Return mixtures of two that do not move the cell."""
    above = witnesses[witnesses[:, cell] > 0][:_PAIRED]
    below = witnesses[witnesses[:, cell] < 0][:_PAIRED]
    turns, places = np.divmod(np.arange(len(above) * len(below)), max(len(above), 1))
    one, other = above[places], below[(places + turns) % max(len(below), 1)]  # first all pairs that share nothing
    share = other[:, [cell]] / (other[:, [cell]] - one[:, [cell]])
    mixed: Numbers = share * one + (1 - share) * other
    mixed[:, cell] = 0
    return mixed
