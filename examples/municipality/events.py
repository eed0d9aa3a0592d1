"""What happened to whom: benefit periods, and uses of services. Dates are half-open.

A use of a service with spells lasts from `start` to `end` (NaT: open); one with
postings only says that it was had in 2014, and the ledger spreads the postings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from examples.municipality.calibration import REFERENCE_DATE
from examples.municipality.people import Ints, People
from examples.municipality.profiles import PROFILES, Profile

NAT = np.datetime64("NaT", "D")
_BENEFIT = {"person": "i8", "service": "U24", "visitation": "U2", "start": "M8[D]", "end": "M8[D]", "kept": "?"}
_USE = {"person": "i8", "service": "U24", "start": "M8[D]", "end": "M8[D]", "kept": "?"}


@dataclass(slots=True)
class Rows:
    """Columns grown block by block."""

    types: dict[str, str]
    blocks: dict[str, list[npt.NDArray[Any]]] = field(default_factory=dict)

    def add(self, n: int, **values: Any) -> None:
        """Append `n` rows; a scalar holds for all of them."""
        for name, dtype in self.types.items():
            block = np.empty(n, np.dtype(dtype))
            block[:] = values[name]
            self.blocks.setdefault(name, []).append(block)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The columns, whole."""
        return {
            name: np.concatenate(self.blocks[name]) if name in self.blocks else np.empty(0, np.dtype(dtype))
            for name, dtype in self.types.items()
        }


class Events:
    """All benefit periods and uses. `kept`: no dirt may hit the row."""

    def __init__(self) -> None:
        self.benefits = Rows(_BENEFIT)
        self.uses = Rows(_USE)

    def benefit(
        self, person: Any, service: Any, start: Any, end: Any, *, visitation: Any = "", kept: bool = False
    ) -> None:
        """Add benefit periods of the persons in `person`."""
        n = np.size(person)
        values = {"person": person, "service": service, "visitation": visitation, "start": start, "end": end}
        self.benefits.add(n, **values, kept=kept)

    def use(self, person: Any, service: Any, start: Any = NAT, end: Any = NAT, *, kept: bool = False) -> None:
        """Add uses of a service by the persons in `person`."""
        self.uses.add(np.size(person), person=person, service=service, start=start, end=end, kept=kept)


def use_period(n: int, rng: np.random.Generator) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Draw `n` periods that touch 2014: half began earlier, half are still open."""
    day = np.timedelta64(1, "D")
    earlier = np.datetime64("2011-02-01", "D") + rng.integers(0, 1050, n) * day
    within = np.datetime64("2014-01-05", "D") + rng.integers(0, 300, n) * day
    start = np.where(rng.random(n) < 0.5, earlier, within)
    first = np.maximum(start, np.datetime64("2014-01-01", "D"))
    end = np.minimum(first + rng.integers(20, 300, n) * day, np.datetime64("2015-01-25", "D"))
    return start, np.where(rng.random(n) < 0.5, NAT, end)


def ages(people: People, who: Ints) -> Ints:
    """Whole years on the reference date."""
    return np.floor((REFERENCE_DATE - people.birth[who]).astype(np.float64) / 365.25).astype(np.int64)


def eligible(profile: Profile, age: Ints, is_child: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Who can have the service."""
    fits = (age >= profile.youngest) & (age <= profile.oldest)
    match profile.who:
        case "adult":
            return np.asarray(fits & ~is_child)
        case "any":
            return np.asarray(fits)
        case _:
            return np.asarray(fits & is_child)


def eligibility(age: Ints, is_child: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Persons × profiles."""
    return np.stack([eligible(profile, age, is_child) for profile in PROFILES], axis=1)
