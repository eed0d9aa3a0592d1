"""Releases: their tables, frozen, and what each later release is compared with.

1. A release, its tables, its record and its basis are stored in one transaction. Nothing here changes them, but that
   bases are erased (`linker.year_closing`).
2. A table and period have revisions 1, 2, …, one a release; each stays and is served by its release's id, the newest
   without.
3. Releases are numbered 1, 2, … without a gap. One that was not compared with the newest is refused: two runs that end
   at the same time cannot both be protected against each other.
4. `content` is the canonical JSON that a table's digest covers; a basis and a record have a digest too. All are checked
   on reading: a row that was tampered with is neither served, shown nor compared with.
5. A basis is pseudonymised personal data, like the facts it is made of; only `history` reads it. Of the record, what
   tells why a cell was hidden stays here as well.
6. A release whose basis has no content, or none at all, is one whose basis is erased. The row without content says that
   the database's files may still hold it; `wipe` takes it out of them, and then the row goes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from linker.disclosure.closing import ReleasedYear
from linker.disclosure.release import DisclosureRecord, PastRelease, Release, ReleasedTable, canonical, year_of
from linker.store.state import METADATA, Instant, now
from servicekit.database import read
from servicekit.errors import ConflictError

RELEASES = sa.Table(
    "releases",
    METADATA,
    sa.Column("release_id", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),
    sa.Column("period", sa.String(10), nullable=False),
    sa.Column("reference_date", sa.Date, nullable=False),
    sa.Column("policy_digest", sa.String(64), nullable=False),
    sa.Column("record", sa.Text, nullable=False),  # canonical JSON of DisclosureRecord; internal
    sa.Column("record_digest", sa.String(64), nullable=False),  # of that, the release id and the policy's digest
    sa.Column("created_at", Instant, nullable=False),
)

RELEASED_TABLES = sa.Table(
    "released_tables",
    METADATA,
    sa.Column("table_id", sa.String(100), primary_key=True),
    sa.Column("period", sa.String(10), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("release_id", sa.String(32), sa.ForeignKey("releases.release_id"), nullable=False, index=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
)

RELEASE_BASES = sa.Table(
    "release_bases",
    METADATA,
    sa.Column("release_id", sa.String(32), sa.ForeignKey("releases.release_id"), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=True),  # NULL: erased, and to be wiped
)

_WAIT_S = 1
_TABLES = sa.select(RELEASED_TABLES, RELEASES.c.created_at, RELEASES.c.policy_digest).join(RELEASES)


class TamperedReleaseError(RuntimeError):
    """A stored table or basis does not match its digest."""


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A revision of a released table, when it was released, and under which policy; "" of coded rows' tables."""

    table: ReleasedTable
    released_at: datetime
    policy_digest: str


@dataclass(frozen=True, slots=True)
class Revision:
    """One time that a table was released for a period, without its cells."""

    period: str
    revision: int
    release_id: str
    reference_date: date
    released_at: datetime


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """A release with its tables and its record."""

    release_id: str
    reference_date: date
    released_at: datetime
    policy_digest: str
    record: DisclosureRecord
    tables: tuple[ReleasedTable, ...]


