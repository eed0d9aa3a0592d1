"""Writes what is true, for tests to compare with. No service reads it, and the extracts have no family id.

`families`, `members`, `family_services`, `amounts`, `persons`, `employment` (parquet); `near_misses.json`,
`expected.json`. Amounts are in øre, net, for 2014: `linked_ore` by exact linkage, `full_ore` with what the dirt hides.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from examples.municipality.calibration import Scale
from examples.municipality.near_misses import PLANS, Planted
from examples.municipality.numbers import Numbers
from examples.municipality.people import ADULT, NONE, SINGLE, Families, People
from examples.municipality.profiles import catalogue


def families_and_members(
    families: Families, people: People, numbers: Numbers
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """One row a family with children, one a member of it ("" for no former number), one a person with a record."""
    member = np.flatnonzero(people.family != NONE)
    members = pl.DataFrame(
        {
            "family": people.family[member],
            "cpr": numbers.current[member],
            "former_cpr": numbers.former[member],
            "oldest_cpr": numbers.oldest[member],
            "role": np.where(people.role[member] == ADULT, "adult", "child"),
        }
    )
    table = pl.DataFrame(
        {
            "family": np.arange(len(families)),
            "target": families.is_target,
            "n_adults": 1 + (families.partner != NONE),
            "n_children": families.n_children,
            "single_provider": families.kind == SINGLE,
            "couple_type": np.array(["", "married", "partners", "common_child", "cohabiting"])[
                families.couple_type + 1
            ],
        }
    )
    recorded = np.flatnonzero(people.has_record)
    persons = pl.DataFrame(
        {
            "cpr": numbers.current[recorded],
            "resident": people.is_resident()[recorded],
            "household": people.household[recorded],
            "protected": people.protected[recorded],
        }
    )
    return table, members, persons


def services(frames: dict[str, pl.DataFrame], *, linked_only: bool) -> pl.DataFrame:
    """Distinct countable services of a family in 2014: family, department, service."""
    rows = pl.concat(
        [
            rows.filter(pl.col("in_year") & (pl.col("family") != NONE) & (pl.col("linked") | (not linked_only))).select(
                "family", "service"
            )
            for rows in frames.values()
        ]
    ).unique()
    entries = catalogue()
    counting = [name for name, entry in entries.items() if entry.counts]
    departments = {name: entry.department for name, entry in entries.items()}
    return (
        rows.filter(pl.col("service").is_in(counting))
        .with_columns(department=pl.col("service").replace_strict(departments))
        .select("family", "department", "service")
        .sort("family", "department", "service")
    )


def amounts(frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Net amount of a family in 2014 by department, type and area."""
    entries = pl.DataFrame(
        [(name, entry.department, entry.type, entry.area) for name, entry in catalogue().items()],
        schema=["service", "department", "type", "area"],
        orient="row",
    )
    rows = pl.concat(
        [
            rows.filter((pl.col("family") != NONE) & (pl.col("amount_ore") != 0)).select(
                "family", "service", "amount_ore", "linked"
            )
            for rows in frames.values()
        ]
    )
    return (
        rows.join(entries, on="service")
        .group_by("family", "department", "type", "area")
        .agg(
            linked_ore=pl.col("amount_ore").filter(pl.col("linked")).sum(),
            full_ore=pl.col("amount_ore").sum(),
        )
        .sort("family", "department", "type", "area")
    )


def expected(
    scale: Scale, table: pl.DataFrame, services_of: pl.DataFrame, amounts_of: pl.DataFrame, planted: Planted
) -> dict[str, Any]:
    """The tables that linkage must arrive at, in plain numbers."""
    result: dict[str, Any] = {"scale": scale.name, "reference_date": "2015-01-01", "year": 2014}
    for group, is_target in (("target", True), ("others", False)):
        mine = table.filter(pl.col("target") == is_target)
        of_group = amounts_of.join(mine.select("family"), on="family")
        result[group] = {
            "families": len(mine),
            "persons": int((mine["n_adults"] + mine["n_children"]).sum()),
            "adults": int(mine["n_adults"].sum()),
            "children": int(mine["n_children"].sum()),
            "single_providers": int(mine["single_provider"].sum()),
            "linked_ore": _by_component(of_group, "linked_ore"),
            "full_ore": _by_component(of_group, "full_ore"),
        }
    by_family = (
        table.filter("target")
        .select("family")
        .join(services_of, on="family", how="left")
        .group_by("family")
        .agg(pl.len().alias("services"), pl.col("department").n_unique().alias("departments"))
    )
    cells = by_family.with_columns(pl.col("services").clip(upper_bound=21)).group_by("departments", "services").len()
    result["services_by_departments"] = {
        str(departments): [
            cells.filter((pl.col("departments") == departments) & (pl.col("services") == services))["len"].sum()
            for services in range(5, 22)
        ]
        for departments in (3, 4, 5)
    }
    result["near_misses"] = len(planted.near_misses)
    return result


def _by_component(amounts_of: pl.DataFrame, column: str) -> dict[str, int]:
    component = pl.when(pl.col("area") == "").then(pl.col("type")).otherwise(pl.col("area"))
    rows = amounts_of.group_by(component.alias("component")).agg(pl.col(column).sum()).sort("component")
    return dict(rows.iter_rows())


def write(
    folder: Path,
    tables: dict[str, pl.DataFrame],
    figures: dict[str, Any],
    planted: Planted,
    numbers: Numbers,
) -> None:
    """Write the truth folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet", row_group_size=100_000)
    near = [
        {
            "label": one.label,
            "why": PLANS[one.label][0],
            "family": one.family,
            "parent": str(numbers.current[one.parent]),
            "child": str(numbers.current[one.child]),
        }
        for one in planted.near_misses
    ]
    (folder / "near_misses.json").write_text(json.dumps(near, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (folder / "expected.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def digest(folder: Path) -> str:
    """One SHA-256 over the names and contents of all files below `folder`, in order of name."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(str(path.relative_to(folder)).encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
