"""Sealed pseudonymisation keys, the seal over all of them, and who is done with which."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "p0001"
down_revision = None
branch_labels = None
depends_on = None

_STATES = "'pending', 'active', 'retiring', 'disabled', 'destroyed', 'compromised'"


def upgrade() -> None:
    """Create the tables; at most one active version a line."""
    op.create_table(
        "pseudonymisation_keys",
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("suite", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("wrapping_version", sa.Text, nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary),  # null once destroyed
        sa.Column("sealed", sa.LargeBinary),
        sa.Column("check_value", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("state_since", sa.Text, nullable=False),
        sa.Column("activated_at", sa.Text),
        sa.Column("compromised_at", sa.Text),
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
    op.create_table(
        "keystore_head",
        sa.Column("only", sa.Integer, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("wrapping_version", sa.Text, nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.CheckConstraint('"only" = 1', name="keystore_head_only"),
    )
    op.create_table(
        "key_uses",
        *_version_columns(),
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("used_at", sa.Text, nullable=False),
    )
    op.create_table(
        "key_attestations",
        *_version_columns(),
        sa.Column("holder", sa.Text, primary_key=True),
        sa.Column("attested_at", sa.Text),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("converted", sa.BigInteger, nullable=False),
        sa.Column("sample_size", sa.Integer, nullable=False),
    )
    op.create_table(
        "policy_logged",
        sa.Column("only", sa.Integer, primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.CheckConstraint('"only" = 1', name="policy_logged_only"),
    )


def _version_columns() -> tuple[sa.Column[str], sa.Column[str], sa.Column[int]]:
    return (
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
    )
