"""Family tables: frozen, one a year, each with the secret that its consumers' row ids are made under.

1. A table is stored once for a year, in its release's transaction, and nothing here changes or replaces it: rows of
   two versions of one year would tell by their difference who changed.
2. `content` is the canonical JSON that the digest covers, checked on reading. It holds no id of a family.
3. The secret is random, made when the table is stored, and never leaves this module but to make row ids. Whoever reads
   the database can join two consumers' ids: it holds the rows anyway.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import sqlalchemy as sa

from linker.disclosure.family_table import FamilyTable
from linker.store.releases import TamperedReleaseError
from linker.store.state import METADATA, Instant, now
from servicekit.database import read
from servicekit.errors import ConflictError

FAMILY_TABLES = sa.Table(
    "family_tables",
    METADATA,
    sa.Column("period", sa.String(10), primary_key=True),
    sa.Column("release_id", sa.String(32), nullable=False, unique=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("record", sa.Text, nullable=False),  # canonical JSON of FamilyTableRecord
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("released_at", Instant, nullable=False),
)
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, repr=False)
class StoredFamilyTable:
    """A family table, when it was released, and what its row ids are made under."""

    table: FamilyTable
    released_at: datetime
    _secret: bytes

    def rows(self, consumer: str) -> pl.DataFrame:
        """Return the rows as this consumer gets them, each time the same; see `FamilyTable.for_consumer`."""
        return self.table.for_consumer(consumer, self._secret)


class FamilyTables:
    """The family tables in the state database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def store(self, table: FamilyTable, connection: sa.Connection) -> None:
        """Store a table as part of a transaction.

        Raises:
            ConflictError: FAMILY_TABLE_EXISTS, the year has one; nothing is stored.
        """
        row = {
            "period": table.period,
            "release_id": table.release_id,
            "digest": table.digest,
            "content": table.content(),
            "record": table.record_content(),
            "secret": secrets.token_bytes(_SECRET_BYTES),
            "released_at": now(),
        }
        try:
            with connection.begin_nested():
                connection.execute(sa.insert(FAMILY_TABLES), row)
        except sa.exc.IntegrityError:
            message = "a family table of this year was released meanwhile; it stands, and this run's is not stored"
            raise ConflictError(message, "FAMILY_TABLE_EXISTS") from None

    def find(self, period: str) -> StoredFamilyTable | None:
        """Return the table of a year; None when there is none.

        Raises:
            TamperedReleaseError: it does not match its digest.
        """
        with read(self._engine) as connection:
            row = connection.execute(sa.select(FAMILY_TABLES).where(FAMILY_TABLES.c.period == period)).one_or_none()
        if row is None:
            return None
        table = FamilyTable.from_content(row.content, row.release_id, row.record)
        if (table.digest, table.period) != (row.digest, row.period):
            raise TamperedReleaseError(f"the stored family table of {row.period} does not match its digest")
        return StoredFamilyTable(table, row.released_at, row.secret)

    def periods(self) -> list[str]:
        """Return the years that have a table, newest first."""
        query = sa.select(FAMILY_TABLES.c.period).order_by(FAMILY_TABLES.c.period.desc())
        with read(self._engine) as connection:
            return list(connection.scalars(query))