class Releases:
    """The releases in the state database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def store(self, release: Release, connection: sa.Connection | None = None) -> None:
        """Store a release, its tables and its basis; one without new tables leaves no row.

        Given a connection, as part of its transaction.

        Raises:
            ConflictError: RELEASE_OVERTAKEN, it follows another release than the newest, or bases that it was compared
                with were erased meanwhile; nothing is stored.
        """
        if not release.tables:
            return
        if connection is None:
            with self._engine.begin() as own:
                self.store(release, own)
            return
        newest = connection.execute(
            sa.select(RELEASES.c.number, RELEASES.c.release_id).order_by(RELEASES.c.number.desc()).limit(1)
        ).first()
        if release.follows != (newest.release_id if newest else ""):
            raise _overtaken()
        if any(each.erased and each.year == year_of(release.period) for each in _years(connection)):
            raise _overtaken()
        header = {
            "release_id": release.release_id,
            "number": newest.number + 1 if newest else 1,
            "period": release.period,
            "reference_date": release.reference_date,
            "policy_digest": release.policy_digest,
            "record": (record := canonical(release.record.document())),
            "record_digest": _record_digest(release.release_id, release.policy_digest, record),
            "created_at": now(),
        }
        rows = [
            {
                "table_id": table.table_id,
                "period": table.period,
                "revision": table.revision,
                "release_id": release.release_id,
                "digest": table.digest,
                "content": table.content(),
            }
            for table in release.tables
        ]
        basis = {"release_id": release.release_id, "digest": _sha256(release.basis), "content": release.basis}
        try:
            with connection.begin_nested():
                connection.execute(sa.insert(RELEASES), header)
                connection.execute(sa.insert(RELEASED_TABLES), rows)
                connection.execute(sa.insert(RELEASE_BASES), basis)
        except sa.exc.IntegrityError:
            raise _overtaken() from None

    def history(self) -> Sequence[PastRelease]:
        """Return every release with its tables and its basis, oldest first: what the gate compares with.

        A basis that is erased is None.

        Raises:
            TamperedReleaseError: a table or a basis does not match its digest.
        """
        query = sa.select(RELEASES, RELEASE_BASES.c.digest, RELEASE_BASES.c.content).outerjoin(RELEASE_BASES)
        with read(self._engine) as connection:
            tables = _tables_by_release(connection)
            rows = connection.execute(query.order_by(RELEASES.c.number)).all()
        return [PastRelease(row.release_id, row.reference_date, tables[row.release_id], _basis(row)) for row in rows]

    def years(self) -> list[ReleasedYear]:
        """Return the years that were released, in order."""
        with read(self._engine) as connection:
            return _years(connection)

    def erase(self, years: Collection[int], connection: sa.Connection) -> dict[int, int]:
        """Erase the bases of these years; return how many went of each. What the files hold is wiped by `wipe`."""
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA secure_delete = ON")  # what is freed is overwritten
        gone: dict[int, int] = {}
        for row in connection.execute(sa.select(RELEASES.c.release_id, RELEASES.c.period)).all():
            year = year_of(row.period)
            if year in years:
                mine = (RELEASE_BASES.c.release_id == row.release_id) & RELEASE_BASES.c.content.is_not(None)
                went = connection.execute(sa.update(RELEASE_BASES).where(mine).values(content=None)).rowcount
                gone[year] = gone.get(year, 0) + went
        return gone

    def wipe(self) -> bool:
        """Take erased bases out of the database's files; say whether that could be done. True when there are none.

        Not where somebody reads the database meanwhile: then the next call does it.
        """
        erased = RELEASE_BASES.c.content.is_(None)
        with read(self._engine) as connection:
            names = list(connection.scalars(sa.select(RELEASE_BASES.c.release_id).where(erased)))
        if not names:
            return True
        if not (_truncated if self._engine.dialect.name == "sqlite" else _rewritten)(self._engine):
            return False
        with self._engine.begin() as connection:
            connection.execute(sa.delete(RELEASE_BASES).where(RELEASE_BASES.c.release_id.in_(names)))
        return True

    def find(self, table_id: str, period: str = "", release_id: str = "") -> StoredTable | None:
        """Return the newest revision of a table; None when there is none.

        With a period, of that one, else of the newest; with a release id, the revision that is part of it.

        Raises:
            TamperedReleaseError: the table does not match its digest.
        """
        query = _TABLES.where(RELEASED_TABLES.c.table_id == table_id)
        if period:
            query = query.where(RELEASED_TABLES.c.period == period)
        if release_id:
            query = query.where(RELEASED_TABLES.c.release_id == release_id)
        with read(self._engine) as connection:
            row = connection.execute(_newest_first(query).limit(1)).one_or_none()
        return None if row is None else StoredTable(_table(row), row.created_at, row.policy_digest)

    def records(self) -> list[StoredRelease]:
        """Return every release with its record, newest first.

        Raises:
            TamperedReleaseError: a table or a record does not match its digest.
        """
        with read(self._engine) as connection:
            tables = _tables_by_release(connection)
            rows = connection.execute(sa.select(RELEASES).order_by(RELEASES.c.number.desc())).all()
        return [
            StoredRelease(
                row.release_id,
                row.reference_date,
                row.created_at,
                row.policy_digest,
                _record(row),
                tables[row.release_id],
            )
            for row in rows
        ]

    def revisions(self) -> dict[str, list[Revision]]:
        """Return the revisions of each released table, newest period first, and of a period the newest first."""
        columns = [RELEASED_TABLES.c[name] for name in ("table_id", "period", "revision", "release_id")]
        query = sa.select(*columns, RELEASES.c.reference_date, RELEASES.c.created_at).join(RELEASES)
        found: dict[str, list[Revision]] = {}
        with read(self._engine) as connection:
            for row in connection.execute(_newest_first(query)):
                revision = Revision(row.period, row.revision, row.release_id, row.reference_date, row.created_at)
                found.setdefault(row.table_id, []).append(revision)
        return found


def _years(connection: sa.Connection) -> list[ReleasedYear]:
    columns = [RELEASES.c[name] for name in ("period", "reference_date", "created_at")]
    query = sa.select(*columns, RELEASE_BASES.c.content.is_not(None).label("kept"))
    found: dict[int, ReleasedYear] = {}
    for row in connection.execute(query.outerjoin(RELEASE_BASES).order_by(RELEASES.c.number)):
        year, kept = year_of(row.period), bool(row.kept)
        before = found.get(year, ReleasedYear(year, row.created_at, 0, frozenset()))
        first = min(before.first_released_at, row.created_at)
        erased = before.erased if kept else before.erased | {row.reference_date}
        found[year] = ReleasedYear(year, first, before.kept + kept, erased)
    return [found[year] for year in sorted(found)]


def _truncated(engine: sa.Engine) -> bool:
    """Move SQLite's journal into its file, where what was freed is overwritten, and leave none of it."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout")
        [[waits_ms]] = cursor.fetchall()
        cursor.execute(f"PRAGMA busy_timeout = {_WAIT_S * 1000}")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [[busy, *_]] = cursor.fetchall()
        cursor.execute(f"PRAGMA busy_timeout = {waits_ms}")
        cursor.close()
    finally:
        connection.close()
    return not busy


