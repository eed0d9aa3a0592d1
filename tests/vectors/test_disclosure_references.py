"""The elimination hides what GaussSuppression hides, cell by cell, and primary cells are the same.

Origin of tables and answers: disclosure/README.md. The linked example is that of github.com/sdcTools/UserSupport,
issue 136: counties and size groups of the same districts, which tools that protect one table after the other give away.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from linker.disclosure.attackers import outsider
from linker.disclosure.classification import Classification
from linker.disclosure.elimination import eliminate
from linker.disclosure.linking import CrossTable, link
from linker.disclosure.needs import ProtectionPolicy, needs
from linker.disclosure.suppression import protect, prove
from tests.disclosure import NO_RULE, TOWN_POLICY, cells_of, contributions, flags, flat, rows, town_cells

SECTORS = ("Agriculture", "Entertainment", "Governmental", "Industry")
PLACES = ("Iceland", "Portugal", "Spain")
FLAT = CrossTable("magnitude1", (flat("sector4", SECTORS), flat("geo", PLACES)))
NESTED = CrossTable(
    "magnitude1",
    (
        Classification(
            "sector4",
            SECTORS,
            {"private": ("Agriculture", "Entertainment", "Industry"), "public": ("Governmental",), "Total": SECTORS},
        ),
        Classification("geo", PLACES, {"EU": ("Portugal", "Spain"), "nonEU": ("Iceland",), "Total": PLACES}),
    ),
)
LONE = replace(NO_RULE, singletons=True)

MAGNITUDES = {
    "few_maxN1": (FLAT, replace(LONE, threshold=2), 2, 7),
    "dom_1_80": (FLAT, replace(LONE, dominance=((1, 80),)), 4, 9),
    "p15": (FLAT, replace(LONE, p_percent=15), 9, 10),
    "hier_dom_1_80_2_99": (NESTED, replace(LONE, dominance=((1, 80), (2, 99))), 11, 18),
}


def flagged(name: str, axes: tuple[str, ...], column: str) -> set[tuple[str, ...]]:
    return {tuple(row[axis] for axis in axes) for row in rows(name) if row[column] == "TRUE"}


@pytest.mark.parametrize("name", MAGNITUDES)
def test_magnitude_tables_are_hidden_as_by_gausssuppression_lone_contributors_included(name: str) -> None:
    table, policy, n_primary, n_hidden = MAGNITUDES[name]
    facts = [
        (row["sector4"], row["geo"], place, round(float(row["value"]) * 10))
        for place, row in enumerate(rows("magnitude1.csv"))
    ]
    system = link([table], contributions(facts, ("sector4", "geo")))
    found = needs(system, policy)
    hidden = eliminate(system, found.primary, may_hide=system.contributors > 0)
    cells = cells_of(system, table)
    reference = f"ref_magnitude1_{name}.csv"
    primary = {codes for codes, cell in cells.items() if found.primary[cell]}
    suppressed = {codes for codes, cell in cells.items() if hidden[cell]}
    assert primary == flagged(reference, ("sector4", "geo"), "primary")
    assert suppressed == flagged(reference, ("sector4", "geo"), "suppressed")
    assert (len(primary), len(suppressed)) == (n_primary, n_hidden)


@pytest.mark.parametrize("name", ["few_maxN1", "dom_1_80", "hier_dom_1_80_2_99"])
def test_magnitude_tables_are_hidden_otherwise_when_lone_contributors_are_forgotten(name: str) -> None:
    """The control: without its rule for lone contributors the elimination shows cells that the reference hides."""
    table, policy, _, n_hidden = MAGNITUDES[name]
    facts = [
        (row["sector4"], row["geo"], place, round(float(row["value"]) * 10))
        for place, row in enumerate(rows("magnitude1.csv"))
    ]
    system = link([table], contributions(facts, ("sector4", "geo")))
    hidden = eliminate(system, needs(system, policy).primary, may_hide=system.contributors > 0, lone=False)
    assert sum(hidden[cell] for cell in cells_of(system, table).values()) < n_hidden


def test_counts_of_d2_are_hidden_as_by_gausssuppression() -> None:
    """Cells of 0 to 3 are primary there: a threshold of 4, zeros disclosive."""
    data = rows("d2_social_municipal.csv")
    regions = sorted({row["region"] for row in data})
    sums: dict[str, tuple[str, ...]] = {"Total": tuple(regions)}
    for row in data:
        for code in (row["county"], row["k_group"]):
            sums[code] = tuple(sorted({*sums.get(code, ()), row["region"]}))
    incomes = sorted({row["main_income"] for row in data})
    table = CrossTable("d2", (Classification("region", tuple(regions), sums), flat("main_income", incomes)))
    people = iter(range(10_000))
    facts: list[tuple[object, ...]] = []
    for row in data:
        place = (row["region"], row["main_income"])
        facts += [(*place, next(people), 1) for _ in range(int(row["freq"]))] or [(*place, next(people), 0)]
    system = link([table], contributions(facts, ("region", "main_income")), counted=True)
    policy = replace(NO_RULE, threshold=4, zeros_are_disclosive=True)
    found = needs(system, policy)
    hidden = eliminate(system, found.primary, may_hide=system.shown, lone=False, zeros=True)
    cells = cells_of(system, table)
    name, axes = "ref_d2_smallcounts_maxN3.csv", ("region", "main_income")
    assert {codes for codes, cell in cells.items() if found.primary[cell]} == flagged(name, axes, "primary")
    assert {codes for codes, cell in cells.items() if hidden[cell]} == flagged(name, axes, "suppressed")
    assert len(cells) == 100
    assert len(flagged(name, axes, "suppressed")) == 29


def test_town_table_is_hidden_as_by_gausssuppression(tmp_path: Path) -> None:
    file = town_cells(tmp_path)
    found = needs(file.system, TOWN_POLICY)
    hidden = eliminate(file.system, found.primary, may_hide=file.system.contributors > 0, lone=False)
    axes = ("district", "department", "service")
    name = "ref_synthetic_10x7x12_gauss.csv"
    assert {codes for codes, _, cell in file.rows if found.primary[cell]} == flagged(name, axes, "primary")
    assert {codes for codes, _, cell in file.rows if hidden[cell]} == flagged(name, axes, "suppressed")
    assert int(hidden.sum()) == 227


DISTRICTS = ("A", "B", "I", "J", "K", "L", "M", "N")
FAMILIES = dict(zip(DISTRICTS, (2, 2, 8, 8, 3, 3, 3, 7), strict=True))
COUNTIES = {"county-1": ("A", "B", "I", "J"), "county-2": ("K", "L", "M", "N"), "Total": DISTRICTS}
GROUPS = {"BIG": ("L", "M"), "small": ("A", "B", "I", "J", "K", "N"), "Total": DISTRICTS}
BY_COUNTY = CrossTable("counties", (Classification("district", DISTRICTS, COUNTIES),))
BY_GROUP = CrossTable("groups", (Classification("district", DISTRICTS, GROUPS),))
FEW = ProtectionPolicy(4, None, (), 5, 0, zeros_are_disclosive=False, singletons=False)


def test_counties_and_size_groups_leak_one_after_the_other_and_not_together() -> None:
    """Each table alone needs no secondary cell; K = small - (county-1 + N) follows from both; hiding N helps."""
    facts: list[tuple[object, ...]] = []
    for district, families in FAMILIES.items():
        facts += [(district, len(facts) + each, 1) for each in range(families)]
    frame = contributions(facts, ("district",))
    both = link([BY_COUNTY, BY_GROUP], frame, counted=True)
    cell = {codes[0]: place for codes, place in cells_of(both, BY_COUNTY).items()}
    few = {"A", "B", "K", "L", "M"}
    for table in (BY_COUNTY, BY_GROUP):
        alone = link([table], frame, counted=True)
        pattern = protect(alone, FEW)
        assert pattern.proven
        assert {codes[0] for codes, place in cells_of(alone, table).items() if pattern.hidden[place]} == few
    found = needs(both, FEW)
    leaking = prove(both, found, (outsider(),), flags(both, (cell[each] for each in few)))
    assert {demand.cell for demand in leaking.failures} >= {cell["K"]}
    pattern = protect(both, FEW)
    assert pattern.proven
    secondary = {name for name, place in cell.items() if pattern.hidden[place]} - few
    assert secondary == {"N"}
    assert np.array_equal(found.primary, pattern.needs.primary)
