"""What the linker holds, read from its folder: so a test sees that a refusal left nothing behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from examples.stack import Stack
from linker.store.delta import DeltaTables
from linker.store.snapshots import Snapshots
from servicekit.database import engine


@dataclass(frozen=True, slots=True)
class Held:
    """All that the linker holds: (source, id, state) of deliveries, the snapshot, the files staged."""

    deliveries: frozenset[tuple[str, str, str]]
    snapshot: int
    staged: frozenset[Path]


def held(stack: Stack) -> Held:
    """Look into the linker's folder, without asking it."""
    root = stack.folder / "linker"
    opened = engine(f"sqlite:///{root}/state.db")
    with opened.connect() as connection:
        rows = connection.exec_driver_sql("select source, delivery_id, state from deliveries").all()
    snapshot = Snapshots(opened, DeltaTables(root / "store")).current().number
    opened.dispose()
    staged = frozenset(path for path in (root / "staging").rglob("*") if path.is_file())
    return Held(frozenset((row[0], row[1], str(row[2])) for row in rows), snapshot, staged)


def stored(stack: Stack) -> pl.DataFrame:
    """Return the postings of the linker's current snapshot."""
    root = stack.folder / "linker"
    opened = engine(f"sqlite:///{root}/state.db")
    with Snapshots(opened, DeltaTables(root / "store")).pin() as snapshot:
        rows = snapshot.scan("quarantine/postings").collect()
    opened.dispose()
    return rows
