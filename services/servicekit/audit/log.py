"""Appends to a service's log, and reads it.

1. An entry, its hashes and the new head are one transaction, with the work where it has one.
   The head is locked until that ends, so indices are dense and in the order of commits, however
   many replicas write: append last.
2. Entries are appended and read, never changed: triggers in the database refuse it. That keeps
   mistakes out; that nobody who owns the database did is what the tree is for.
3. No entry, no answer: a log that cannot be written raises AUDIT_UNAVAILABLE with the cause, and
   stays `failing` until an entry was written again. A log that is found changed stays broken.
4. Time does not go back: an entry is never older than the one before it. Nor does the log: a service that has seen
   it longer writes nothing into an older one that was put back, which would then be another history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from kinlink.audit import merkle
from kinlink.audit.entry import Entry, canonical, instant, parse
from servicekit.audit import tables
from servicekit.audit.causes import cause_of
from servicekit.audit.entry import AuditEntry, content
from servicekit.database import read
from servicekit.errors import UnavailableError
from servicekit.identity import CURRENT

_log = structlog.get_logger(__name__)
_INSERT: Final = insert(tables.entries)
_MOVE: Final = update(tables.head)


class AuditLog:
    """One service's log."""

    def __init__(self, engine: Engine, on_failure: Callable[[], None] = lambda: None) -> None:
        """Write to `engine`, whose tables are migrated; call `on_failure` when that does not succeed."""
        self._engine = engine
        self.on_failure = on_failure
        self.on_append: Callable[[], None] = lambda: None
        self.on_anchored: Callable[[], None] = lambda: None
        self.anchored = True
        self._failing = ""
        self._broken = ""
        self._seen = 0  # entries, after the last that this process committed

    @property
    def failing(self) -> str:
        """Why the log cannot be written; "" while it can."""
        return self._broken or self._failing

    def check(self) -> None:
        """Raise what `append` would, while the log is known to be failing."""
        if self.failing:
            raise _unavailable(self.failing)

    def fail(self, error: SQLAlchemyError) -> str:
        """Take note that the log could not be written, until it can; return the cause."""
        self._failing = cause = cause_of(error)
        _log.error("audit log cannot be written", cause=cause, error=type(error).__name__)
        self.on_failure()
        return cause

    def fail_for_good(self, cause: str, told: str = "") -> None:
        """Take no more entries: the log is not what it was. Until the service is started again.

        `told`: what callers are told, where the cause names places that are not theirs to know.
        """
        _log.error("the audit log is not to be trusted", cause=cause)
        self._broken = told or cause
        self.on_failure()

    def set_anchored(self, well: bool) -> None:
        """Take note of whether the second places take the log's checkpoints."""
        self.anchored = well
        self.on_anchored()

    def append(self, entry: AuditEntry, connection: Connection | None = None) -> int:
        """Append and return the entry's index; with a connection, as part of its transaction.

        Raises:
            UnavailableError: AUDIT_UNAVAILABLE, the log cannot be written; nothing may be answered.
            ValueError: the entry is none (see `entry.content`).
        """
        if self._broken:
            raise _unavailable(self._broken)
        told = content(entry)
        try:
            if connection is not None:
                index = _append(told, connection, self._seen)
            else:
                with self._engine.begin() as own:
                    index = _append(told, own, self._seen)
                self._failing, self._seen = "", max(self._seen, index + 1)
        except tables.DamagedError as error:
            self.fail_for_good(str(error))
            raise _unavailable(str(error)) from error
        except SQLAlchemyError as error:
            cause = self.fail(error)
            raise _unavailable(cause) from error
        call = CURRENT.get(None)
        if call is not None and connection is None and entry.outcome != "ok":
            call.refusal_recorded = True
        self.on_append()
        return index

    def size(self) -> int:
        """Return how many entries there are."""
        with read(self._engine) as connection:
            return int(connection.execute(tables.READ_HEAD).one().size)

    def stored(self, start: int, end: int, page: int = 1000) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield (canonical bytes, leaf hash as stored) of the entries from `start` until before `end`, by the page."""
        rows = tables.entries
        while start < end:
            query = select(rows.c.entry, rows.c.hashes).where(rows.c.entry_index >= start, rows.c.entry_index < end)
            with read(self._engine) as connection:
                found = connection.execute(query.order_by(rows.c.entry_index).limit(page)).all()
            if not found:
                return
            yield [(bytes(row.entry), bytes(row.hashes[: merkle.HASH_BYTES])) for row in found]
            start += len(found)

    def entries(self, after: int = -1, limit: int = 1000) -> list[dict[str, Any]]:
        """Return up to `limit` entries with an index above `after`, in order, every field set."""
        pages = self.stored(after + 1, after + 1 + limit)
        return [
            {**asdict(entry), "recorded_at": instant(entry.recorded_at)}
            for page in pages
            for entry in (parse(stored) for stored, _ in page)
        ]


def _append(told: dict[str, Any], connection: Connection, seen: int) -> int:
    size, hashes, last_at = connection.execute(tables.LOCK_HEAD).one()
    if size < seen:
        raise tables.DamagedError(f"the log has {size} entries and had {seen}: an older database was put back")
    now = datetime.now(UTC)
    at = max(now, datetime.fromisoformat(last_at)) if last_at else now
    recorded_at = instant(at)
    stored = canonical(Entry(**{"caller": "", **told}, index=size, recorded_at=at))
    frontier = tables.frontier(size, hashes)
    completed = b"".join(node.hash for node in frontier.append(merkle.leaf_hash(stored)))
    row = {"entry_index": size, "recorded_at": recorded_at, "entry": stored, "hashes": completed}
    connection.execute(_INSERT, row)
    moved = {"size": frontier.size, "hashes": b"".join(frontier.hashes), "recorded_at": recorded_at}
    connection.execute(_MOVE, moved)
    return int(size)


def _unavailable(cause: str) -> UnavailableError:
    message = f"the audit log cannot be written: {cause}; nothing is answered until it can"
    return UnavailableError(message, "AUDIT_UNAVAILABLE", metadata={"cause": cause})
