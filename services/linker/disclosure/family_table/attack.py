"""The linkage attack: who knows a family's properties and some of its services looks for its row.

1. The attacker knows all properties of a family, in the table's bands, and one, two or three of its services, so the
   departments that have them. The families' real services are what it knows.
2. A row is a candidate if no property that it shows differs and no known department shows nothing. Of the candidates
   the attacker keeps those that show most properties: a guess, but the best there is.
3. One candidate is a match, right or wrong.

It looks at rows only, and knows nothing of how they were made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import polars as pl

from linker.disclosure.family_table.columns import FAMILY, HIDDEN, PROPERTIES, TOTAL

KNOWN_SERVICES = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Attack:
    """What an attacker with some known services finds.

    `attempts`: different knowledge that was tried. `fewest`: candidates of the best attempt, 0 when there was none.
    `unique`: attempts with one candidate.
    """

    attempts: int
    fewest: int
    unique: int


def attack(
    known: pl.DataFrame, services: pl.DataFrame, rows: pl.DataFrame, departments: Sequence[str], nothing: str
) -> Mapping[int, Attack]:
    """Return what an attacker finds, by number of known services.

    Args:
        known: family_id and PROPERTIES, not hidden.
        services: FAMILY_SERVICES.
        rows: PROPERTIES and each department's column of spending; what is served.
        departments: their codes.
        nothing: what a column shows where nothing is spent.
    """
    used = (
        services.group_by(FAMILY)
        .agg((pl.col("department") == code).sum().alias(f"in {code}") for code in departments)
        .join(known, on=FAMILY)
    )
    found = {number: Attack(0, 0, 0) for number in KNOWN_SERVICES}
    for size in range(1, min(len(departments), max(KNOWN_SERVICES)) + 1):
        for those in combinations(departments, size):
            of_family = [pl.col(f"in {code}") for code in those]
            having = used.filter(number > 0 for number in of_family)
            possible = rows.filter(pl.col(f"{TOTAL}_{code}") != nothing for code in those)
            candidates = _candidates(having, possible)
            for number in KNOWN_SERVICES:
                if number >= size:
                    tried = candidates.filter(pl.sum_horizontal(of_family) >= number).unique(PROPERTIES)
                    found[number] = _with(found[number], tried["candidates"])
    return found


def _candidates(having: pl.DataFrame, possible: pl.DataFrame) -> pl.DataFrame:
    """Return `having` with how many rows are left, as `candidates`; without those that no row answers to."""
    hidden = [(pl.col(name) == HIDDEN).alias(name) for name in PROPERTIES]
    shapes = possible.select(hidden).unique().rows()
    rest, found = having, []
    for shape in sorted(shapes, key=lambda each: (sum(each), each)):
        shown = [name for name, gone in zip(PROPERTIES, shape, strict=True) if not gone]
        alike = possible.filter((pl.col(name) == HIDDEN) == gone for name, gone in zip(PROPERTIES, shape, strict=True))
        if shown:
            sizes = alike.group_by(shown).len("candidates")
            matched = rest.join(sizes, on=shown)
            rest = rest.join(sizes, on=shown, how="anti")
        else:
            matched, rest = rest.with_columns(pl.lit(alike.height, pl.UInt32).alias("candidates")), rest.clear()
        found.append(matched)
    return pl.concat(found) if found else having.clear().with_columns(pl.lit(0, pl.UInt32).alias("candidates"))


def _with(before: Attack, candidates: pl.Series) -> Attack:
    if candidates.is_empty():
        return before
    fewest = int(candidates.min())  # type: ignore[arg-type]
    return Attack(
        before.attempts + candidates.len(),
        min(before.fewest, fewest) if before.attempts else fewest,
        before.unique + int((candidates == 1).sum()),
    )
