"""What the key store was at each generation, and which versions of key-encryption keys it stood under.

And the ids of changes that a restored backup no longer has.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "p0003"
down_revision = "p0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "keystore_history",
        sa.Column("generation", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "wrapping_versions",
        sa.Column("wrapping_version", sa.Text, primary_key=True),
        sa.Column("first_used_at", sa.Text, nullable=False),
        sa.Column("last_used_at", sa.Text),  # null while something stands under it
        sa.Column("destroyed_at", sa.Text),  # as somebody stated
    )
    op.create_table(
        "forgotten_changes",
        sa.Column("change_id", sa.Text, primary_key=True),
        sa.Column("applied_at", sa.Text, nullable=False),
    )
