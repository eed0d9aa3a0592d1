"""The one gate: registered tables in, a release out. Nothing else makes a release.

1. Levels are chosen for all tables together (`coarsen`): a released table with margins has
   no hole, so its margins give nothing back.
2. One live release a table and period. Recomputed alike, it stands, in its old wording. While the data give
   another content for any live table of a period, nothing new of that period is
   released, and nothing with a reference date near another live release's: differences
   between releases are not protected here.
3. An amount is summed by one table with margins.
4. Means in øre are rounded to whole øre, halves away from zero; other means and shares to 4
   decimals, so that a ratio does not give its two counts away.

It knows no clock, no store and no caller.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from linker.disclosure.cells import ShownAxis, denominators, inner, with_margins
from linker.disclosure.coarsen import Levelled, Refused, level_tables
from linker.disclosure.policy import Policy
from linker.disclosure.primary import JudgedCell, judge
from linker.disclosure.release import (
    CellStatus,
    CoverageShare,
    Release,
    ReleasedAxis,
    ReleasedCell,
    ReleasedMeasure,
    ReleasedTable,
    TableOutcome,
    canonical,
)
from linker.disclosure.table_input import TableInput
from linker.tables.registry import Unit

_UNPROTECTED = "differences between releases are not yet protected"


def protect(
    tables: Sequence[TableInput],
    policy: Policy,
    history: Sequence[ReleasedTable],
    *,
    period: str,
    reference_date: date,
) -> Release:
    """Protect all tables of a run together and return what may leave.

    `history` are the live released tables of all periods. Deterministic: order of rows and
    numbering of contributors do not matter.

    Guarantee: every published count, mean, share and amount of the release satisfies the primary
    rules of `primary`; the counts together those of `linked`. A cell is withheld only in a table
    without margins, or where a mean divides by nobody.
    """
    answers = level_tables(_one_table_an_amount(tables), policy)
    produced: dict[str, ReleasedTable] = {}
    outcomes: dict[str, TableOutcome] = {}
    for table in tables:
        name = table.table.table_id
        outcomes[name] = TableOutcome(name, "", "refused: another table with margins sums the same amount")
    for answer in answers:
        name = answer.table.table.table_id
        if isinstance(answer, Refused):
            outcomes[name] = TableOutcome(name, "", f"refused: {answer.reason}")
        else:
            produced[name] = _freeze(answer, period, reference_date)
    live = {table.table_id: table for table in history if table.period == period}
    standing = {name for name, table in live.items() if name in produced and produced[name].says_as(table)}
    obstacle = _obstacle(live, standing, history, policy, period=period, reference_date=reference_date)
    new = {} if obstacle else {name: table for name, table in produced.items() if name not in live}
    release_id = _release_id(policy, new.values()) if new else ""
    new = {name: replace(table, release_id=release_id) for name, table in new.items()}
    levelled = {answer.table.table.table_id: answer for answer in answers if isinstance(answer, Levelled)}
    for name in produced:
        if name in standing:
            outcome = "unchanged: the live release stands"
            outcomes[name] = TableOutcome(name, live[name].release_id, outcome)
        elif name in new:
            outcomes[name] = TableOutcome(name, release_id, _shown(levelled[name]))
        elif name in live:
            outcome = f"held back: a live release exists for this table and period, and {_UNPROTECTED}"
            outcomes[name] = TableOutcome(name, live[name].release_id, outcome)
        else:
            outcomes[name] = TableOutcome(name, "", f"held back: {obstacle}, and {_UNPROTECTED}")
    shown = [table for name, table in produced.items() if name in standing or name in new]
    return Release(
        release_id=release_id,
        period=period,
        reference_date=reference_date,
        policy_digest=policy.digest,
        tables=tuple(new.values()),
        outcomes=tuple(outcomes.values()),
        coverage=tuple(row for table in shown for row in _coverage(table)),
        audit={name: _audit(levelled[name], policy) for name in new},
    )


def _one_table_an_amount(tables: Sequence[TableInput]) -> list[TableInput]:
    seen: set[str] = set()
    kept = []
    for table in tables:
        amounts = {column for column in table.table.columns if table.table.margins and column.endswith("_ore")}
        if not amounts & seen:
            kept.append(table)
            seen |= amounts
    return kept


def _obstacle(
    live: Mapping[str, ReleasedTable],
    standing: set[str],
    history: Sequence[ReleasedTable],
    policy: Policy,
    *,
    period: str,
    reference_date: date,
) -> str:
    """Return why nothing new may be released, or nothing."""
    if set(live) - standing:
        return "the data no longer give what a live release of this period shows"
    for table in history:
        months = abs(
            (table.reference_date.year - reference_date.year) * 12 + table.reference_date.month - reference_date.month
        )
        if table.period != period and months < policy.months_between:
            return f"a live release has a reference date less than {policy.months_between} months away"
    return ""


def _freeze(answer: Levelled, period: str, reference_date: date) -> ReleasedTable:
    definition = answer.table.table
    return ReleasedTable(
        release_id="",
        table_id=definition.table_id,
        version=definition.version,
        title_da=definition.title_da,
        title_en=definition.title_en,
        universe=definition.universe_text,
        notes_da=definition.notes_da,
        period=period,
        reference_date=reference_date,
        axes=tuple(_axis(axis) for axis in answer.inner.axes),
        measures=tuple(ReleasedMeasure(each.name, each.title_da, each.unit) for each in definition.measures),
        cells=tuple(_cell(cell) for cell in answer.judged if definition.margins or not _nobody(cell)),
        digest="",
    ).sealed()


def _axis(shown: ShownAxis) -> ReleasedAxis:
    titles = {name: shown.axis.titles_da.get(name, name) for name in shown.names}
    return ReleasedAxis(shown.axis.name, shown.axis.title_da, shown.groups, shown.subtotals, shown.total, titles)


def _nobody(cell: JudgedCell) -> bool:
    """Say whether a share divides by nothing, and that is no secret: then there is no such cell."""
    return cell.safe and cell.denominator == 0


def _cell(cell: JudgedCell) -> ReleasedCell:
    if not cell.safe or cell.denominator == 0:
        return ReleasedCell(cell.categories, cell.measure.name, CellStatus.SUPPRESSED, None)
    return ReleasedCell(cell.categories, cell.measure.name, CellStatus.PUBLISHED, _value(cell))


def _value(cell: JudgedCell) -> int | float:
    if cell.denominator is None:
        return cell.numerator
    if cell.measure.unit is Unit.MEAN_ORE:
        rounded = (2 * abs(cell.numerator) + cell.denominator) // (2 * cell.denominator)
        return rounded if cell.numerator >= 0 else -rounded
    return round(cell.numerator / cell.denominator, 4)


def _release_id(policy: Policy, tables: Iterable[ReleasedTable]) -> str:
    content = canonical({"policy": policy.digest, "tables": [table.digest for table in tables]})
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _shown(answer: Levelled) -> str:
    """Return the outcome of a release, with the groups of each axis that was coarsened."""
    coarsened = [
        f"{axis.axis.name} as {', '.join(axis.groups) or 'total only'}"
        for axis in answer.inner.axes
        if answer.levels[axis.axis.name]
    ]
    return f"released, coarsened: {'; '.join(coarsened)}" if coarsened else "released as registered"


def _coverage(table: ReleasedTable) -> list[CoverageShare]:
    """Return the rows of the coverage table; none for other tables."""
    if [axis.name for axis in table.axes] != ["source", "method"]:
        return []
    shares: dict[tuple[str, ...], dict[str, float | None]] = {}
    for cell in table.cells:
        shares.setdefault(cell.categories, {})[cell.measure] = cell.value
    return [
        CoverageShare(source, method, row.get("share_rows"), row.get("share_amount"))
        for (source, method), row in shares.items()
    ]


def _audit(answer: Levelled, policy: Policy) -> Mapping[str, int]:
    """Return internal counts: cells as shown, withheld, and unsafe at the finest level."""
    judged = answer.judged
    if any(answer.levels.values()):
        definition = answer.table.table
        finest = inner(answer.table, dict.fromkeys(answer.levels, 0))
        families = denominators(answer.table, finest) if definition.denominator_axes else None
        judged = judge(definition, with_margins(finest) if definition.margins else finest, policy, families)
    return {
        "cells": len(answer.judged),
        "withheld": sum(not cell.safe for cell in answer.judged),
        "unsafe_at_finest": sum(not cell.safe for cell in judged),
        **{f"level.{name}": level for name, level in answer.levels.items()},
    }
