"""That a destroyed key leaves the database's files too, not only its row.

1. SQLite: deleted content is overwritten (secure_delete) on every connection that changes keys. A page that is
   in use may still keep a moved row's old copy, so that the whole table is written anew into clean pages, and
   the journal is emptied when that is committed.
2. PostgreSQL: the table is rewritten when the change is committed, and when nobody reads an older state of the
   database any more: PostgreSQL takes along what such a reader may still see. The write-ahead log, its archive,
   standbys and backups keep what they have until they are recycled: the key-encryption key guards those.
3. What a disk keeps of freed blocks is below this; the key-encryption key guards that too.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, delete, insert, text
from sqlalchemy.exc import SQLAlchemyError

from pseudonymizer.keystore.tables import keys

_log = structlog.get_logger(__name__)
_WAIT_S = 10
_PAUSE = text("SELECT pg_sleep(0.1)")
_READERS = text(
    "SELECT pid, backend_xmin::text FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() "
    "AND (datname = current_database() OR datname IS NULL)"
)


def begin(connection: Connection) -> None:
    """Let what the transaction deletes be overwritten."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("PRAGMA secure_delete = ON"))


def rewrite(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table anew with the same rows, where pages could keep old copies of them."""
    if connection.dialect.name == "sqlite":
        connection.execute(delete(keys))
        connection.execute(insert(keys), [dict(row) for row in rows])


def finish(engine: Engine) -> None:
    """Remove what the files still hold of it, once that is committed. What fails is tried at the next start."""
    try:
        if engine.dialect.name == "sqlite":
            _empty_journal(engine)
            return
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if not _older_states_are_gone(connection):
                _log.warning(
                    "a destroyed key may still stand in the database's files, sealed: end what reads an older "
                    "state (pg_stat_activity, backend_xmin), then start the service again"
                )
            connection.execute(text("SET lock_timeout = '10s'"))
            try:
                connection.execute(text(f"VACUUM FULL {keys.name}"))
            finally:
                connection.execute(text("RESET lock_timeout"))
    except (SQLAlchemyError, sqlite3.Error) as error:
        _log.warning("the database could not be cleaned of a destroyed key", error=type(error).__name__)


def _older_states_are_gone(connection: Connection) -> bool:
    """Wait for who reads a state from before now, but not for ever; of other roles only a monitor's eyes see it."""
    older = set(connection.execute(_READERS).all())
    until = time.monotonic() + _WAIT_S
    while older and time.monotonic() < until:
        connection.execute(_PAUSE)
        older &= set(connection.execute(_READERS).all())
    return not older


def _empty_journal(engine: Engine) -> None:
    connection = engine.raw_connection()  # outside of a transaction, which SQLAlchemy would begin
    try:
        cursor = connection.cursor()
        busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        cursor.close()
    finally:
        connection.close()
    if busy:
        _log.warning("the journal could not be emptied: a destroyed key may still stand in it, sealed")
