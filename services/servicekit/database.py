"""The state database: SQLite by default, PostgreSQL in production, by the same code.

1. SQLite runs in WAL mode with synchronous=FULL: a committed transaction
   survives a power cut. `engine.begin()` takes the write lock at once, so that
   a transaction that reads and then writes never fails half-way; use `read()`
   for one that only reads.
2. Each package keeps its Alembic migrations in `<package>/migrations/` and its
   own version table. servicekit's (audit, budget) are applied first, always.
3. A service starts only with the tables and columns that its migrations make: a
   database of another build says so at the start, and not at some call later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text

_BUSY_TIMEOUT_MS = 30_000
_MIGRATION_LOCK = 7_310_150  # any constant that no other advisory lock uses
_VERSIONS = "alembic_version_"  # the table in which Alembic notes what it did, by package
_NAMED = 3  # differences that an error names


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


class SchemaError(Exception):
    """A database has another schema than this version makes; says which, which is expected, and what to do."""


def migrate(target: Engine, package: str) -> None:
    """Bring servicekit's tables and then `package`'s to the newest version.

    Safe to run at every start and from several replicas at once. Each package's
    migrations are one transaction.

    Raises:
        SchemaError: a newer version of kinlink, or another build of this one, made its tables.
    """
    for name in _names(package):
        with target.begin() as connection:
            if target.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            _upgrade(connection, name)
    with read(target) as connection:
        differences = list(_differences(_columns(connection), _expected(package)))
        at = ", ".join(found for name in _names(package) for found in _revisions(connection, name))
    if differences:
        raise SchemaError(
            f"the state database says that its schema is {at}, and it is not as this version makes that: "
            f"{'; '.join(differences[:_NAMED])}. Another build made it: start that one, or begin with an empty database"
        )


def _names(package: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(("servicekit", package)))


def _upgrade(connection: Connection, name: str) -> None:
    config = Config()
    config.set_main_option("script_location", _option(_folder("servicekit") / "alembic_environment"))
    config.set_main_option("version_locations", _option(_folder(name) / "migrations"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = f"{_VERSIONS}{name}"
    try:
        command.upgrade(config, "heads")
    except CommandError as error:
        found, known = _revisions(connection, name), ScriptDirectory.from_config(config).get_heads()
        raise SchemaError(
            f"the schema of the state database is {', '.join(found)}, and this version knows it up to "
            f"{', '.join(known)}. Start the newest version, or put back the backup that was made before it"
        ) from error


def _revisions(connection: Connection, name: str) -> list[str]:
    return list(connection.exec_driver_sql(f"SELECT version_num FROM {_VERSIONS}{name}").scalars())


def _columns(connection: Connection) -> dict[str, frozenset[str]]:
    """Return the columns of each table, but not of those that tell of migrations."""
    found = inspect(connection).get_multi_columns()
    return {
        table: frozenset(column["name"] for column in columns)
        for (_, table), columns in found.items()
        if not table.startswith(_VERSIONS)
    }


@cache
def _expected(package: str) -> Mapping[str, frozenset[str]]:
    """Return the columns that the migrations make, by making them in memory."""
    made = engine("sqlite://")
    try:
        with made.begin() as connection:
            for name in _names(package):
                _upgrade(connection, name)
            return _columns(connection)
    finally:
        made.dispose()


def _differences(found: Mapping[str, frozenset[str]], expected: Mapping[str, frozenset[str]]) -> Iterator[str]:
    for table, columns in sorted(expected.items()):
        if table not in found:
            yield f"there is no table {table}"
        elif lacking := sorted(columns - found[table]):
            yield f"table {table} has no {', '.join(lacking)}"
        elif more := sorted(found[table] - columns):
            yield f"table {table} has {', '.join(more)} besides"


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(package)
    return Path(next(iter(spec.submodule_search_locations)))


def _option(path: Path) -> str:
    return str(path).replace("%", "%%")
