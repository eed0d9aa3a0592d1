"""Tables for tests of the suppression engine: the carried ones, small random ones, and policies."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl

from linker.cell_file import CellFile, load
from linker.disclosure.classification import Classification
from linker.disclosure.linking import CrossTable
from linker.disclosure.needs import ProtectionPolicy
from linker.disclosure.system import LinkedSystem

DATA = Path(__file__).parent / "vectors" / "disclosure"
NO_RULE = ProtectionPolicy(
    threshold=1,
    p_percent=None,
    dominance=(),
    interval_percent=5,
    interval_minimum=0,
    zeros_are_disclosive=False,
    singletons=False,
)
TOWN_POLICY = replace(NO_RULE, threshold=5, p_percent=15, interval_minimum=5_000)


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a carried file."""
    with (DATA / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def town_cells(folder: Path) -> CellFile:
    """Return the carried table of 1,144 cells, read as the command reads it."""
    policy = folder / "policy.toml"
    policy.write_text(
        "[protection]\nthreshold = 5\np_percent = 15\ninterval_percent = 5\ninterval_minimum = 5000\n"
        "zeros_are_disclosive = false\nsingletons = false\n"
        '[table]\naxes = ["district", "department", "service"]\nvalue = "value"\ncount = "families"\n'
        'largest = ["top1", "top2"]\n'
    )
    return load(DATA / "synthetic_10x7x12_cells.csv", policy)


def flat(name: str, leaves: Sequence[str]) -> Classification:
    """Return an axis with a total only."""
    return Classification(name, tuple(leaves), {"Total": tuple(leaves)})


def contributions(facts: Sequence[tuple[object, ...]], axes: Sequence[str]) -> pl.DataFrame:
    """Return facts (a code for each axis, contributor, amount) as the engine takes them."""
    columns = (*axes, "contributor", "amount")
    types = [*(pl.String for _ in axes), pl.Int64, pl.Int64]
    return pl.DataFrame(list(facts), schema=list(zip(columns, types, strict=True)), orient="row")


def cells_of(system: LinkedSystem, table: CrossTable) -> dict[tuple[str, ...], int]:
    """Return codes → cell of a table."""
    every = product(*(axis.codes for axis in table.axes))
    return dict(zip(every, map(int, system.tables[table.name]), strict=True))


def flags(system: LinkedSystem, places: Iterable[int]) -> np.ndarray:
    """Return flags that are set at the given cells."""
    found = np.zeros(len(system), bool)
    found[list(places)] = True
    return found
