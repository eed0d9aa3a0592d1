"""Why a database cannot be written: what each database says, in an operator's words and in none of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from servicekit.audit.causes import AWAY, DENIED, FAULTY, FULL, LOCKED, READ_ONLY, cause_of


def of_sqlite(code: int) -> SQLAlchemyError:
    error = sqlite3.OperationalError("of 610180-4321")
    error.sqlite_errorcode = code
    return OperationalError("INSERT", {}, error)


class PostgresqlError(Exception):
    """As psycopg's, which say a SQLSTATE."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("of 610180-4321")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (sqlite3.SQLITE_READONLY, READ_ONLY),
        (sqlite3.SQLITE_READONLY_DBMOVED, READ_ONLY),
        (sqlite3.SQLITE_FULL, FULL),
        (sqlite3.SQLITE_IOERR_SHMSIZE, FULL),
        (sqlite3.SQLITE_IOERR_WRITE, FAULTY),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, LOCKED),
        (sqlite3.SQLITE_CANTOPEN, AWAY),
        (sqlite3.SQLITE_MISUSE, "OperationalError"),
    ],
)
def test_cause_of_sqlite(code: int, cause: str) -> None:
    assert cause_of(of_sqlite(code)) == cause


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("25006", READ_ONLY),
        ("53100", FULL),
        ("53300", "the database has no room for this (memory, connections)"),
        ("42501", DENIED),
        ("57P01", AWAY),
        ("22003", "PostgresqlError"),
    ],
)
def test_cause_of_postgresql(state: str, cause: str) -> None:
    assert cause_of(OperationalError("INSERT", {}, PostgresqlError(state))) == cause


def test_file_that_is_read_only_is_said(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'state.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE entries (entry)"))
    engine.dispose()
    only = create_engine(f"sqlite:///file:{tmp_path / 'state.db'}?mode=ro&uri=true")
    with pytest.raises(SQLAlchemyError) as caught, only.begin() as connection:
        connection.execute(text("INSERT INTO entries VALUES (1)"))
    only.dispose()
    assert cause_of(caught.value) == READ_ONLY
