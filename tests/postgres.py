"""A throw-away PostgreSQL cluster for tests, where the server's programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


@contextmanager
def cluster() -> Iterator[str]:
    """Yield the URL of an empty PostgreSQL that listens on a socket only; skip the test where there is none.

    PostgreSQL does not run as root, so that root runs it as the `postgres` user.
    """
    found = _PROGRAMS[0] if _PROGRAMS else shutil.which("initdb") and Path(str(shutil.which("initdb"))).parent
    if not found:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    user = None
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("running as root, and there is no postgres user to run PostgreSQL as")
    folder = Path(tempfile.mkdtemp(prefix="kinlink-pg-", dir="/tmp"))
    try:
        if user:
            shutil.chown(folder, user)
        data = folder / "data"
        _run(user, [found / "initdb", "-D", data, "-U", "kinlink", "-A", "trust", "--no-sync", "-E", "UTF8"])
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        _run(user, [found / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log", "start"])
        try:
            yield f"postgresql+psycopg://kinlink@/postgres?host={folder}"
        finally:
            _run(user, [found / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(user: str | None, command: list[str | Path]) -> None:
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        user=user,
        cwd="/",
        env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
    )
