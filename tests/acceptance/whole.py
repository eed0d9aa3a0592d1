"""Say what is wrong with a linker's store, or a pseudonymizer's ledger, that was killed.

Reads a copy of the state database, as it lies, and the tables in place. Each function
returns sentences; none means that all is well.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import sqlalchemy as sa
from deltalake import DeltaTable

from linker.frames import FACTS
from linker.store import deliveries
from linker.store.delta import DeltaTables
from linker.store.releases import RELEASED_TABLES, Releases
from linker.store.snapshots import Snapshots
from linker.store.state import DELIVERIES, RUNS, SNAPSHOTS, DeliveryState
from linker.store.tables import IDENTITIES, SCHEMAS, UNDIVIDED, facts, quarantine
from servicekit import database
from servicekit.audit import AuditLog


@contextmanager
def copied(folder: Path) -> Iterator[sa.Engine]:
    """Open a copy of a service's state database with its journal, and touch nothing."""
    with tempfile.TemporaryDirectory() as other:
        for name in ("state.db", "state.db-wal"):
            if (folder / name).exists():
                shutil.copy(folder / name, other)
        engine = database.engine(f"sqlite:///{other}/state.db")
        try:
            yield engine
        finally:
            engine.dispose()


def damage(folder: Path, promised: Mapping[str, int]) -> list[str]:
    """Say where a dead linker's store is not whole.

    `promised`: rows by id of the deliveries that a client was told are accepted, and that
    were neither withdrawn nor replaced since.
    """
    with copied(folder) as engine:
        try:
            return [*_deliveries(engine, folder, promised), *_records(engine)]
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            return [f"what the snapshot names cannot be read: {type(error).__name__}: {error}"]


def _deliveries(engine: sa.Engine, folder: Path, promised: Mapping[str, int]) -> list[str]:
    found: list[str] = []
    with Snapshots(engine, DeltaTables(folder / "store")).pin() as pinned:
        held: Counter[tuple[str, str, str]] = Counter()
        for table in SCHEMAS:
            if table not in UNDIVIDED:
                counts = pinned.scan(table).group_by("source", "delivery_id").len().collect()
                held |= Counter({(table, source, delivery): n for source, delivery, n in counts.iter_rows()})
        identities = pinned.scan(IDENTITIES).collect()
        for table in map(facts, FACTS):
            ids = [column for column in SCHEMAS[table] if column.endswith("_id") and column != "delivery_id"]
            ids = [column for column in ids if SCHEMAS[table][column] == pl.UInt32]
            for column in ids:
                strange = pinned.scan(table).select(id=column).drop_nulls().collect().join(identities, "id", "anti")
                found += [f"{table}: {strange.height} unknown {column}"] if strange.height else []
    if not identities["id"].is_unique().all() or identities.select("kind", "source", "pseudonym").is_duplicated().any():
        found.append("an identity is there twice")
    with database.read(engine) as connection:
        accepted = deliveries.in_state(connection, DeliveryState.ACCEPTED)
    expected = {
        ((quarantine if d.converted_snapshot is None else facts)(d.header.dataset), *d.key): d.header.rows
        for d in accepted
        if d.header.rows
    }
    for key in sorted(expected.keys() | held.keys()):
        if expected.get(key, 0) != held[key]:
            found.append(f"{key}: {held[key]} of {expected.get(key, 0)} rows")
    rows = {d.header.delivery_id: d.header.rows for d in accepted}
    lost = [id_ for id_, n in promised.items() if rows.get(id_) != n]
    found += [f"a client was told that {id_} is accepted; it is not" for id_ in lost]
    slots = Counter((d.source, d.header.dataset, d.header.period) for d in accepted)
    return found + [f"{slot}: accepted twice" for slot, n in slots.items() if n > 1]


