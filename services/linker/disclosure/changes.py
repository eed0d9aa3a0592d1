"""What may be told about the difference between this release and each earlier one.

1. The *change set* of a cell are the contributors whose net contribution is not what it was. Contributors of two
   releases that share a member are one (connected components), so a family that splits, joins or is renumbered is one.
2. A change made by fewer contributors than the threshold, or dominated by one or two, is protected like a cell of the
   amounts changed. An amount's change must be possible further up and down by the largest of p % of the largest
   change, a share of the change, and the minimum; a count's from nothing to the threshold on its side, and by 1 at
   least.
3. Cells are compared when they are the same region; to-date cells also with to-date cells through other months.
   A stock, such as the families of a reference date, is compared with all earlier releases; a flow with those of its
   year, for months that were over then; a region by an axis of the period within its year.
4. Of a cell that was shown the earlier value is known; of one that was not, as little as was proven then. The same
   region counts as shown if no record speaks of it. The change needs nothing now if the earlier value is as uncertain
   as it must be.
5. Where nothing changed since an earlier release, what was shown stays shown and what was hidden stays hidden: who
   supposes that nothing changed, and is right, learns nothing from two patterns. This is asked for where it can be had,
   not promised.

It does not know what is hidden now. Why this is enough: docs/adr/0014-release-to-release.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from linker.disclosure.basis import Basis
from linker.disclosure.facts import CONTRIBUTOR, MONTH, FactFrame
from linker.disclosure.needs import Needs, ProtectionPolicy, needs
from linker.disclosure.regions import contributions_to, unlinked
from linker.disclosure.registered_system import (
    Months,
    Place,
    RegisteredSystem,
    components,
    identified,
    restricted,
    strictest,
)
from linker.disclosure.system import Flags, Integers, LinkedSystem

_ENOUGH = 1 - 1e-6  # of a need: as witnesses prove it


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """Facts of now less those of an earlier release, of one frame, `frame`.

    `rows`: contributor (an identity), axes, and columns; what cancels out is left out. `months`, `before`: which months
    of a flow are compared. `known`: how far up and down each earlier cell was uncertain. `axes`: regions by other axes
    do not compare.
    """

    frame: str
    rows: pl.DataFrame
    axes: frozenset[str]
    columns: tuple[str, ...]
    counted: frozenset[str]
    months: Months
    before: Months
    known: Mapping[Place, tuple[float, float]]

    def compares(self, place: Place) -> bool:
        """Say whether a cell of now is compared."""
        column, region, months = place
        same = months == self.before or (column, region, self.before) in self.known
        return column in self.columns and months == self.months and same and {name for name, _ in region} <= self.axes


def differences(
    registered: RegisteredSystem, facts: Sequence[FactFrame], past: Basis, year: int, of_period: frozenset[str]
) -> list[Difference]:
    """Return what to compare with one earlier release; `of_period`: axes about the run's period.

    Cost: a join and a group-by over the facts of both.
    """
    known = known_cells(past)
    wanted = sorted({months for _, _, months in registered.places if months})
    shown_to_date = [view.months for view in past.views if view.shown and view.months[:1] == (1,)]
    to_date = max(shown_to_date, key=len, default=())
    found = []
    for frame in facts:
        then = next((each for each in past.facts if each.name == frame.name and each.flow == frame.flow), None)
        if then is None or (frame.flow and past.year != year):
            continue
        axes = [name for name in frame.axes if name in then.axes and (past.year == year or name not in of_period)]
        columns = [name for name in frame.columns if name in then.columns]
        now_ids, then_ids = _identities(frame, then)
        keys = [CONTRIBUTOR, *axes, *([MONTH] if frame.flow else [])]
        now = _summed(_identified(frame, now_ids), keys, columns)
        over = now.filter(pl.col(MONTH) <= past.through_month) if frame.flow else now
        before = _summed(_identified(then, then_ids), keys, columns).with_columns(-pl.col(columns))
        delta = _summed(pl.concat([over, before]), keys, columns)
        common = (frozenset(axes), tuple(columns), frame.counted)
        if not frame.flow:
            found.append(Difference(frame.name, delta, *common, (), (), known))
            continue
        for months in wanted:
            for earlier in {months, to_date if months[0] == 1 else ()}:
                nested = set(earlier) <= set(months) or set(months) <= set(earlier)
                if earlier and earlier[-1] <= past.through_month and nested:
                    parts = [delta.filter(pl.col(MONTH).is_in(set(months) & set(earlier)))]
                    parts.append(now.filter(pl.col(MONTH).is_in(set(months) - set(earlier))))
                    parts.append(before.filter(pl.col(MONTH).is_in(set(earlier) - set(months))))
                    rows = pl.concat(parts)
                    rows = _summed(rows, [CONTRIBUTOR, *axes], columns)
                    found.append(Difference(frame.name, rows, *common, months, earlier, known))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Demanded:
    """What one difference asks of the cells of now.

    `needs`: of cells whose change must stay uncertain. `kept`: cells that were shown and have not changed. `staying`:
    small needs of cells that were not shown and have not changed, so that they stay hidden.
    """

    needs: Needs
    kept: Flags
    staying: Needs


def demanded(
    registered: RegisteredSystem, difference: Difference, policies: Mapping[str, ProtectionPolicy]
) -> Demanded:
    """Return what a difference asks of the cells of now.

    Guarantee: the change of a cell that compares, and is not primary here, is made by nobody or by at least
    `threshold` contributors without dominance; or what was known of the earlier value leaves it as uncertain as it
    must be.
    """
    size = len(registered.system)
    found, staying, kept = [], [], np.zeros(size, bool)
    for column in difference.columns:
        places = [
            (place, cell)
            for place, cell in registered.places.items()
            if place[0] == column and difference.compares(place)
        ]
        if not places:
            continue
        cells = np.array([cell for _, cell in places], np.int64)
        nets = contributions_to([region for (_, region, _), _ in places], difference.rows, [column])
        changed = unlinked(nets, column, len(places), counted=column in difference.counted)
        earlier = [difference.known.get((column, region, difference.before)) for (_, region, _), _ in places]
        could = np.array([each or (0.0, 0.0) for each in earlier])
        for name, policy in policies.items():
            must = change_rules(changed, policy)
            enough = (could[:, 1] >= must.up * _ENOUGH) & (could[:, 0] >= must.down * _ENOUGH)
            mine = must.primary & ~enough & registered.policies[name][cells]
            found.append(_spread(restricted(must, mine), cells, size))
        if difference.months == difference.before:
            still = changed.contributors == 0
            kept[cells[still & np.array([each == (0.0, 0.0) for each in earlier], bool)]] = True
            least = np.where(changed.counted, 1, min(policy.interval_minimum for policy in policies.values()))
            up, down = np.minimum(could, least[:, None]).astype(np.int64).T
            stays = Needs(still & ((up > 0) | (down > 0)), up, down)
            staying.append(_spread(restricted(stays, stays.primary), cells, size))
    return Demanded(strictest(found, size), kept, strictest(staying, size))


def change_rules(changed: LinkedSystem, policy: ProtectionPolicy) -> Needs:
    """Return which changes must stay uncertain, and how far."""
    own = needs(changed, policy, np.ones(len(changed), bool))
    few = changed.counted & (changed.contributors > 0) & (changed.contributors < policy.threshold)
    size = np.abs(changed.values)
    towards, away = np.maximum(size, 1), np.where(size, np.maximum(policy.threshold - size, 1), 1)
    rises = changed.values > 0
    primary = np.where(changed.counted, few, own.primary & (changed.contributors > 0))
    up = np.where(changed.counted, np.where(rises, away, towards), own.up)
    down = np.where(changed.counted, np.where(rises, towards, away), own.down)
    return restricted(Needs(primary, up, down), primary)


def _spread(found: Needs, cells: Integers, size: int) -> Needs:
    """Return the needs of some cells as needs of the system; a cell may have several regions' of one meaning."""
    primary, up, down = np.zeros(size, bool), np.zeros(size, np.int64), np.zeros(size, np.int64)
    np.logical_or.at(primary, cells, found.primary)
    np.maximum.at(up, cells, found.up)
    np.maximum.at(down, cells, found.down)
    return Needs(primary, up, down)