def _rewritten(engine: sa.Engine) -> bool:
    """Let PostgreSQL write the table anew and remove the files that it was in.

    VACUUM FULL would take along what was erased as long as anybody, anywhere in the database, reads an older state.
    This does not; who reads such a state, and then this table, finds it empty, as if all were erased.
    """
    name, column = RELEASE_BASES.name, RELEASE_BASES.c.content.name
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT_S}s'")
            anew = f"{column} || ''::bytea"  # the same bytes, but not the column itself: that would rewrite nothing
            connection.exec_driver_sql(f"ALTER TABLE {name} ALTER COLUMN {column} TYPE bytea USING {anew}")
    except sa.exc.OperationalError:  # somebody reads it, a backup perhaps; or the disk has no room
        return False
    return True


def _newest_first(query: sa.Select[tuple[object, ...]]) -> sa.Select[tuple[object, ...]]:
    """Order by period, whose names sort as text within a table, and revision."""
    return query.order_by(RELEASED_TABLES.c.period.desc(), RELEASED_TABLES.c.revision.desc())


def _tables_by_release(connection: sa.Connection) -> dict[str, tuple[ReleasedTable, ...]]:
    found: dict[str, tuple[ReleasedTable, ...]] = {}
    for row in connection.execute(
        sa.select(RELEASED_TABLES).order_by(RELEASED_TABLES.c.table_id, RELEASED_TABLES.c.period)
    ):
        found[row.release_id] = (*found.get(row.release_id, ()), _table(row))
    return found


def _table(row: sa.Row[tuple[object, ...]]) -> ReleasedTable:
    table = ReleasedTable.from_content(row.content, row.release_id)
    said = (table.digest, table.table_id, table.period, table.revision)
    if said != (row.digest, row.table_id, row.period, row.revision):
        raise TamperedReleaseError(
            f"the stored table {row.table_id}, {row.period}, revision {row.revision} does not match its digest"
        )
    return table


def _record(row: sa.Row[tuple[object, ...]]) -> DisclosureRecord:
    if _record_digest(row.release_id, row.policy_digest, row.record) != row.record_digest:
        raise TamperedReleaseError(f"the stored record of release {row.release_id} does not match its digest")
    return DisclosureRecord.from_document(json.loads(row.record))


def _record_digest(release_id: str, policy_digest: str, record: str) -> str:
    return _sha256("\n".join((release_id, policy_digest, record)).encode())


def _basis(row: sa.Row[tuple[object, ...]]) -> bytes | None:
    if row.content is None:
        return None
    content = bytes(row.content)
    if _sha256(content) != row.digest:
        raise TamperedReleaseError(f"the stored basis of release {row.release_id} does not match its digest")
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _overtaken() -> ConflictError:
    message = "another run released while this one ran; start a new run, which is compared with that release too"
    return ConflictError(message, "RELEASE_OVERTAKEN")
