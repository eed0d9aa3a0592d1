"""Sealed pseudonymisation keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "p0001"
down_revision = None
branch_labels = None
depends_on = None

_STATES = "'pending', 'active', 'retiring', 'disabled', 'destroyed', 'compromised'"


def upgrade() -> None:
    """Create the table; at most one active version a line."""
    op.create_table(
        "pseudonymisation_keys",
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("suite", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("wrapping_version", sa.Text, nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary),  # null once destroyed
        sa.Column("sealed", sa.LargeBinary),
        sa.Column("check_value", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.CheckConstraint("version > 0", name="pseudonymisation_keys_version"),
        sa.CheckConstraint(f"state IN ({_STATES})", name="pseudonymisation_keys_state"),
        sa.CheckConstraint("(sealed IS NULL) = (state = 'destroyed')", name="pseudonymisation_keys_sealed"),
    )
    op.create_index(
        "pseudonymisation_keys_one_active",
        "pseudonymisation_keys",
        ["domain", "kind"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
