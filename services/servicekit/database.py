"""The state database: SQLite by default, PostgreSQL in production, by the same code.

1. SQLite runs in WAL mode with synchronous=FULL: a committed transaction
   survives a power cut. `engine.begin()` takes the write lock at once, so that
   a transaction that reads and then writes never fails half-way; use `read()`
   for one that only reads.
2. Each package keeps its Alembic migrations in `<package>/migrations/` and its
   own version table. servicekit's (audit, budget) are applied first, always.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text

_BUSY_TIMEOUT_MS = 30_000
_MIGRATION_LOCK = 7_310_150  # any constant that no other advisory lock uses


def engine(url: str | SecretStr) -> Engine:
    """Open the database at `url`: "sqlite:///<path>" or "postgresql+psycopg://…".

    An SQLite file is made when it is missing, readable by its owner only, and its folder too.
    """
    parsed = make_url(url.get_secret_value() if isinstance(url, SecretStr) else url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True, hide_parameters=True)
    if parsed.database and parsed.database != ":memory:":
        path = Path(parsed.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # its journal takes the same mode
    result = create_engine(parsed, hide_parameters=True)
    event.listen(result, "connect", _on_sqlite_connect)
    event.listen(result, "begin", _on_sqlite_begin)
    return result


def _on_sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy says when a transaction begins, not the driver
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "recursive_triggers=ON",  # so that REPLACE fires the delete triggers of append-only tables
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("kinlink_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def read(source: Engine) -> Iterator[Connection]:
    """Yield a connection for reading one consistent state; waits for no writer."""
    options: dict[str, Any] = {"kinlink_read_only": True}
    if source.dialect.name == "postgresql":  # whose default sees what others commit between two statements
        options["isolation_level"] = "REPEATABLE READ"
    with source.connect().execution_options(**options) as connection:
        yield connection


def migrate(target: Engine, package: str) -> None:
    """Bring servicekit's tables and then `package`'s to the newest version.

    Safe to run at every start and from several replicas at once. Each package's
    migrations are one transaction.
    """
    for name in dict.fromkeys(("servicekit", package)):
        config = Config()
        config.set_main_option("script_location", _option(_folder("servicekit") / "alembic_environment"))
        config.set_main_option("version_locations", _option(_folder(name) / "migrations"))
        config.set_main_option("path_separator", "newline")
        with target.begin() as connection:
            if target.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            config.attributes["version_table"] = f"alembic_version_{name}"
            command.upgrade(config, "heads")


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(package)
    return Path(next(iter(spec.submodule_search_locations)))


def _option(path: Path) -> str:
    return str(path).replace("%", "%%")
