"""A start that fails says so in one message, without a value or a traceback, and exits with status 2."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servicekit import database
from servicekit.startup import one_message

SECRET = "hunter2"
CANARY = "6101800010"


class PolicyError(Exception):
    """Known to the service."""


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def migrate(url: str) -> None:
    engine = database.engine(url)
    try:
        database.migrate(engine, "servicekit")
    finally:
        engine.dispose()


def newer(folder: Path) -> None:
    migrate(f"sqlite:///{folder}/state.db")
    engine = database.engine(f"sqlite:///{folder}/state.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version_servicekit SET version_num = 's9999'")
    engine.dispose()
    migrate(f"sqlite:///{folder}/state.db")


def of_another_build(folder: Path) -> None:
    """Of the same revision, and with other columns."""
    migrate(f"sqlite:///{folder}/state.db")
    engine = database.engine(f"sqlite:///{folder}/state.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE budget_use RENAME COLUMN elements TO parts")
    engine.dispose()
    migrate(f"sqlite:///{folder}/state.db")


def refuse() -> None:
    raise PolicyError("policy.toml: grant 1 breaks a rule")


def fail() -> None:
    raise KeyError(CANARY)


FAILING: dict[str, tuple[Callable[[Path], None], str]] = {
    "known": (lambda _: refuse(), "policy.toml: grant 1 breaks a rule"),
    "no URL": (lambda _: migrate(f"nonsense-{SECRET}"), "database_url: "),
    "nobody there": (lambda _: migrate(f"postgresql://u:{SECRET}@127.0.0.1:1/x"), "the database is away"),
    "not a database": (lambda folder: migrate(f"sqlite:///{folder}/file"), "DatabaseError"),
    "of a newer version": (newer, "schema of the state database is s9999, and this version knows it up to s0001"),
    "of another build": (of_another_build, "its schema is s0001, and it is not as this version makes that: table b"),
    "folder is a file": (lambda folder: migrate(f"sqlite:///{folder}/file/state.db"), "/file: File exists"),
    "anything else": (lambda _: fail(), "cannot start: KeyError at "),
}


@pytest.mark.parametrize("name", FAILING)
def test_failing_start_is_one_message(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text(f"this is {SECRET}, and no database " * 100)
    failing, expected = FAILING[name]
    with pytest.raises(SystemExit) as ended, one_message("linker", (PolicyError,)):
        failing(tmp_path)
    written = capsys.readouterr().err
    assert ended.value.code == 2
    assert written.startswith("linker: ")
    assert written.count("\n") == 1
    assert expected in written
    assert SECRET not in written
    assert CANARY not in written


def test_files_of_a_service_are_its_owners_only(tmp_path: Path) -> None:
    with one_message("linker", ()):
        (tmp_path / "staging").mkdir()
        (tmp_path / "staging" / "chunk").write_text("pseudonyms")
    assert [oct(path.stat().st_mode & 0o777) for path in sorted(tmp_path.rglob("*"))] == ["0o700", "0o600"]


def test_exception_that_nobody_caught_is_logged_without_its_text() -> None:
    """Of a thread, and of the process: Python's own hooks write the text."""
    program = (
        "from threading import Thread; from servicekit.logs import setup_logs; setup_logs(None)\n"
        f"thread = Thread(target=lambda: int('{CANARY}x')); thread.start(); thread.join()\n"
        f"raise KeyError('{CANARY}')\n"
    )
    source = Path(database.__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", program],
        check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(source)},
    )  # fmt: skip
    assert ended.returncode == 1
    assert [word in ended.stderr for word in ("ValueError", "KeyError", "Traceback", CANARY)] == [
        True,
        True,
        False,
        False,
    ]
