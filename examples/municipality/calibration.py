"""The figures that the municipality is built to: published ones, and those invented to add up to them.

1. Everything stands in `published.json`; this file only gives it types.
2. The target group is the same at every scale; a scale says what the others are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
REFERENCE_DATE = np.datetime64("2015-01-01", "D")
DRAWN = np.datetime64("2015-02-01", "D")
YEAR_START = np.datetime64("2014-01-01", "D")
MUNICIPALITY = 101
SEED = 20150101
COMPONENTS = ("general", "special", "transfer", "administration")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the published table: how many families of each shape."""

    children: dict[int, int]
    single_providers: int
    other_one_adult: int
    couples: int

    @property
    def families(self) -> int:
        """Families, by children as by adults (they agree)."""
        return sum(self.children.values())


@dataclass(frozen=True, slots=True)
class Scale:
    """What is generated beside the target group, in numbers."""

    name: str
    others: Column
    childless_households: int
    near_misses_per_kind: int
    few: int
    """How many of each rare thing: dead, emigrated, moved, children without parents."""


@cache
def figures() -> dict[str, Any]:
    """The content of `published.json`."""
    return dict(json.loads((HERE / "published.json").read_text(encoding="utf-8")))


def _column(entry: dict[str, Any]) -> Column:
    children = {int(number): count for number, count in entry["children"].items()}
    column = Column(children, entry["single_providers"], entry["other_one_adult"], entry["couples"])
    adults = column.single_providers + column.other_one_adult + column.couples
    if adults != column.families:
        raise ValueError(f"{column.families} families by children, {adults} by adults")
    return column


def target() -> Column:
    """The target group's column, the same at every scale."""
    return _column(figures()["invented"]["target"])


def cells() -> list[tuple[int, int]]:
    """One (departments, services) a target family; services 21 stands for "more than 20"."""
    table = figures()["published"]["services_by_departments"]
    services = range(5, 22)
    return [
        (departments, number)
        for departments in (3, 4, 5)
        for number, count in zip(services, table[str(departments)], strict=True)
        for _ in range(count)
    ]


def scale(name: str) -> Scale:
    """The scale `tiny`, `town` or `copenhagen`."""
    others = _column(figures()["invented"]["others"][name])
    match name:
        case "tiny":
            return Scale(name, others, childless_households=60, near_misses_per_kind=1, few=3)
        case "town":
            return Scale(name, others, childless_households=600, near_misses_per_kind=2, few=8)
        case _:
            return Scale(name, others, childless_households=6000, near_misses_per_kind=12, few=120)


def generator(seed: int, stage: str) -> np.random.Generator:
    """A stage's own stream, so that a change in one stage leaves the others as they were."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *stage.encode()])))
