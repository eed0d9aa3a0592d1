"""From ten dirty extracts to protected tables, and what lies behind them."""

from __future__ import annotations

import io
import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from examples.comparison import PUBLISHED, as_text, compare, failed
from examples.exact import exact
from tests.acceptance.conftest import Town
from tools.readme_output import TABLE, filled

CONSUMER = "consumer/velfaerdsanalyse"
TABLES = ("family_characteristics", "spending_per_family", "services_by_departments", "coverage")


def test_every_figure_holds_behind_the_tables(town: Town) -> None:
    """Families, cells, margins, øre, persons of each family, near misses: equal to the truth and the published."""
    lines = compare(exact(town.stack.folder, date(2015, 1, 1), 2014), town.stack, town.municipality)

    assert failed(lines) == []
    assert len(lines) > 30


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
        type(frames)(
            members=frames.members,
            families=frames.families,
            services=frames.services,
            spending=frames.spending,
            target=frames.target.sort("family_id").slice(1),
            identities=frames.identities,
        ),
        town.stack,
        town.municipality,
    )

    labels = {line.label for line in failed(lines)}
    assert "target: families" in labels
    assert "target families formed of the same persons" in labels
    assert "target: general, øre" in labels


def test_released_cross_tab_has_no_small_cell_and_is_the_published_one_regrouped(town: Town) -> None:
    """Every cell and margin is the sum of the published cells that its categories cover, and five or none."""
    said = town.stack.run(CONSUMER, "table", "get", "services_by_departments", "--format", "csv")
    cells = pl.read_csv(io.StringIO(said.stdout), infer_schema=False)
    published = PUBLISHED["services_by_departments"]
    columns = [21 if column == ">20" else int(column) for column in published["columns"]]

    assert set(cells["status"]) == {"published"}
    assert "all" in set(cells["n_services"]) & set(cells["n_departments"])
    assert cells.height == cells["n_services"].n_unique() * cells["n_departments"].n_unique() > 6
    for row in cells.iter_rows(named=True):
        count = sum(
            published[departments][place]
            for departments in ("3", "4", "5")
            for place, services in enumerate(columns)
            if covers(row["n_departments"], int(departments)) and covers(row["n_services"], services)
        )
        assert int(row["value"]) == count, row
        assert count == 0 or count >= 5, row


def covers(category: str, number: int) -> bool:
    """Say whether a category of a numeric axis, as it is written, holds the number."""
    if category == "all":
        return True
    if category[0] in "≤≥":
        return number <= int(category[1:]) if category[0] == "≤" else number >= int(category[1:])
    return number == int(category)


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
