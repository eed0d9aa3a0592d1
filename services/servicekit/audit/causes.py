"""Why a database cannot be written, in words an operator can act on; never the database's own text."""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

READ_ONLY: Final = "the database is read-only"
FULL: Final = "the disk or the database is full"
LOCKED: Final = "the database is locked"
DENIED: Final = "the service may not write to it"
AWAY: Final = "the database is away"
FAULTY: Final = "reading or writing the disk fails"

_SQLITE: Final = {  # by the extended code, or the primary one
    sqlite3.SQLITE_IOERR_SHMSIZE: FULL,
    sqlite3.SQLITE_READONLY: READ_ONLY,
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_PERM: DENIED,
    sqlite3.SQLITE_CANTOPEN: AWAY,
    sqlite3.SQLITE_IOERR: FAULTY,
    sqlite3.SQLITE_CORRUPT: "the database is damaged",
}
_POSTGRESQL: Final = {  # by SQLSTATE, or its class
    "25006": READ_ONLY,
    "53100": FULL,
    "42501": DENIED,
    "55P03": LOCKED,
    "53": "the database has no room for this (memory, connections)",
    "58": FAULTY,
    "08": AWAY,
    "57": AWAY,
}


def cause_of(error: SQLAlchemyError) -> str:
    """Return the cause in words; the type of the error where it is none of the known."""
    driver = getattr(error, "orig", None)
    if isinstance(driver, sqlite3.Error):
        code = getattr(driver, "sqlite_errorcode", 0)
        return _SQLITE.get(code) or _SQLITE.get(code & 0xFF) or type(driver).__name__
    state = getattr(driver, "sqlstate", None)
    if state is None:
        return AWAY if type(driver or error).__name__ == "OperationalError" else type(driver or error).__name__
    return _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2]) or type(driver).__name__
