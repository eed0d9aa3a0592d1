"""What may be shown, and why? The tables of tests/spec/disclosure hold when they go through the gate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from linker.disclosure.facts import FactFrame
from linker.disclosure.policy import Policy
from linker.disclosure.release import CellStatus, Release, ReleasedCell
from linker.tables import registry
from linker.tables.registered_table import Axis, Measure, PeriodType, RegisteredTable, Unit
from tests.privacy import towns as t
from tests.spec.disclosure_cases import Block, Case, amounts, read_cases

CASES = read_cases()
MEASURES = {
    "families": t.FAMILIES,
    "single_providers": Measure("single_providers", "Enlige", Unit.COUNT, "single_providers", None),
    "amount": t.AMOUNT,
    "mean": t.MEAN,
    "share": Measure("share", "Andel enlige", Unit.SHARE, "single_providers", "families"),
}
MONTHS = {"March": 3, "June": 6}
NAMED = 1_000_000


def axes_of(case: Case) -> dict[str, Axis]:
    """Return the axes: leaves are the categories of the facts, in their order."""
    leaves: dict[str, dict[str, None]] = {}
    for block in case.blocks:
        for cell, _ in block.cells if block.what == "Facts" else ():
            for axis, leaf in cell.items():
                leaves.setdefault(axis, {})[leaf] = None
    sums = dict(line.split(" = ") for line in case.settings.get("sums", ()))
    parts = {name: tuple(members.split(" + ")) for name, members in sums.items()}
    return {
        axis: t.axis(axis, list(names), **{name: each for name, each in parts.items() if set(each) <= names.keys()})
        for axis, names in leaves.items()
        if axis != "month"
    }


def tables_of(case: Case) -> list[RegisteredTable]:
    """Return the tables: one a measure over all axes, unless the case says which."""
    axes = axes_of(case)
    told = [re.split(" = |: ", line) for line in case.settings.get("tables", ())]
    if not told:
        names = dict.fromkeys(block.name for block in case.blocks if block.what == "Released")
        told = [[name, ", ".join(axes), name] for name in names or case.settings["refused"]]
    return [
        t.table(
            name, [axes[each] for each in over.split(", ")], MEASURES[measure], period=PeriodType(*more or ["year"])
        )
        for name, over, measure, *more in told
    ]


def facts_of(case: Case, phase: str) -> list[FactFrame]:
    """Return the facts of a release."""
    axes = list(axes_of(case))
    blocks = {block.name: block for block in case.blocks if (block.phase, block.what) == (phase, "Facts")}
    cells = list(dict.fromkeys(place(cell) for block in blocks.values() for cell, _ in block.cells))
    number = {cell: 1000 * n for n, cell in enumerate(cells)}
    counts: dict[tuple[str, ...], dict[str, int]] = {cell: {} for cell in cells}
    spent = []
    for name, block in blocks.items():
        for cell, text in block.cells:
            if name == "amount":
                for n, (family, ore) in enumerate(amounts(text)):
                    who = NAMED + ord(family) if family else number[place(cell)] + n
                    spent.append((who, *place(cell), int(cell.get("month", 1)), ore))
            else:
                counts[place(cell)][name] = int(text or 0)
    known = sorted({row[0] for row in spent} | {n for row in _families(counts, number) for n in row[:1]})
    members = t.frame([(n, n) for n in known], {"person": int, "contributor": int})
    columns = ("families", "single_providers")
    return [
        t.facts_of("families", _families(counts, number), axes, columns, members),
        t.facts_of("spending", spent, axes, ("amount_ore",), members, flow=True),
    ]


def _families(counts: Mapping[tuple[str, ...], Mapping[str, int]], number: Mapping[Any, int]) -> list[tuple[Any, ...]]:
    return [
        (number[cell] + n, *cell, 1, int(n < count.get("single_providers", 0)))
        for cell, count in counts.items()
        for n in range(count.get("families", 0))
    ]


def place(cell: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(leaf for axis, leaf in cell.items() if axis != "month")


def policy_of(case: Case) -> Policy:
    """Return the shipped policy with the case's numbers."""
    changes: dict[str, Any] = {}
    for line in case.settings.get("policy", ()):
        name, _, value = line.partition(" ")
        changes[name] = {"on": True, "off": False}.get(value) if value in {"on", "off"} else int(value)
    return t.with_policy(t.POLICY, **changes)


def released(case: Case) -> list[Release]:
    """Return what the gate answers, release by release."""
    found: list[Release] = []
    for phase in case.phases():
        through = MONTHS.get(phase, 12)
        tables = registry.due(tables_of(case), through)
        found.append(t.protect(facts_of(case, phase), tables, policy_of(case), found, through=through))
    return found


def written(cell: ReleasedCell, measure: Measure) -> str:
    """Return a cell as a case writes it."""
    if cell.status is CellStatus.SUPPRESSED:
        return ".."
    assert cell.value is not None
    number = cell.value / 100_000 if measure.column == "amount_ore" else cell.value
    text = f"{number:.10g}"
    return f"{text} ({cell.revision})" if cell.status is CellStatus.CARRIED else text


def said(release: Release, case: Case, block: Block) -> list[tuple[Mapping[str, str], str]]:
    """Return a released table in the order of a block."""
    registered = next(table for table in tables_of(case) if table.table_id == block.name)
    [table] = [table for table in release.tables if table.table_id == block.name]
    cells = {cell.categories: written(cell, registered.measures[0]) for cell in table.cells}
    assert len(block.cells) == len(cells), "a case shows every cell"
    return [(cell, cells[tuple(cell[axis.name] for axis in table.axes)]) for cell, _ in block.cells]


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_release_shows_what_the_table_says(case: Case) -> None:
    releases = dict(zip(case.phases(), released(case), strict=True))
    for block in case.blocks:
        if block.what == "Released":
            assert said(releases[block.phase], case, block) == list(block.cells), block.phase
    for name in case.settings.get("refused", ()):
        *_, last = releases.values()
        [outcome] = [each.outcome for each in last.outcomes if each.table_id == name]
        assert last.tables == ()
        assert outcome.startswith("refused: not proven for")


def test_every_rule_has_a_case() -> None:
    words = " ".join(case.title.lower() for case in CASES)
    missing = [rule for rule in RULES if rule not in words]
    assert missing == []


RULES: Sequence[str] = (
    "threshold", "p %", "largest", "empty", "negative", "mean", "share", "sum", "two tables", "alone",
    "department", "changed", "carried", "to date", "quarter", "refused", "policy",
)  # fmt: skip
