"""Rekeyings, what each did for a key, and the key versions that nothing may stand under any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "l0003"
down_revision = "l0002"
branch_labels = None
depends_on = None

_AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "rekeyings",
        sa.Column("rekeying_id", sa.String(36), primary_key=True),
        sa.Column("request_id", sa.String(36), nullable=False, unique=True),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("stage", sa.String(12), nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(60), nullable=False),
        sa.Column("message", sa.String(1000), nullable=False),
        sa.Column("snapshot", sa.BigInteger),
        sa.Column("started_at", _AT, nullable=False),
        sa.Column("ended_at", _AT),
    )
    op.create_table(
        "rekeyed_keys",
        sa.Column("domain", sa.String(100), primary_key=True),
        sa.Column("kind", sa.String(12), primary_key=True),
        sa.Column("from_version", sa.Integer, primary_key=True),
        sa.Column("to_domain", sa.String(100), nullable=False),
        sa.Column("to_version", sa.Integer, nullable=False),
        sa.Column("rekeying_id", sa.String(36), sa.ForeignKey("rekeyings.rekeying_id"), nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("converted", sa.BigInteger, nullable=False),
        sa.Column("sample_from", sa.LargeBinary, nullable=False),
        sa.Column("sample_to", sa.LargeBinary, nullable=False),
        sa.Column("sample_size", sa.Integer, nullable=False),
        sa.Column("closed_at", _AT, nullable=False),
        sa.Column("attested_at", _AT),
    )
