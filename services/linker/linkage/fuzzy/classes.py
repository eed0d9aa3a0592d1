"""What a pair of records can be, and which kinds of evidence then agree.

| class | given name | surname | birth date | address |
|---|---|---|---|---|
| random | chance | chance | chance | chance |
| same address | chance | chance | chance | agrees |
| same household | chance | agrees | `TWINS` of pairs agree | agrees |
| match | agrees | agrees | agrees | agrees |
| match that moved | agrees | agrees | agrees | chance |

Household members share what they share at once, so a plain two-class model would call them matches; and one who moved
disagrees on the whole address at once. `TWINS` is fixed: from the levels alone, a twin is a match whose given name
is wrong, and only the share of twins in the population tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linker.linkage.fuzzy.plan import Evidence, Plan

TWINS = 0.005  # of pairs of one household and surname; of pairs of siblings, some quarter of these, nearly 2 %


@dataclass(frozen=True, slots=True)
class PairClass:
    """A class of pairs: for each kind of evidence the share of pairs that agree as a match does; absent: none."""

    name: str
    agree: dict[Evidence, float]
    match: bool = False


RANDOM = PairClass("random", {})
SAME_ADDRESS = PairClass("same_address", {Evidence.ADDRESS: 1})
SAME_HOUSEHOLD = PairClass("same_household", {Evidence.SURNAME: 1, Evidence.ADDRESS: 1, Evidence.BIRTH_DATE: TWINS})
MATCH = PairClass("match", dict.fromkeys(Evidence, 1.0), match=True)
MOVED = PairClass("moved", {Evidence.GIVEN_NAME: 1, Evidence.SURNAME: 1, Evidence.BIRTH_DATE: 1}, match=True)
CLASSES = (RANDOM, SAME_ADDRESS, SAME_HOUSEHOLD, MATCH, MOVED)


def agreement(classes: tuple[PairClass, ...], plan: Plan) -> npt.NDArray[np.float64]:
    """Return the share that agrees: one row a class, one column a field."""
    return np.array([[c.agree.get(field.evidence, 0.0) for field in plan.fields] for c in classes])
