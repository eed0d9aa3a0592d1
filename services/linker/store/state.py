"""The tables of the state database: deliveries, snapshots, runs, rekeyings.

1. A delivery is known by its source and its id, so one source's ids say nothing
   about another's. It is RECEIVING from its header on; ACCEPTED in the same
   transaction as the snapshot that first holds its rows.
2. A snapshot names the version of every stored table. Only named versions are
   ever read.
3. A run belongs to one request id, and so does a rekeying.
4. A row of `rekeyed_keys` says that nothing stands, or may stand, under a key version any more.
5. Instants are UTC.

It does not know Delta Lake, nor how a table's rows look.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import sqlalchemy as sa

METADATA = sa.MetaData()


class DeliveryState(StrEnum):
    """Where a delivery stands; a refused one leaves no row."""

    RECEIVING = "receiving"
    ACCEPTED = "accepted"
    REPLACED = "replaced"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class RunState(StrEnum):
    """Where a run or a rekeying stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware UTC instant, on databases that drop the zone as well."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Store as UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Read as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)


DELIVERIES = sa.Table(
    "deliveries",
    METADATA,
    sa.Column("source", sa.String(100), primary_key=True),
    sa.Column("delivery_id", sa.String(36), primary_key=True),
    sa.Column("dataset", sa.String(40), nullable=False),
    sa.Column("period", sa.String(10), nullable=False),
    sa.Column("suite", sa.Integer, nullable=False),
    sa.Column("keys", sa.JSON, nullable=False),  # kind -> key version
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("chunks", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("rejected_rows", sa.BigInteger, nullable=False),
    sa.Column("schema_id", sa.String(100), nullable=False),  # of encodings; else ""
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("accepted_at", Instant),
    sa.Column("snapshot", sa.BigInteger),
    sa.Column("converted_snapshot", sa.BigInteger),
    sa.Column("replaced_by", sa.String(36)),
    sa.Column("said_order", sa.BigInteger, nullable=False),  # one count over all: begun, or sent again, last
    sa.Column("accepted_order", sa.BigInteger),  # the same count
    sa.Column("ended_order", sa.BigInteger),  # the same count
    sa.Index("deliveries_by_slot", "source", "dataset", "period", "state"),
)

SNAPSHOTS = sa.Table(
    "snapshots",
    METADATA,
    sa.Column("snapshot", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("cause", sa.String(20), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

SNAPSHOT_TABLES = sa.Table(
    "snapshot_tables",
    METADATA,
    sa.Column("snapshot", sa.BigInteger, sa.ForeignKey("snapshots.snapshot"), primary_key=True),
    sa.Column("table_name", sa.String(60), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
)

RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("run_id", sa.String(36), primary_key=True),
    sa.Column("request_id", sa.String(36), nullable=False, unique=True),
    sa.Column("reference_date", sa.Date, nullable=False),
    sa.Column("year", sa.Integer, nullable=False),
    sa.Column("through_month", sa.Integer, nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("stage", sa.String(12), nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.String(60), nullable=False),
    sa.Column("message", sa.String(1000), nullable=False),
    sa.Column("snapshot", sa.BigInteger),
    sa.Column("coverage", sa.JSON, nullable=False),  # [{source, method, share_rows, share_amount}]
    sa.Column("tables", sa.JSON, nullable=False),  # [{table_id, release_id, outcome}]
    sa.Column("quality", sa.JSON, nullable=False),  # rows of linkage.quality
    sa.Column("linkage_notes", sa.JSON, nullable=False),  # sentences
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
)

REKEYINGS = sa.Table(
    "rekeyings",
    METADATA,
    sa.Column("rekeying_id", sa.String(36), primary_key=True),
    sa.Column("request_id", sa.String(36), nullable=False, unique=True),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("stage", sa.String(12), nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.String(60), nullable=False),
    sa.Column("message", sa.String(1000), nullable=False),
    sa.Column("snapshot", sa.BigInteger),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
)

REKEYED_KEYS = sa.Table(
    "rekeyed_keys",
    METADATA,
    sa.Column("domain", sa.String(100), primary_key=True),
    sa.Column("kind", sa.String(12), primary_key=True),
    sa.Column("from_version", sa.Integer, primary_key=True),
    sa.Column("to_domain", sa.String(100), nullable=False),
    sa.Column("to_version", sa.Integer, nullable=False),  # 0: nothing was ever held
    sa.Column("rekeying_id", sa.String(36), sa.ForeignKey("rekeyings.rekeying_id"), nullable=False),
    sa.Column("held", sa.BigInteger, nullable=False),
    sa.Column("converted", sa.BigInteger, nullable=False),
    sa.Column("sample_from", sa.LargeBinary, nullable=False),  # blinded; empty once attested
    sa.Column("sample_to", sa.LargeBinary, nullable=False),
    sa.Column("sample_size", sa.Integer, nullable=False),
    sa.Column("closed_at", Instant, nullable=False),
    sa.Column("attested_at", Instant),
)
