"""What a state database has on disk."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa


def contents(engine: sa.Engine) -> list[bytes]:
    """Return what is in each file of the database; the log of PostgreSQL aside."""
    if engine.dialect.name == "sqlite":
        files = list(Path(str(engine.url.database)).parent.iterdir())
    else:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("CHECKPOINT")
            folder = Path(str(connection.scalar(sa.text("SHOW data_directory"))))
        files = [path for path in (folder / "base").rglob("*") if path.is_file()]
    return [path.read_bytes() for path in files]
