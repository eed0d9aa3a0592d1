"""The one gate: facts in, a release out. Nothing else makes a release.

1. All tables that are due are protected together, as one system with what earlier releases showed
   (`protection`), and with a certificate. What is not proven is refused as a whole, and the live tables stay.
2. A mean or share is shown where numerator and denominator are. Its rounding is no protection: both count as known.
3. A cell that is hidden shows what the table's last revision showed: it is carried; or it is suppressed, and so are all
   of them where the policy is stricter than the one that revision was made under.
4. A table that would show the same values as its live revision stands, and gets no new one.
5. A year that cannot be compared with what was shown, because that basis is erased, is not released (`closing`).

It knows no clock, no store and no caller.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

import polars as pl

from linker.disclosure import basis as bases
from linker.disclosure.basis import Basis
from linker.disclosure.closing import check_comparable
from linker.disclosure.facts import MONTH, FactFrame
from linker.disclosure.freeze import frozen
from linker.disclosure.policy import Policy
from linker.disclosure.protection import Protected, protected
from linker.disclosure.release import (
    CellStatus,
    CoverageShare,
    DisclosureRecord,
    PastRelease,
    Release,
    ReleasedTable,
    TableOutcome,
    TableRecord,
    canonical,
)
from linker.disclosure.search import Progress
from linker.disclosure.system import Numbers
from linker.tables.registered_table import PeriodType, RegisteredTable
from linker.tables.registry import due

_MONTHS = 12


def _silent(_: str, __: int, ___: int) -> None:
    pass


def protect(
    tables: Sequence[RegisteredTable],
    facts: Sequence[FactFrame],
    policy: Policy,
    history: Sequence[PastRelease],
    *,
    year: int,
    through_month: int,
    reference_date: date,
    progress: Progress = _silent,
) -> Release:
    """Protect all tables that are due together and return what may leave.

    `facts`: frames with all columns of these tables. `history`: all earlier releases, oldest first. `through_month`:
    the last month of the run, 1 to 12; 0 is the whole year. `progress`: stage, done, of how many. Deterministic: order
    of rows and numbering of contributors do not matter. Cost: seconds for a thousand cells, and a group-by
    over the facts for each earlier release.

    Raises:
        ContributionError: facts do not fit the registry.
        ClosedYearError: the basis of a release about this year, or of a near reference date, is erased.

    Guarantee: if the release has tables, every attacker of the policy finds it possible that each unsafe cell, and each
    change of a cell since an earlier release that few contributors made or one or two dominate, lies as far from its
    true value, up and down, as the policy says; given all that is released, and that nothing but such differences
    links releases (docs/adr/0014-release-to-release.md).
    """
    month = through_month or _MONTHS
    erased = {(each.year, each.reference_date) for each in history if each.basis is None}
    check_comparable(year, reference_date, erased, policy.retention)
    mine = due(tables, month)
    known = [_through(frame, month) for frame in facts]
    past = [each.basis for each in history if each.basis is not None]
    found = protected(mine, known, policy.policies, past, year=year, through_month=month, progress=progress)
    live = _live(history)
    made = {}
    if found.pattern.proven:
        for table in mine:
            period = table.period.label(year, month)
            last = live.get((table.table_id, period))
            made[table.table_id] = frozen(
                table,
                found,
                last,
                carry=last is not None and not _is_stricter(policy, table, last, history),
                period=period,
                reference_date=reference_date,
            )
    standing = {
        name: live[name, table.period]
        for name, (table, _) in made.items()
        if (name, table.period) in live and table.says_as(live[name, table.period])
    }
    follows = history[-1].release_id if history else ""
    new = [table for name, (table, _) in made.items() if name not in standing]
    release_id = _release_id(policy, new, follows) if new else ""
    new = [replace(table, release_id=release_id) for table in new]
    shown = {**standing, **{table.table_id: table for table in new}}
    period = PeriodType.YEAR if month == _MONTHS else PeriodType.YEAR_TO_DATE
    return Release(
        release_id=release_id,
        period=period.label(year, month),
        reference_date=reference_date,
        policy_digest=policy.digest,
        tables=tuple(new),
        outcomes=tuple(
            _outcome(table, shown, standing, live.get((table.table_id, table.period.label(year, month))), found)
            for table in mine
        ),
        coverage=tuple(row for table in shown.values() for row in _coverage(table)),
        record=_record(found, {table.table_id: made[table.table_id][1] for table in new}),
        basis=bases.write(_basis(found, known, policy, year, month)) if new else b"",
        follows=follows,
        proof=found,
    )


def known_by(release: Release, proof: Protected) -> Release:
    """Return a release whose basis says that its cells are as uncertain as this proof of it has them."""
    up, down = _ranges(proof)
    known = replace(bases.read(release.basis), up=up, down=down)
    return replace(release, basis=bases.write(known), proof=proof)


def _through(frame: FactFrame, month: int) -> FactFrame:
    return replace(frame, frame=frame.frame.filter(pl.col(MONTH) <= month)) if frame.flow else frame


def _live(history: Sequence[PastRelease]) -> dict[tuple[str, str], ReleasedTable]:
    """Return the newest revision of each table and period."""
    every = sorted((table for each in history for table in each.tables), key=lambda table: table.revision)
    return {(table.table_id, table.period): table for table in every}


def _is_stricter(policy: Policy, table: RegisteredTable, last: ReleasedTable, history: Sequence[PastRelease]) -> bool:
    """Say whether the table is protected more strictly than its last revision was."""
    made = next(each.basis for each in history if each.release_id == last.release_id)
    return made is None or policy.policies[table.policy].is_stricter_than(bases.protected_by(made)[table.table_id])


def _release_id(policy: Policy, tables: Iterable[ReleasedTable], follows: str) -> str:
    content = {"policy": policy.digest, "tables": [table.digest for table in tables], "follows": follows}
    return hashlib.sha256(canonical(content).encode()).hexdigest()[:32]


def _outcome(
    table: RegisteredTable,
    shown: Mapping[str, ReleasedTable],
    standing: Mapping[str, ReleasedTable],
    live: ReleasedTable | None,
    found: Protected,
) -> TableOutcome:
    name = table.table_id
    if name in standing:
        stands = f"unchanged: it says the same as revision {standing[name].revision}, which stays in service"
        return TableOutcome(name, standing[name].release_id, stands)
    if name in shown:
        return TableOutcome(name, shown[name].release_id, _released(shown[name]))
    return TableOutcome(name, live.release_id if live else "", f"refused: not proven for {found.unproven()}; {_NEXT}")


def _released(table: ReleasedTable) -> str:
    statuses = Counter(cell.status for cell in table.cells)
    counts = [
        f"{statuses[CellStatus.PUBLISHED]} of {len(table.cells)} numbers shown",
        *(f"{statuses[status]} {status}" for status in (CellStatus.CARRIED, CellStatus.SUPPRESSED) if statuses[status]),
    ]
    return f"released: {', '.join(counts)}"


_NEXT = (
    "next: if the last delivery is right, register fewer categories or another policy for this table and run again; "
    "the live tables stay in service"
)


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


def _record(found: Protected, tables: Mapping[str, TableRecord]) -> DisclosureRecord:
    pattern = found.pattern
    return DisclosureRecord(
        tables=tables,
        attackers=dict(sorted(Counter(attacker.name for attacker in pattern.attackers).items())),
        programs=pattern.programs,
        witnesses=len(pattern.witnesses),
        failures=len(pattern.failures),
        unchecked=len(pattern.unchecked),
    )


def _basis(found: Protected, facts: Sequence[FactFrame], policy: Policy, year: int, month: int) -> Basis:
    return Basis(year, month, tuple(facts), found.registered.views, policy.policies, *_ranges(found))


def _ranges(found: Protected) -> tuple[dict[str, Numbers], dict[str, Numbers]]:
    """Return how far up and down each cell of each view is proven to be possible."""
    registered = found.registered
    up, down = (
        {view.name: side[registered.cells(view)] for view in registered.views} for side in found.pattern.ranges()
    )
    return up, down
