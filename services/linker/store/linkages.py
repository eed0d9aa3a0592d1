"""What each linkage by encodings left behind: what it read, its model, and how good it was.

1. A row belongs to the snapshot that first holds its links, and is written in that snapshot's transaction.
2. The newest row says what the links that stand were made from: whoever reads the same need not make them again.
3. A model is kept by linkage schema and key version, to begin the next from and to see what moved.

A model holds probabilities by field and level; nothing here is about a person or a record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from linker.store.state import METADATA, Instant, now

LINKAGES = sa.Table(
    "linkages",
    METADATA,
    sa.Column("snapshot", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("schema_id", sa.String(100), nullable=False),
    sa.Column("key_version", sa.Integer, nullable=False),
    sa.Column("model", sa.Text, nullable=False),  # "" when none was fitted
    sa.Column("quality", sa.JSON, nullable=False),
    sa.Column("notes", sa.JSON, nullable=False),
    sa.Column("made_at", Instant, nullable=False),
)


@dataclass(frozen=True, slots=True)
class StoredLinkage:
    """A linkage. `digest`: of all that it read. `schema_id`, `key_version`: "" and 0 when nothing was compared."""

    snapshot: int
    digest: str
    schema_id: str
    key_version: int
    model: str
    quality: Sequence[Mapping[str, Any]]
    notes: Sequence[str]


def store(connection: sa.Connection, linkage: StoredLinkage) -> None:
    """Note a linkage, as part of a transaction."""
    values = {**asdict(linkage), "quality": list(linkage.quality), "notes": list(linkage.notes)}
    connection.execute(LINKAGES.insert().values(made_at=now(), **values))


def newest(connection: sa.Connection) -> StoredLinkage | None:
    """Return the linkage whose links stand."""
    row = connection.execute(sa.select(LINKAGES).order_by(LINKAGES.c.snapshot.desc()).limit(1)).first()
    if row is None:
        return None
    return StoredLinkage(row.snapshot, row.digest, row.schema_id, row.key_version, row.model, row.quality, row.notes)


def kept_model(connection: sa.Connection, schema_id: str, key_version: int) -> str:
    """Return the model fitted last under this schema and key version; "" when there is none."""
    of_these = sa.and_(LINKAGES.c.schema_id == schema_id, LINKAGES.c.key_version == key_version, LINKAGES.c.model != "")
    query = sa.select(LINKAGES.c.model).where(of_these).order_by(LINKAGES.c.snapshot.desc()).limit(1)
    return connection.execute(query).scalar() or ""
