"""From ten dirty extracts to protected tables, and what lies behind them."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from examples.comparison import PUBLISHED, as_text, compare, failed
from examples.exact import exact
from examples.stack import CONSUMER, FAMILY_CONSUMER
from tests.acceptance.conftest import Town
from tools.readme_output import TABLE, filled

TABLES = (
    "family_characteristics",
    "spending_per_family",
    "services_by_departments",
    "spending_to_date",
    "spending_by_quarter",
    "coverage",
)


def test_every_figure_holds_behind_the_tables(town: Town) -> None:
    """Families, cells, margins, øre, persons of each family, near misses: equal to the truth and the published."""
    lines = compare(exact(town.stack.folder, date(2015, 1, 1), 2014), town.stack, town.municipality)

    assert failed(lines) == []
    assert len(lines) > 35


def test_readme_shows_what_the_demo_prints(town: Town) -> None:
    """The block of README.md is a table as released and the figures of the target group as compared."""
    table = town.stack.run(CONSUMER, "table", "get", TABLE).stdout
    lines = compare(exact(town.stack.folder, date(2015, 1, 1), 2014), town.stack, town.municipality)
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")

    assert filled(readme, table, as_text(lines)) == readme, "run make demo, then tools/readme_output.py"


def test_the_comparison_can_fail(town: Town) -> None:
    """A family too few is seen."""
    frames = exact(town.stack.folder, date(2015, 1, 1), 2014)
    lines = compare(
        replace(frames, target=frames.target.sort("family_id").slice(1)),
        town.stack,
        town.municipality,
    )

    labels = {line.label for line in failed(lines)}
    assert "target: families" in labels
    assert "target families formed of the same persons" in labels
    assert "target: general, øre" in labels
    assert "released cross-tab: row totals and 612" in labels


def test_released_cross_tab_hides_small_cells_and_shows_the_published_ones(town: Town) -> None:
    """What is shown is the published number; no 1 to 4 is shown; the row totals and 612 are; ten more are hidden."""
    said = town.stack.run(CONSUMER, "table", "get", "services_by_departments", "--format", "csv")
    cells = pl.read_csv(io.StringIO(said.stdout), infer_schema=False)
    truth = margins(PUBLISHED["services_by_departments"])
    small = {cell for cell, count in truth.items() if 0 < count < 5}
    found = {(row["n_services"], row["n_departments"]): row for row in cells.iter_rows(named=True)}
    shown = {cell: int(row["value"]) for cell, row in found.items() if row["status"] == "published"}
    hidden = {cell for cell, row in found.items() if row["status"] == "suppressed"}

    assert set(found) == set(truth) == set(shown) | hidden
    assert shown == {cell: truth[cell] for cell in shown}
    assert len(small) == 13
    assert small <= hidden
    assert len(hidden - small) <= 10
    assert {found[cell]["value"] for cell in hidden} == {".."}
    assert {("all", row) for row in ("≤3", "4", "≥5", "all")} <= set(shown)
    assert truth["all", "all"] == 612


def margins(published: Mapping[str, Sequence[Any]]) -> Counter[tuple[str, str]]:
    """Return the published cross-tab with its totals, by categories as they are released."""
    truth: Counter[tuple[str, str]] = Counter()
    for departments, row in (("3", "≤3"), ("4", "4"), ("5", "≥5")):
        for services, count in zip(published["columns"], published[departments], strict=True):
            column = {"5": "≤5", ">20": "≥21"}.get(services, services)
            truth.update({(n, d): count for n in (column, "all") for d in (row, "all")})
    return truth


@pytest.mark.parametrize("table", TABLES)
def test_formats_hold_the_same_cells(town: Town, table: str, tmp_path: Path) -> None:
    """CSV, JSON, Arrow and Parquet of a release are one table."""
    frames = {}
    for form, read in (("arrow", pl.read_ipc), ("parquet", pl.read_parquet)):
        file = tmp_path / f"{table}.{form}"
        town.stack.run(CONSUMER, "table", "get", table, "--format", form, "--out", file)
        frames[form] = read(file)
    assert frames["arrow"].equals(frames["parquet"])

    cells = json.loads(town.stack.run(CONSUMER, "table", "get", table, "--format", "json").stdout)
    lines = town.stack.run(CONSUMER, "table", "get", table, "--format", "csv").stdout.splitlines()
    assert len(cells["cells"]) == frames["arrow"].height == len(lines) - 1


def test_run_again_keeps_the_live_release(town: Town) -> None:
    """The same data again: the same release, unchanged."""
    before = town.stack.run(CONSUMER, "table", "get", "family_characteristics", "--format", "json").stdout
    said = town.stack.run("operator/drift", "link", "run", "--reference-date", "2015-01-01")
    after = town.stack.run(CONSUMER, "table", "get", "family_characteristics", "--format", "json").stdout

    assert "unchanged" in said.stdout
    assert after == before


def test_delivering_again_changes_nothing(town: Town) -> None:
    """A retry of an accepted delivery gets its receipt."""
    from examples.deliveries import DELIVERIES  # noqa: PLC0415

    again = next(delivery for delivery in DELIVERIES if delivery.mapping == "voksen")
    said = town.stack.run("source/voksen", *again.arguments(town.municipality / "extracts", town.stack.folder))

    assert "already accepted" in said.stdout


def test_granted_consumer_reads_rows_of_families_and_no_ordinary_table(town: Town, tmp_path: Path) -> None:
    """A row a family, each equal in what is coarsened to others; the ordinary tables are refused to it."""
    file = tmp_path / "families.parquet"
    town.stack.run(FAMILY_CONSUMER, "table", "families", "--out", file)
    rows = pl.read_parquet(file)
    listed = town.stack.run(FAMILY_CONSUMER, "table", "list", "--json").stdout
    refused = town.stack.run(FAMILY_CONSUMER, "table", "get", "services_by_departments", check=False)
    others = town.stack.run(CONSUMER, "table", "families", "--out", tmp_path / "no.parquet", check=False)

    assert rows.height == exact(town.stack.folder, date(2015, 1, 1), 2014).families.height
    assert rows["row_id"].is_unique().all()
    assert rows.group_by(pl.exclude("row_id")).len()["len"].min() >= 5
    assert {table["table_id"] for table in json.loads(listed)} == {"coded_families", "coded_departments"}
    assert refused.returncode != 0
    assert others.returncode != 0
    assert not (tmp_path / "no.parquet").exists()
