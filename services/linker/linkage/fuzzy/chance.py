"""How alike two records are by chance: how many of all pairs have each level, field by field.

1. Equal values are counted exactly, from how often each value stands among the persons, and among records and persons
   together: a few records are no sample of what is common.
2. The other levels come from random pairs; all pairs, where these are few enough.
3. Matches are among all pairs, and `fitting` takes them out of the counts again. No two persons are a match, so that of
   the matches with equal values a part only is in the counts. In a small municipality that is not few: a payer is there
   with his own birth date more often than with that of another.

Deterministic: the random pairs are drawn from a fixed seed over rows in order of record id.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linker.linkage.fuzzy.blocking import Rows
from linker.linkage.fuzzy.comparison import levels
from linker.linkage.fuzzy.encodings import Encoded, Values
from linker.linkage.fuzzy.plan import Level

SAMPLE = 1_000_000
UNSEEN = 0.5  # pairs of a level that no random pair had

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Chance:
    """`counts`: how many of all pairs have each level, one row a field, one column a level; a null has no count.

    `matches`: by field, which share of the matches with equal values is among the counts.
    """

    counts: Counts
    matches: Counts


def level_counts(encoded: Encoded, sample: int = SAMPLE) -> Chance:
    """Return how all pairs fall by level. Cost: `sample` comparisons."""
    left, right = _pairs(encoded, sample)
    seen = levels(encoded, left, right)
    counts, matches = np.zeros((len(encoded.values), len(Level))), np.ones(len(encoded.values))
    for row, (column, values) in enumerate(zip(seen.T, encoded.values, strict=True)):
        found = np.bincount(column, minlength=len(Level)).astype(float)
        comparable, equal, matches[row] = _exact(values, within=encoded.within)
        unequal = found[Level.BAND_1 :] + UNSEEN
        if encoded.plan.fields[row].name not in (encoded.plan.swap or ()):
            unequal[-1] = 0
        counts[row, Level.EQUAL] = max(equal, UNSEEN)
        counts[row, Level.BAND_1 :] = max(comparable - equal, UNSEEN) * unequal / unequal.sum()
    return Chance(counts, matches)


def _pairs(encoded: Encoded, sample: int) -> tuple[Rows, Rows]:
    n = len(encoded.right)
    if encoded.total <= sample:
        left, right = np.divmod(np.arange(len(encoded.left) * n, dtype=np.int64), max(n, 1))
    else:
        drawn = np.random.default_rng(0)
        left = drawn.integers(len(encoded.left), size=sample)
        right = drawn.integers(n, size=sample)
    if encoded.within:
        left, right = left[left < right], right[left < right]
    return left, right


def _exact(values: Values, *, within: bool) -> tuple[float, float, float]:
    """Return how many pairs have both values, how many have equal ones, and the share of matches among the latter."""
    right = values.counts[1:].astype(float)
    if within:
        total = right.sum()
        return total * (total - 1) / 2, float((right * (right - 1)).sum() / 2), 1.0
    left = np.bincount(values.left, minlength=len(values.words))[1:].astype(float)
    others = max(left.sum() + right.sum() - 1, 1.0)  # a person is not paired with himself
    comparable = float(left.sum() * right.sum())
    share = (right * (left + right - 1)).sum() / max(others * right.sum(), 1.0)
    return comparable, float(comparable * share), float(left.sum() / others)
