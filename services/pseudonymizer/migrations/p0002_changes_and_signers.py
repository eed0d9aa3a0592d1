"""People who may sign, the changes they propose, and the approvals of those."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "p0002"
down_revision = "p0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; a person is enrolled once at a time, a key once for ever."""
    op.create_table(
        "genesis",
        sa.Column("only", sa.Integer, primary_key=True),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.CheckConstraint('"only" = 1', name="genesis_only"),
    )
    op.create_table(
        "signers",
        sa.Column("public_key", sa.LargeBinary, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("change_id", sa.Text, nullable=False),  # empty: from the genesis file
        sa.Column("enrolled_at", sa.Text, nullable=False),
        sa.Column("removed_at", sa.Text),
        sa.CheckConstraint("role IN ('custodian', 'reviewer')", name="signers_role"),
    )
    op.create_index(
        "signers_one_by_name",
        "signers",
        ["name"],
        unique=True,
        sqlite_where=sa.text("removed_at IS NULL"),
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_table(
        "changes",
        sa.Column("change_id", sa.Text, primary_key=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("proposer", sa.Text, nullable=False),
        sa.Column("proposed_at", sa.Text, nullable=False),
        sa.Column("applied_at", sa.Text),
    )
    op.create_table(
        "approvals",
        sa.Column("change_id", sa.Text, sa.ForeignKey("changes.change_id"), primary_key=True),
        sa.Column("signer", sa.Text, primary_key=True),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("signed_at", sa.Text, nullable=False),
    )
