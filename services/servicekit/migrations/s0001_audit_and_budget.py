"""The audit log, which only grows; checkpoints, its own and others'; budget use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "s0001"
down_revision = None
branch_labels = None
depends_on = None

_ONLY_GROW = ("audit_entries", "audit_checkpoints", "audit_cosignatures", "audit_witnessed")
_SAYS = "the audit log is append-only"
# An entry takes the place that the head names; then the head moves by that entry, and never back.
_ENTRY_IS_NEXT = "NEW.entry_index = (SELECT size FROM audit_head)"
_HEAD_FOLLOWS = (
    "NEW.size = OLD.size + 1 AND EXISTS (SELECT 1 FROM audit_entries WHERE entry_index = OLD.size)"
    " AND NEW.recorded_at >= OLD.recorded_at"
)
_KEYS = {
    "audit_checkpoints": "size = NEW.size",
    "audit_cosignatures": "size = NEW.size AND witness = NEW.witness",
    "audit_witnessed": "origin = NEW.origin AND size = NEW.size",
}


def _sqlite() -> list[str]:
    stop = f"BEGIN SELECT RAISE(ABORT, '{_SAYS}'); END"
    return [
        *(f"CREATE TRIGGER {t}_no_delete BEFORE DELETE ON {t} {stop}" for t in (*_ONLY_GROW, "audit_head")),
        *(f"CREATE TRIGGER {t}_no_update BEFORE UPDATE ON {t} {stop}" for t in _ONLY_GROW),
        # REPLACE deletes without a delete trigger where recursive_triggers is off.
        *(
            f"CREATE TRIGGER {t}_no_replace BEFORE INSERT ON {t} WHEN EXISTS (SELECT 1 FROM {t} WHERE {same}) {stop}"
            for t, same in _KEYS.items()
        ),
        f"CREATE TRIGGER audit_entries_in_order BEFORE INSERT ON audit_entries WHEN NOT ({_ENTRY_IS_NEXT}) {stop}",
        f"CREATE TRIGGER audit_head_follows BEFORE UPDATE ON audit_head WHEN NOT ({_HEAD_FOLLOWS}) {stop}",
        f"CREATE TRIGGER audit_head_one BEFORE INSERT ON audit_head {stop}",
    ]


def _postgresql() -> list[str]:
    stop = f"RAISE EXCEPTION '{_SAYS}'"
    functions = {
        "audit_refuse": f"{stop};",
        "audit_entry_is_next": f"IF NOT ({_ENTRY_IS_NEXT}) THEN {stop}; END IF; RETURN NEW;",
        "audit_head_follows": f"IF NOT ({_HEAD_FOLLOWS}) THEN {stop}; END IF; RETURN NEW;",
    }
    triggers = {
        **{f"{t}_append_only": f"BEFORE UPDATE OR DELETE ON {t} FOR EACH ROW" for t in _ONLY_GROW},
        **{f"{t}_no_truncate": f"BEFORE TRUNCATE ON {t} FOR EACH STATEMENT" for t in (*_ONLY_GROW, "audit_head")},
        "audit_head_one": "BEFORE INSERT OR DELETE ON audit_head FOR EACH ROW",
    }
    return [
        *(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
            for name, body in functions.items()
        ),
        *(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION audit_refuse()" for name, when in triggers.items()),
        """CREATE TRIGGER audit_entries_in_order BEFORE INSERT ON audit_entries
           FOR EACH ROW EXECUTE FUNCTION audit_entry_is_next()""",
        """CREATE TRIGGER audit_head_follows BEFORE UPDATE ON audit_head
           FOR EACH ROW EXECUTE FUNCTION audit_head_follows()""",
    ]


def upgrade() -> None:
    """Create the tables and the triggers."""
    op.create_table(
        "audit_entries",
        sa.Column("entry_index", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("recorded_at", sa.Text, nullable=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="audit_head_id"), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", sa.Text, nullable=False),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("signed_at", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_table(
        "audit_cosignatures",
        sa.Column("size", sa.BigInteger, primary_key=True),
        sa.Column("witness", sa.Text, primary_key=True),
        sa.Column("line", sa.Text, nullable=False),
    )
    op.create_table(
        "audit_witnessed",
        sa.Column("origin", sa.Text, primary_key=True),
        sa.Column("size", sa.BigInteger, primary_key=True),
        sa.Column("signed_at", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_table(
        "budget_use",
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("period", sa.Text, primary_key=True),
        sa.Column("elements", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "size": 0, "hashes": b"", "recorded_at": ""}])
    for statement in _sqlite() if op.get_bind().dialect.name == "sqlite" else _postgresql():
        op.execute(statement)
