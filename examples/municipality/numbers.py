"""Gives every person a synthetic CPR number, and spoils some of them on the way into an extract.

1. ddmmyy with 60 added to the day, then four digits: the first tells the century
   (0-3: 1900s, 4-7: 2000s), the last is even for women and odd for men.
2. All numbers are different, former ones included.
3. A spoilt number (two neighbouring digits exchanged) is nobody's number.
4. A replacement number has letters behind the date.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from examples.municipality.people import CHILD, OUTSIDE, Dates, Families, People

Texts = npt.NDArray[np.str_]
_PER_DATE = 2000  # serials of one sex and century on one date


@dataclass(frozen=True, slots=True)
class Numbers:
    """Current number of each person, and former ones (the older first; "" for none)."""

    current: Texts
    former: Texts
    oldest: Texts

    @property
    def everybody(self) -> frozenset[str]:
        """All numbers that are or were somebody's."""
        return frozenset(np.concatenate([self.current, self.former, self.oldest]).tolist()) - {""}


def _draw(birth: Dates, sex: npt.NDArray[np.int8]) -> Texts:
    """One number for each row, all different: rows with the same date and sex take serials along a permutation."""
    key = birth.astype(np.int64) * 2 + sex
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    rank = np.arange(len(key)) - np.repeat(starts, np.diff(np.r_[starts, len(key)]))
    if rank.max(initial=0) >= _PER_DATE:
        raise ValueError("more persons on one date than there are numbers")
    slot = np.empty(len(key), np.int64)
    slot[order] = (ordered * 1237 + rank * 739) % _PER_DATE  # 739 is prime to 2000
    years = birth.astype("datetime64[Y]").astype(np.int64) + 1970
    months = birth.astype("datetime64[M]").astype(np.int64) % 12 + 1
    days = (birth - birth.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    serial = 2 * slot + sex + np.where(years >= 2000, 4000, 0)
    value = (((days + 60) * 100 + months) * 100 + years % 100) * 10_000 + serial
    return np.asarray(value.astype("U10"), np.str_)


def assign(people: People, families: Families, rng: np.random.Generator) -> Numbers:
    """Number everybody. About 0.1 % (and at least 24) changed number; one in five of them twice."""
    n = len(people)
    member = np.flatnonzero((people.role != OUTSIDE) & (people.birth < np.datetime64("2010-01-01", "D")))
    target = member[families.is_target[people.family[member]]]
    adults = target[people.role[target] != CHILD]
    changed = np.unique(
        np.concatenate(
            [
                rng.choice(adults, 8, replace=False),
                rng.choice(target, 6, replace=False),
                rng.choice(member, max(10, len(member) // 1000), replace=False),
            ]
        )
    )
    twice = changed[::5]
    extra = np.concatenate([changed, twice])
    # Every fourth changed number is a change of legal sex: the former number's last digit has the other parity.
    sex = people.sex[extra].copy()
    sex[::4] ^= 1
    drawn = _draw(np.concatenate([people.birth, people.birth[extra]]), np.concatenate([people.sex, sex]))
    former, oldest = np.full(n, "", "U10"), np.full(n, "", "U10")
    former[changed] = drawn[n : n + len(changed)]
    oldest[twice] = drawn[n + len(changed) :]
    return Numbers(drawn[:n], former, oldest)


def exchanged(number: str, taken: frozenset[str]) -> str | None:
    """Exchange two neighbouring digits of the serial so that the result is nobody's number, or return None."""
    for at in (7, 8, 6):
        if number[at] != number[at + 1]:
            spoilt = f"{number[:at]}{number[at + 1]}{number[at]}{number[at + 2 :]}"
            if spoilt not in taken:
                return spoilt
    return None


def replacement(number: str, running: int) -> str:
    """A replacement number as one source would make it: the date of birth, then letters and a running number."""
    letters = "ABCDEFGHKLMNPRSTUVXYZ"
    first, second = divmod(running // 100 % (len(letters) ** 2), len(letters))
    return f"{number[:6]}{letters[first]}{letters[second]}{running % 100:02d}"
