"""Make the family table of a year, or say why not.

1. The rows are coded (`coding`), amounts added where the policy asks (`rounding`), and then tried: the rules are
   counted anew, the linkage attack is run (`attack`), and the ordinary tables' hidden facts are looked for (`reach`).
2. Whatever fails refuses the table whole; nothing is repaired here. The same facts and policy give the same table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from linker.disclosure.family_table.attack import Attack, attack
from linker.disclosure.family_table.coded_tables import coded_tables, totals_ore
from linker.disclosure.family_table.coding import TooFewFamiliesError, code
from linker.disclosure.family_table.columns import (
    FAMILY,
    HIDDEN,
    PROPERTIES,
    SOME,
    TOTAL,
    Bands,
    amounts,
    properties,
    spending_columns,
)
from linker.disclosure.family_table.reach import Rows, reached
from linker.disclosure.family_table.rounding import rounded
from linker.disclosure.family_table.table import FAMILIES, FamilyTable, FamilyTableRecord, Refusal
from linker.disclosure.policy import Policy, Spending
from linker.disclosure.release import ReleasedTable
from linker.tables.registered_table import Axis, RegisteredTable

_DEPARTMENT = "department"
NEXT_WHERE_TOLD = 'set spending = "bands" with fewer bands in the policy, or register the table without that margin'


def code_families(
    members: pl.DataFrame,
    families: pl.DataFrame,
    services: pl.DataFrame,
    spending: pl.DataFrame,
    policy: Policy,
    registry: Sequence[RegisteredTable],
    released: Sequence[ReleasedTable],
    *,
    period: str,
    reference_date: date,
) -> FamilyTable | Refusal:
    """Return the family table of a year.

    Args:
        members, families, services: FAMILY_MEMBERS, FAMILIES, FAMILY_SERVICES of the year.
        spending: family_id, department, amount_ore, of the whole year; rows add up.
        policy: the disclosure policy.
        registry: the registered tables; the axis `department` names the columns, the most useful first.
        released: the ordinary tables about the whole year, as they are live once this run is done.
        period: the year. reference_date: as the tables'.

    Returns:
        The table, its release id empty; or why there is none.

    Guarantee: in a table that is returned every row equals at least k - 1 others in all columns but rounded amounts;
    rows with the same properties show at least l different totals or none; who knows a family's properties and up to
    three of its services finds no unique row; nothing that `released` hides is told within its interval by the rows.

    Raises:
        SchemaError: a frame is not what it should be.
    """
    rules = policy.family_table
    k = rules.smallest_class
    axis = _departments(registry)
    departments = axis.categories if axis else ()
    bands, columns = Bands(rules.bands_ore), spending_columns(departments)
    known = properties(members, families, services)
    true = amounts(families, spending, departments)
    raw = known.hstack(true.select(bands.label(pl.col(name)).alias(name) for name in columns))
    try:
        coded = code(raw, columns[1:], bands.labels[0], k, rules.l)
    except TooFewFamiliesError:
        return Refusal(f"there are fewer than {k} families that can be alike", "wait for a year with more families")
    if rules.spending is Spending.ROUNDED:
        coded = coded.hstack(rounded(coded, true, columns, rules))
    tried = attack(known, services, coded, departments, bands.labels[0])
    shown = coded.drop(FAMILY)
    reached_facts = reached(
        Rows(shown, true, bands, rules.rounding_ore),
        [(definition, table) for definition in registry for table in released if table.table_id == definition.table_id],
        {name: each.protection for name, each in policy.policies.items()},
    )
    totals = totals_ore(shown, bands)
    record = _record(raw, shown, true, totals, tried, k, rules.l)
    if refusal := _refusal(record, tried, reached_facts):
        return refusal
    rows = shown.group_by(pl.all()).len(FAMILIES).with_columns(pl.col(FAMILIES).cast(pl.Int64))
    return FamilyTable(
        release_id="",
        period=period,
        reference_date=reference_date,
        policy_digest=policy.digest,
        bands_ore=rules.bands_ore,
        rounding_ore=rules.rounding_ore,
        rows=rows.sort(shown.columns, nulls_last=True),
        coded=coded_tables(shown, totals, bands, axis, period, reference_date),
        record=record,
    )


def _departments(registry: Sequence[RegisteredTable]) -> Axis | None:
    return next((axis for table in registry for axis in table.axes if axis.name == _DEPARTMENT), None)


def _refusal(record: FamilyTableRecord, tried: Mapping[int, Attack], reached_facts: Sequence[str]) -> Refusal | None:
    if record.fewest_alike < record.k or record.smallest_class < record.k or record.fewest_values < record.l:
        return Refusal("a row is not one of k alike", "report it: the coding broke its own rule")
    if unique := sum(found.unique for found in tried.values()):
        return Refusal(
            f"the linkage attack finds {unique} unique matches", "raise k, or use fewer spending bands, in the policy"
        )
    if reached_facts:
        return Refusal(f"the rows would tell what a released table hides ({reached_facts[0]})", NEXT_WHERE_TOLD)
    return None


def _record(
    raw: pl.DataFrame,
    shown: pl.DataFrame,
    true: pl.DataFrame,
    totals: pl.Series,
    tried: Mapping[int, Attack],
    k: int,
    l: int,  # noqa: E741 - l-diversity's own name
) -> FamilyTableRecord:
    banded = shown.select(raw.drop(FAMILY).columns)
    classes = banded.group_by(PROPERTIES).agg(
        pl.len(), pl.col(TOTAL).n_unique().alias("values"), (pl.col(TOTAL) == HIDDEN).all().alias("none")
    )
    showing = classes.filter(~pl.col("none"))["values"]
    altered = pl.any_horizontal(pl.col(name).is_in([HIDDEN, SOME]) for name in banded.columns)
    moved = int((totals - true[TOTAL]).abs().sum())
    return FamilyTableRecord(
        k=k,
        l=l,
        families=shown.height,
        classes=classes.height,
        smallest_class=_least(classes["len"], k),
        fewest_alike=_least(banded.group_by(pl.all()).len()["len"], k),
        fewest_values=_least(showing, l),
        residue=banded.filter(pl.col(name) == HIDDEN for name in PROPERTIES).height,
        share_altered=round(banded.select(altered.mean()).item(), 4),
        share_moved=round(moved / max(1, int(true[TOTAL].abs().sum())), 4),
        candidates={str(number): found.fewest for number, found in tried.items()},
        attempts=sum(found.attempts for found in tried.values()),
    )


def _least(numbers: pl.Series, otherwise: int) -> int:
    return otherwise if numbers.is_empty() else int(numbers.min())  # type: ignore[arg-type]
