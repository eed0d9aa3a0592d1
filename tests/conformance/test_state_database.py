"""The audit log and budgets over each database: one suite, SQLite and PostgreSQL."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from servicekit import database
from servicekit.audit import AuditEntry, AuditLog
from servicekit.budget import Budget
from servicekit.errors import ExhaustedError, UnavailableError

RPC = "kinlink.pseudonymizer.v1.PseudonymisationService/Evaluate"
DAY = date(2026, 11, 22)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = database.engine(url)
    database.migrate(made, "servicekit")
    yield made
    made.dispose()


def entry(count: int = 0) -> AuditEntry:
    return AuditEntry(RPC, "spiffe://kinlink.test/source/prisme", "ok", subject="source/prisme", count=count)


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    AuditLog(engine).append(entry())
    database.migrate(engine, "servicekit")
    assert len(AuditLog(engine).entries()) == 1


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("ALTER TABLE budget_use RENAME COLUMN elements TO parts", "table budget_use has no elements"),
        ("ALTER TABLE budget_use ADD COLUMN parts INTEGER", "table budget_use has parts besides"),
        ("DROP TABLE budget_use", "there is no table budget_use"),
    ],
)
def test_tables_of_another_build_are_named_before_anything_is_done(engine: Engine, made: str, named: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE somebody_elses (anything INTEGER)"))  # which is none of our business
    database.migrate(engine, "servicekit")
    with engine.begin() as connection:
        connection.execute(text(made))
    with pytest.raises(database.SchemaError, match=f"its schema is s0001, and it is not .*: {named}"):
        database.migrate(engine, "servicekit")


def test_replicas_that_start_together_migrate_once(engine: Engine, tmp_path: Path) -> None:
    if engine.dialect.name == "sqlite":
        fresh = database.engine(f"sqlite:///{tmp_path / 'fresh.db'}")
    else:
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        fresh = database.engine(engine.url.render_as_string(hide_password=False))
    start = Barrier(2)

    def replica(_: int) -> None:
        start.wait()
        database.migrate(fresh, "servicekit")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(replica, range(2)))
    assert AuditLog(fresh).append(entry()) == 0
    fresh.dispose()


def test_entries_are_read_back_in_order(engine: Engine) -> None:
    log = AuditLog(engine)
    ids = [log.append(entry(count)) for count in (5, 2**40, 0)]
    assert ids == [0, 1, 2]
    assert [row["count"] for row in log.entries()] == [5, 2**40, 0]
    assert [row["index"] for row in log.entries(after=ids[0], limit=1)] == [ids[1]]
    row = log.entries()[0]
    assert (row["rpc"], row["outcome"], row["subject"]) == (RPC, "ok", "source/prisme")
    assert row["recorded_at"].endswith("+00:00")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_entries SET entry = hashes",
        "UPDATE audit_entries SET hashes = entry WHERE entry_index = 0",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
        "INSERT OR REPLACE INTO audit_entries SELECT * FROM audit_entries",
        """INSERT INTO audit_entries SELECT * FROM audit_entries WHERE true
           ON CONFLICT(entry_index) DO UPDATE SET recorded_at = ''""",
        "INSERT INTO audit_entries SELECT entry_index + 2, recorded_at, entry, hashes FROM audit_entries",
        "UPDATE audit_head SET size = 0, hashes = ''",
        "UPDATE audit_head SET size = size + 1",
        "UPDATE audit_head SET hashes = ''",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
        "INSERT INTO audit_head VALUES (2, 0, '', '')",
        "INSERT OR REPLACE INTO audit_head VALUES (1, 0, '', '')",
        "UPDATE audit_checkpoints SET note = ''",
        "DELETE FROM audit_checkpoints",
        "INSERT OR REPLACE INTO audit_checkpoints SELECT * FROM audit_checkpoints",
        "UPDATE audit_cosignatures SET line = ''",
        "DELETE FROM audit_cosignatures",
        "UPDATE audit_witnessed SET note = ''",
        "DELETE FROM audit_witnessed",
        "INSERT OR REPLACE INTO audit_witnessed SELECT * FROM audit_witnessed",
    ],
)
def test_log_cannot_be_changed(engine: Engine, change: str) -> None:
    log = AuditLog(engine)
    log.append(entry(7))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO audit_checkpoints VALUES (1, '', 'note')"))
        connection.execute(text("INSERT INTO audit_cosignatures VALUES (1, 'witness', 'line')"))
        connection.execute(text("INSERT INTO audit_witnessed VALUES ('other', 1, '', 'note')"))
    before = log.entries()
    with pytest.raises(DBAPIError) as caught, engine.begin() as connection:
        connection.execute(text(change))
    if "syntax error" in str(caught.value):  # one database's word only
        assert change.startswith(("TRUNCATE", "INSERT OR"))
    else:
        assert "append-only" in str(caught.value)
    assert log.entries() == before


def test_sqlite_entries_cannot_be_replaced_without_our_pragmas(engine: Engine) -> None:
    """Another program's connection has recursive_triggers off, where REPLACE fires no delete trigger."""
    if engine.dialect.name != "sqlite":
        pytest.skip("of SQLite only")
    AuditLog(engine).append(entry(7))
    bare = create_engine(engine.url)
    with pytest.raises(DBAPIError, match="append-only"), bare.begin() as connection:
        connection.execute(text("INSERT OR REPLACE INTO audit_entries SELECT * FROM audit_entries"))
    bare.dispose()


