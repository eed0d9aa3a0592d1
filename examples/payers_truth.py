"""Links of records without a CPR number beside the truth: what departments spent, and record by record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from examples.exact import Exact, person_of
from examples.payers_plot import Department
from examples.stack import Stack

ENOUGH = 2  # of name, birth date and address: who is described by fewer cannot be told from others


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is true of links. Shares are of absolute kroner.

    `precision`: of what is linked, to the right person. `recall`: of what persons in the register are paid, linked to
    them; `reachable`: of those of them who are described by enough.
    """

    records: int
    linked: int
    outsiders: int
    outsiders_linked: int
    precision: float
    recall: float
    reachable: float


def departments(municipality: Path, before: Exact, after: Exact) -> list[Department]:
    """Return what the target group cost each department: in truth, and in both runs' exact frames; dearest first."""
    target = pl.read_parquet(municipality / "truth/families.parquet").filter("target")
    amounts = pl.read_parquet(municipality / "truth/amounts.parquet").join(target, on="family", how="semi")
    found = amounts.group_by("department").agg(pl.col("linked_ore").sum().alias("truth"))
    for name, frames in (("before", before), ("after", after)):
        spent = frames.spending.join(frames.target, on="family_id", how="semi").group_by("department")
        found = found.join(spent.agg(pl.col("amount_ore").sum().alias(name)), on="department", how="left")
    ordered = found.fill_null(0).sort("truth", descending=True)
    return [Department(*row) for row in ordered.select("department", "truth", "before", "after").iter_rows()]


def nearer(rows: Sequence[Department]) -> bool:
    """Return whether every department that was not at the truth came nearer to it, and the others stayed."""
    return any(row.before != row.truth for row in rows) and all(
        abs(row.after - row.truth) < abs(row.before - row.truth) or row.before == row.truth == row.after for row in rows
    )


def judged(stack: Stack, frames: Exact, municipality: Path) -> dict[str, Judgement]:
    """Judge the links of each source, and all of them ("")."""
    known = pl.read_parquet(municipality / "truth/payers.parquet")
    persons = person_of(stack, frames, known["cpr"].drop_nulls().unique().sort().to_list())
    of_source = {source: known.filter(source=source) for source in known["source"].unique(maintain_order=True)}
    return {source: judge(rows, frames.links, persons) for source, rows in {**of_source, "": known}.items()}


def judge(known: pl.DataFrame, links: pl.DataFrame, persons: pl.DataFrame) -> Judgement:
    """Judge links. `known`: as truth/payers.parquet; `persons`: cpr, and the person_id that the linker has for it."""
    found = (
        known.join(persons.rename({"person_id": "meant"}), on="cpr", how="left")
        .join(links, left_on=["source", "record"], right_on=["source", "encoding_id"], how="left")
        .with_columns(
            kr=pl.col("amount_ore").abs(),
            linked=pl.col("status").eq_missing("linked"),
            inside=pl.col("cpr").is_not_null(),
        )
        .with_columns(right=pl.col("linked") & (pl.col("person_id") == pl.col("meant")).fill_null(value=False))
    )

    def rightly(of: pl.Expr) -> float:
        rows = found.filter(of)
        return float(rows.filter("right")["kr"].sum()) / max(float(rows["kr"].sum()), 1.0)

    outside = found.filter(~pl.col("inside"))
    return Judgement(
        records=len(found),
        linked=int(found["linked"].sum()),
        outsiders=len(outside),
        outsiders_linked=int(outside["linked"].sum()),
        precision=rightly(pl.col("linked")),
        recall=rightly(pl.col("inside")),
        reachable=rightly(pl.col("inside") & (pl.col("given") >= ENOUGH)),
    )