def known_cells(past: Basis) -> dict[Place, tuple[float, float]]:
    """Return how far up and down each cell of a release was uncertain then."""
    return {
        (view.column, region, view.months): (up, down)
        for view in past.views
        for region, up, down in zip(
            view.regions(), past.up[view.name].tolist(), past.down[view.name].tolist(), strict=True
        )
    }


def _identities(now: FactFrame, then: FactFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return contributor → identity, of now and of then."""
    rows = [identified(frame).with_columns(pl.lit(side).alias("side")) for side, frame in enumerate((now, then))]
    linked = components(pl.concat(rows), ["side", CONTRIBUTOR])
    now_ids, then_ids = (linked.filter(pl.col("side") == side).drop("side") for side in (0, 1))
    return now_ids, then_ids


def _identified(frame: FactFrame, identities: pl.DataFrame) -> pl.DataFrame:
    return frame.frame.join(identities, on=CONTRIBUTOR).drop(CONTRIBUTOR).rename({"identity": CONTRIBUTOR})


def _summed(rows: pl.DataFrame, keys: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """Return rows summed by keys, without those where all columns are 0; columns in this order."""
    summed = rows.lazy().group_by(keys).agg(pl.col(columns).sum()).filter(pl.any_horizontal(pl.col(columns) != 0))
    return summed.select(*keys, *columns).collect()
