"""Everything that a run computes from the store, to be held equal before and after a rotation.

Nothing in it depends on a pseudonym: people stand under their numbers, and where a
pseudonym is looked at, it is to see that it is another one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date

import polars as pl
from polars.testing import assert_frame_equal

from examples.exact import Exact, exact
from examples.stack import Stack
from kinlink.client_config import ClientConfig
from kinlink.released import Table
from kinlink.statistics_client import StatisticsClient
from linker.frames import FACTS
from linker.store.delta import DeltaTables
from linker.store.snapshots import PinnedSnapshot, Snapshots
from linker.store.tables import IDENTITIES, facts
from servicekit import database

CONSUMER = "consumer/velfaerdsanalyse"
REFERENCE_DATE, YEAR = date(2015, 1, 1), 2014


@dataclass(frozen=True, slots=True)
class Figures:
    """The exact frames behind the tables, the rows they come from, the tables as released, and the pseudonyms by id."""

    frames: Exact
    facts: dict[str, pl.DataFrame]
    released: dict[str, Table]
    pseudonyms: pl.DataFrame


def figures(stack: Stack) -> Figures:
    """Compute everything anew from the newest snapshot, and read what is released."""
    with ClientConfig.load(stack.client(CONSUMER)).linker_channel() as channel:
        statistics = StatisticsClient(channel)
        ids = [table.table_id for table in statistics.list_tables() if table.periods]
        released = {table_id: statistics.get_table(table_id) for table_id in ids}
    engine = database.engine(f"sqlite:///{stack.folder / 'linker/state.db'}")
    try:
        with Snapshots(engine, DeltaTables(stack.folder / "linker/store", {})).pin() as pinned:
            rows = {name: _rows(pinned, name) for name in FACTS}
            pseudonyms = pinned.scan(IDENTITIES).select("kind", "id", "pseudonym").sort("kind", "id").collect()
    finally:
        engine.dispose()
    return Figures(exact(stack.folder, REFERENCE_DATE, YEAR), rows, released, pseudonyms)


def differences(before: Figures, after: Figures) -> list[str]:
    """Say what is not as it was; pseudonyms are not looked at."""
    found = []
    for field in fields(Exact):
        old, new = (_sorted(getattr(each.frames, field.name)) for each in (before, after))
        found += [f"exact {field.name}"] if not _equal(old, new) else []
    found += [f"facts of {name}" for name in FACTS if not _equal(before.facts[name], after.facts[name])]
    if before.released != after.released or not before.released:
        found.append("released tables")
    return found


def _rows(pinned: PinnedSnapshot, name: str) -> pl.DataFrame:
    """Return a dataset's facts without the delivery that they came in: the same rows delivered again are the same."""
    return _sorted(pinned.scan(facts(name)).drop("delivery_id", strict=False).collect())


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    kept = frame.drop("pseudonym", strict=False)
    return kept.sort([name for name, kind in kept.schema.items() if kind != pl.List], nulls_last=True)


def _equal(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    try:
        assert_frame_equal(left, right)
    except AssertionError:
        return False
    return True
