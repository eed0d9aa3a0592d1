"""Deliveries, snapshots and the table versions they name, runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "l0001"
down_revision = None
branch_labels = None
depends_on = None

_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "deliveries",
        sa.Column("source", sa.String(100), primary_key=True),
        sa.Column("delivery_id", sa.String(36), primary_key=True),
        sa.Column("dataset", sa.String(40), nullable=False),
        sa.Column("period", sa.String(10), nullable=False),
        sa.Column("suite", sa.Integer, nullable=False),
        sa.Column("keys", sa.JSON, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("rejected_rows", sa.BigInteger, nullable=False),
        sa.Column("schema_id", sa.String(100), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("received_at", _AT, nullable=False),
        sa.Column("accepted_at", _AT),
        sa.Column("snapshot", sa.BigInteger),
        sa.Column("converted_snapshot", sa.BigInteger),
        sa.Column("replaced_by", sa.String(36)),
        sa.Column("said_order", sa.BigInteger, nullable=False),
        sa.Column("accepted_order", sa.BigInteger),
        sa.Column("ended_order", sa.BigInteger),
    )
    op.create_index("deliveries_by_slot", "deliveries", ["source", "dataset", "period", "state"])
    op.create_table(
        "snapshots",
        sa.Column("snapshot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("cause", sa.String(20), nullable=False),
        sa.Column("created_at", _AT, nullable=False),
    )
    op.create_table(
        "snapshot_tables",
        sa.Column("snapshot", sa.BigInteger, sa.ForeignKey("snapshots.snapshot"), primary_key=True),
        sa.Column("table_name", sa.String(60), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "runs",
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
        sa.Column("coverage", sa.JSON, nullable=False),
        sa.Column("tables", sa.JSON, nullable=False),
        sa.Column("quality", sa.JSON, nullable=False),
        sa.Column("linkage_notes", sa.JSON, nullable=False),
        sa.Column("started_at", _AT, nullable=False),
        sa.Column("ended_at", _AT),
    )