def _records(engine: sa.Engine) -> list[str]:
    with database.read(engine) as connection:
        numbers = connection.execute(sa.select(SNAPSHOTS.c.snapshot).order_by(SNAPSHOTS.c.snapshot)).scalars().all()
        running = connection.execute(sa.select(sa.func.count()).where(RUNS.c.state == "running")).scalar_one()
        digests = connection.execute(sa.select(RELEASED_TABLES.c.release_id).distinct()).scalars().all()
        intact = connection.exec_driver_sql("PRAGMA integrity_check").scalar_one()
    Releases(engine).history()  # raises when a table or a basis does not match its digest
    found = [] if list(numbers) == list(range(1, len(numbers) + 1)) else ["a snapshot is missing"]
    found += [] if running <= 1 else [f"{running} runs are under way"]
    found += [] if len(digests) <= 1 else [f"{len(digests)} releases of one period"]
    return found + ([] if intact == "ok" else [f"SQLite: {intact}"])


def orphans(folder: Path) -> list[str]:
    """Return the files of a linker at rest that neither its snapshot nor a delivery under way names."""
    with copied(folder) as engine:
        snapshot = Snapshots(engine, DeltaTables(folder / "store")).current()
        with database.read(engine) as connection:
            receiving = {d.key for d in deliveries.in_state(connection, DeliveryState.RECEIVING)}
    store, named = folder / "store", {folder / "store/.lock"}
    for table, version in snapshot.versions.items():
        delta = DeltaTable(str(store / table), version=version)
        named |= {Path(unquote(uri.removeprefix("file://"))) for uri in delta.file_uris()}
        named |= {Path(uri) for uri in delta.file_uris()}
        entries = (store / table / "_delta_log").iterdir()
        named |= {entry for entry in entries if entry.name[:20].isdigit() and int(entry.name[:20]) <= version}
        named.add(store / table / "_delta_log/_last_checkpoint")
    found = [file for file in store.rglob("*") if file.is_file() and file not in named]
    staging = folder / "staging"
    found += [f for f in staging.glob("*/*/*") if (f.parent.parent.name, f.parent.name) not in receiving]
    return sorted(str(file.relative_to(folder)) for file in found)


def ledger(folder: Path, answered: Mapping[str, int]) -> list[str]:
    """Say where a pseudonymizer's budgets and audit entries differ, or an answer has no entry.

    `answered`: elements by caller ("source/ky") that clients were given.
    """
    found = []
    noted = Counter[str]()
    with copied(folder) as engine, database.read(engine) as connection:
        for entry in AuditLog(engine).entries(limit=1_000_000):
            if entry["outcome"] == "ok" and "PseudonymisationService/" in entry["rpc"]:
                noted[entry["caller"].partition("kinlink.test/")[2]] += entry["count"]
        rows = connection.exec_driver_sql("SELECT caller, elements FROM budget_use WHERE length(period) = 4")
        used = {caller: n for caller, n in rows}  # noqa: C416 - a result is no mapping
    for caller in sorted(used.keys() | noted.keys() | answered.keys()):
        figures = used.get(caller, 0), noted.get(caller, 0), answered.get(caller, 0)
        if figures[0] != figures[1] or figures[1] < figures[2]:
            found.append("{}: {} of the budget used, {} in the audit log, {} answered".format(caller, *figures))
    return found


def unrecorded(folder: Path) -> list[str]:
    """Say where a linker's audit log differs from what was accepted and from the runs that succeeded."""
    with copied(folder) as engine, database.read(engine) as connection:
        noted = Counter(
            entry["subject"].rpartition("/")[2] if entry["rpc"] == "delivery accepted" else entry["rpc"]
            for entry in AuditLog(engine).entries(limit=1_000_000)
            if entry["rpc"] in {"delivery accepted", "linkage run"}
        )
        accepted = connection.execute(sa.select(DELIVERIES.c.delivery_id).where(DELIVERIES.c.accepted_at.is_not(None)))
        happened = Counter(accepted.scalars())
        succeeded = sa.select(sa.func.count()).where(RUNS.c.state == "succeeded")
        happened["linkage run"] = connection.execute(succeeded).scalar_one()
    return [
        f"{what}: {happened[what]} times, {noted[what]} entries"
        for what in noted | happened
        if noted[what] != happened[what]
    ]


def keys(folder: Path) -> set[tuple[object, ...]]:
    """Return what identifies each sealed key of a pseudonymizer."""
    with copied(folder) as engine, database.read(engine) as connection:
        columns = "domain, kind, version, state, check_value, sealed"
        rows = connection.exec_driver_sql(f"SELECT {columns} FROM pseudonymisation_keys")
        return {tuple(row) for row in rows}
