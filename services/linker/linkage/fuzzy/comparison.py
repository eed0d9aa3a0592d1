"""How alike the fields of a pair are: a level for each, and all levels of a pair as one number, its pattern.

1. Dice = 1 - |a xor b| / (|a| + |b|) over the bits before diffusion: how many differed and were set is reckoned back
   from how many do now. Only values that differ are compared bit by bit, in slices that stay in the processor's
   cache, from the distinct values of the field.
2. Given and family name that do not agree straight, but crosswise (both at least BAND_2): the given name's level is
   SWAPPED, the surname's null, so that one fact counts once. Where one alone does (at least BAND_1, as a name that is
   compared is the first or last of several), it is SWAPPED, and nothing is said of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linker.linkage.fuzzy.blocking import Caps, Rows, blocks, candidate_pairs
from linker.linkage.fuzzy.encodings import Codes, Encoded, Values
from linker.linkage.fuzzy.plan import BANDS, Level

CACHED = 16_384  # pairs compared at a time
BITS = 3  # of a level within a pattern

Levels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Candidate pairs: `left`, `right` rows and `pattern`, an index into `patterns` (levels, one row a pattern).

    `counts`: how many pairs have each pattern. `dropped` tokens and `unblocked` records as in `Blocks`.
    """

    left: npt.NDArray[np.uint32]
    right: npt.NDArray[np.uint32]
    pattern: npt.NDArray[np.uint32]
    patterns: Levels
    counts: npt.NDArray[np.int64]
    dropped: int
    unblocked: int


def compare(encoded: Encoded, caps: Caps) -> Compared:
    """Compare all candidate pairs. Memory: 12 bytes a pair beside the encodings, and one slice."""
    found = blocks(encoded, caps)
    kept: list[tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], npt.NDArray[np.uint32]]] = []
    known = np.empty(0, np.int64)
    numbers: list[npt.NDArray[np.int64]] = []
    for left, right in candidate_pairs(encoded, found):
        codes = as_codes(levels(encoded, left, right))
        distinct, index = np.unique(codes, return_inverse=True)
        new = np.setdiff1d(distinct, known)
        if len(new):
            numbers.append(new)
            known = np.concatenate([known, new])
        order = np.argsort(known)
        place = order[np.searchsorted(known, distinct, sorter=order)]
        kept.append((left.astype(np.uint32), right.astype(np.uint32), place[index].astype(np.uint32)))
    if not kept:
        nothing = np.empty(0, np.uint32)
        none = np.empty((0, len(encoded.plan.fields)), np.uint8)
        return Compared(nothing, nothing, nothing, none, np.empty(0, np.int64), found.dropped, found.unblocked)
    pattern = np.concatenate([part[2] for part in kept])
    order = np.argsort(known)
    renamed = np.empty(len(known), np.uint32)
    renamed[order] = np.arange(len(known), dtype=np.uint32)
    pattern = renamed[pattern]
    return Compared(
        np.concatenate([part[0] for part in kept]),
        np.concatenate([part[1] for part in kept]),
        pattern,
        as_levels(known[order], len(encoded.plan.fields)),
        np.bincount(pattern, minlength=len(known)).astype(np.int64),
        found.dropped,
        found.unblocked,
    )


def levels(encoded: Encoded, left: Rows, right: Rows) -> Levels:
    """Return the levels of pairs: one row a pair, one column a field of the plan."""
    found = np.empty((len(left), len(encoded.plan.fields)), np.uint8)
    for start in range(0, len(left), CACHED):
        part = slice(start, start + CACHED)
        found[part] = _levels(encoded, left[part], right[part])
    return found


def as_codes(found: Levels) -> npt.NDArray[np.int64]:
    """Return each row of levels as one number."""
    codes = np.zeros(len(found), np.int64)
    for column in found.T:
        codes = codes << BITS | column
    return codes


def as_levels(codes: npt.NDArray[np.int64], fields: int) -> Levels:
    """Return the levels of numbers from `as_codes`."""
    shifts = BITS * np.arange(fields - 1, -1, -1)
    return (codes[:, None] >> shifts & (1 << BITS) - 1).astype(np.uint8)


def _levels(encoded: Encoded, left: Rows, right: Rows) -> Levels:
    found = np.empty((len(left), len(encoded.plan.fields)), np.uint8)
    for column, values in enumerate(encoded.values):
        a, b = values.left[left], values.right[right]
        level = np.full(len(left), Level.EQUAL, np.uint8)
        level[(a == 0) | (b == 0)] = Level.NULL
        differ = np.flatnonzero((level == Level.EQUAL) & (a != b))
        level[differ] = _banded(_dice(values, values, a[differ], b[differ]))
        found[:, column] = level
    if encoded.plan.swap:
        _swap(encoded, left, right, found, encoded.plan.swap)
    return found


def _swap(encoded: Encoded, left: Rows, right: Rows, found: Levels, swap: tuple[str, str]) -> None:
    given, family = (encoded.plan.index(name) for name in swap)
    first, second = encoded.values[given], encoded.values[family]
    apart = np.flatnonzero((found[:, given] >= Level.BAND_3) & (found[:, family] >= Level.BAND_3))
    if not len(apart):
        return
    i, j = left[apart], right[apart]
    as_family = _dice(first, second, first.left[i], second.right[j])
    as_given = _dice(second, first, second.left[i], first.right[j])
    both = np.minimum(as_family, as_given) >= BANDS[1]
    for level, other, where in (
        (given, family, both | (as_given >= BANDS[0])),
        (family, given, ~both & (as_family >= BANDS[0])),
    ):
        found[apart[where], level] = Level.SWAPPED
        found[apart[where], other] = Level.NULL


def _dice(first: Values, second: Values, a: Codes, b: Codes) -> npt.NDArray[np.float64]:
    differ = np.bitwise_count(first.words[a] ^ second.words[b]).sum(axis=1, dtype=np.int32)
    set_ = first.undiffused[first.ones[a]] + second.undiffused[second.ones[b]]
    return np.asarray(1 - first.undiffused[differ] / np.maximum(set_, 1))


def _banded(dice: npt.NDArray[np.float64]) -> Levels:
    """Return BAND_1 where Dice is at least the first band, ... ELSE below the last."""
    reached = np.searchsorted(np.array(BANDS[::-1]), dice, side="right")
    return (Level.ELSE - reached).astype(np.uint8)
