"""Persons and families as columns.

A person is an index into the arrays of `People`; -1 means none or unknown. A
family is an index into `Families`; only families with children have one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Dates = npt.NDArray[np.datetime64]

SINGLE, ONE_OTHER, COUPLE = 0, 1, 2
MARRIED, PARTNERS, COMMON_CHILD, COHABITING = 0, 1, 2, 3
ADULT, CHILD, OUTSIDE = 0, 1, 2
FEMALE, MALE = 0, 1
NONE = -1

_DEFAULTS: dict[str, Any] = {
    "sex": np.int8(FEMALE),
    "birth": np.datetime64("1970-01-01", "D"),
    "family": np.int64(NONE),
    "role": np.int8(OUTSIDE),
    "household": np.int64(NONE),
    "mother": np.int64(NONE),
    "father": np.int64(NONE),
    "spouse": np.int64(NONE),
    "civil": np.str_("U"),
    "status": np.int16(1),
    "status_start": np.datetime64("NaT", "D"),
    "municipality": np.int16(101),
    "road": np.int16(0),  # a road code 9900-9999, 0 for an ordinary address
    "moved_in": np.datetime64("2005-03-01", "D"),
    "has_record": np.bool_(True),  # False: the number is referred to, but the register has no record of it
    "protected": np.bool_(False),
    "prior_household": np.int64(NONE),
    "prior_municipality": np.int16(101),
}


@dataclass(slots=True)
class Families:
    """Families with children, by index: the first 612 are the target group."""

    is_target: Bools
    kind: Ints
    couple_type: Ints
    n_children: Ints
    adult: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    partner: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    has_step: Bools = field(default_factory=lambda: np.empty(0, np.bool_))

    def __len__(self) -> int:
        return len(self.kind)


class People:
    """Growing columns of persons; `people.birth` is an array over all of them."""

    def __init__(self) -> None:
        self._columns = {name: np.empty(0, np.asarray(value).dtype) for name, value in _DEFAULTS.items()}
        self._n_households = 0

    def __len__(self) -> int:
        return len(self._columns["sex"])

    def __getattr__(self, name: str) -> npt.NDArray[Any]:
        try:
            return self._columns[name]
        except KeyError:
            raise AttributeError(name) from None

    def add(self, n: int, **values: Any) -> Ints:
        """Append `n` persons and return their indices; a scalar holds for all of them."""
        first = len(self)
        for name, default in _DEFAULTS.items():
            block = np.empty(n, self._columns[name].dtype)
            block[:] = values.pop(name, default)
            self._columns[name] = np.concatenate([self._columns[name], block])
        if values:
            raise TypeError(f"no such columns: {sorted(values)}")
        return np.arange(first, first + n)

    def new_households(self, n: int) -> Ints:
        """Return `n` household numbers that nobody has; each will be one address."""
        first = self._n_households
        self._n_households += n
        return np.arange(first, first + n)

    def is_resident(self) -> Bools:
        """Who is registered in the municipality on the reference date (and not just before or after)."""
        date = np.datetime64("2015-01-01", "D")
        came = (self.moved_in > date) & (self.prior_household != NONE)
        municipality = np.where(came, self.prior_municipality, self.municipality)
        return np.asarray(self.has_record & np.isin(self.status, (1, 3)) & (municipality == 101))

    @property
    def n_households(self) -> int:
        """How many household numbers were given out."""
        return self._n_households