def test_entry_shares_the_fate_of_its_transaction(engine: Engine) -> None:
    log = AuditLog(engine)
    with engine.connect() as connection, connection.begin() as transaction:
        log.append(entry(), connection)
        transaction.rollback()
    assert log.entries() == []
    with engine.begin() as connection:
        log.append(entry(), connection)
    assert len(log.entries()) == 1


def test_log_that_cannot_be_written_says_so_once_per_attempt(engine: Engine) -> None:
    failures: list[int] = []
    log = AuditLog(engine, on_failure=lambda: failures.append(1))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_entries RENAME TO hidden"))
    with pytest.raises(UnavailableError) as caught:
        log.append(entry())
    assert caught.value.reason == "AUDIT_UNAVAILABLE"
    assert failures == [1]


def reserve(engine: Engine, elements: int, day: date = DAY, per_day: int = 100, per_year: int = 250) -> None:
    with engine.begin() as connection:
        Budget(engine).reserve("source/prisme", day, elements, per_day, per_year, connection)


def test_budget_is_kept_to_the_element(engine: Engine) -> None:
    reserve(engine, 60)
    reserve(engine, 40)
    with pytest.raises(ExhaustedError) as caught:
        reserve(engine, 1)
    assert caught.value.reason == "BUDGET_DAY"
    assert caught.value.metadata == {"limit": "100", "left": "0", "asked": "1"}


def test_message_over_budget_reserves_nothing_even_if_its_transaction_commits(engine: Engine) -> None:
    budget = Budget(engine)
    reserve(engine, 60)
    with engine.begin() as connection:
        with pytest.raises(ExhaustedError):
            budget.reserve("source/prisme", DAY, 41, 100, 250, connection)
        AuditLog(engine).append(entry(), connection)
    assert budget.used("source/prisme", "2026-11-22") == 60
    assert budget.used("source/prisme", "2026") == 60
    assert len(AuditLog(engine).entries()) == 1


def test_year_limit_holds_over_days_and_ends_with_the_year(engine: Engine) -> None:
    for day in (date(2026, 12, 29), date(2026, 12, 30)):
        reserve(engine, 100, day)
    with pytest.raises(ExhaustedError) as caught:
        reserve(engine, 51, date(2026, 12, 31))
    assert caught.value.reason == "BUDGET_YEAR"
    reserve(engine, 100, date(2027, 1, 1))


def test_budgets_of_callers_are_their_own(engine: Engine) -> None:
    reserve(engine, 100)
    with engine.begin() as connection:
        Budget(engine).reserve("source/dubu", DAY, 100, 100, 250, connection)


def test_messages_at_once_never_pass_the_limit_together(engine: Engine) -> None:
    start = Barrier(8)

    def message(_: int) -> bool:
        start.wait()
        try:
            reserve(engine, 30)
        except ExhaustedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        granted = sum(pool.map(message, range(8)))
    assert granted == 3
    assert Budget(engine).used("source/prisme", "2026-11-22") == 90


def test_sqlite_commits_are_synced_before_they_return(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("of SQLite only")
    with database.read(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_sqlite_files_are_their_owners_only(engine: Engine, tmp_path: Path) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("of SQLite only")
    AuditLog(engine).append(entry())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "folder").iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_reader_sees_one_state_while_a_writer_works(engine: Engine) -> None:
    log = AuditLog(engine)
    log.append(entry())
    with engine.begin() as connection:
        log.append(entry(), connection)
        assert len(log.entries()) == 1


def test_password_of_the_database_is_in_no_repr(engine: Engine) -> None:
    hidden = database.engine("postgresql://kinlink:geheim@localhost/state")
    assert "geheim" not in repr(hidden) + str(hidden.url)


def test_error_holds_no_value_of_the_statement(engine: Engine) -> None:
    with pytest.raises(SQLAlchemyError) as caught, engine.begin() as connection:
        connection.execute(text("INSERT INTO missing VALUES (:value)"), {"value": "6101800010"})
    assert "6101800010" not in str(caught.value)


def test_a_reader_sees_one_state_while_others_write(engine: Engine) -> None:
    log = AuditLog(engine)
    log.append(entry())
    with database.read(engine) as connection:
        count = text("SELECT count(*) FROM audit_entries")
        before = connection.execute(count).scalar_one()
        log.append(entry())
        assert connection.execute(count).scalar_one() == before
    assert log.size() == 2
