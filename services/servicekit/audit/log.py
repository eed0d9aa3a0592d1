"""The audit log: who did what to which domain or table, how much, with what outcome.

1. Entries are appended and read, never changed: triggers in the database
   refuse update, delete and truncate.
2. No entry, no answer: a log that cannot be written raises AUDIT_UNAVAILABLE,
   and `on_failure` lets the server turn its health.
3. An entry holds names, counts and reasons; never an identifier, an element or
   a value of a request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import BigInteger, Column, Connection, Engine, Integer, MetaData, Table, Text, insert, select
from sqlalchemy.exc import SQLAlchemyError

from servicekit.audit.entry import AuditEntry
from servicekit.database import read
from servicekit.errors import UnavailableError
from servicekit.identity import CURRENT

_log = structlog.get_logger(__name__)

audit_entries = Table(
    "audit_entries",
    MetaData(),
    Column("entry_id", BigInteger, primary_key=True),
    Column("recorded_at", Text),  # UTC, ISO 8601: the same bytes in every database
    *(Column(name, Text) for name in ("rpc", "caller", "outcome", "reason", "subject", "kind")),
    Column("key_version", Integer),
    Column("count", BigInteger),
    *(Column(name, Text) for name in ("grant", "request_id")),
)


class AuditLog:
    """Appends to one service's log."""

    def __init__(self, engine: Engine, on_failure: Callable[[], None] = lambda: None) -> None:
        """Write to `engine`, whose tables are migrated; call `on_failure` when that does not succeed."""
        self._engine = engine
        self.on_failure = on_failure

    def append(self, entry: AuditEntry, connection: Connection | None = None) -> int:
        """Append and return the entry's id; with a connection, as part of its transaction.

        Raises:
            UnavailableError: AUDIT_UNAVAILABLE, the log cannot be written; nothing may be answered.
        """
        row = {f.name: getattr(entry, f.name) for f in fields(entry) if f.name != "evidence"}
        row["recorded_at"] = datetime.now(UTC).isoformat(timespec="microseconds")
        statement = insert(audit_entries).values(row)
        try:
            if connection is not None:
                key = connection.execute(statement).inserted_primary_key
            else:
                with self._engine.begin() as own:
                    key = own.execute(statement).inserted_primary_key
        except SQLAlchemyError as error:
            _log.error("audit log cannot be written", error=type(error).__name__)
            self.on_failure()
            raise UnavailableError("the audit log cannot be written; try again later", "AUDIT_UNAVAILABLE") from error
        call = CURRENT.get(None)
        if call is not None and connection is None and entry.outcome != "ok":
            call.refusal_recorded = True
        return int(key[0]) if key else 0

    def entries(self, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """Return up to `limit` entries with an id above `after`, in order."""
        query = select(audit_entries).where(audit_entries.c.entry_id > after).order_by(audit_entries.c.entry_id)
        with read(self._engine) as connection:
            return [dict(row) for row in connection.execute(query.limit(limit)).mappings()]
