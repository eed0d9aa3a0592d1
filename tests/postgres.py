"""A throw-away PostgreSQL cluster for tests, where the server's programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


_OWN_DISK = 'mount -t tmpfs -o "size=$1,mode=700,uid=$2,gid=$3" tmpfs "$0" && shift 3 && exec setpriv "$@"'


@contextmanager
def cluster() -> Iterator[str]:
    """Yield the URL of an empty PostgreSQL that listens on a socket only; skip the test where there is none.

    PostgreSQL does not run as root, so that root runs it as the `postgres` user.
    """
    with _cluster("") as (url, _, _):
        yield url


def empty(url: str) -> None:
    """Drop everything in a cluster's database."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


@contextmanager
def with_small_disk(size: str) -> Iterator[tuple[str, Path, Path]]:
    """Yield the URL of a PostgreSQL with an empty disk for a tablespace, its path there, and its path from here.

    Data and write-ahead log are elsewhere. Root's only: the disk is a tmpfs in the server's own mount namespace.
    """
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system for another user")
    with _cluster(size) as made:
        yield made


def databases(url: str, names: Sequence[str], tablespace: Path | None = None) -> dict[str, dict[str, object]]:
    """Make a database for each service; return each one's setting."""
    owner = create_engine(url, isolation_level="AUTOCOMMIT")
    where = " TABLESPACE small" if tablespace else ""
    with owner.connect() as connection:
        if tablespace:
            connection.execute(text(f"CREATE TABLESPACE small LOCATION '{tablespace}'"))
        for name in names:
            connection.execute(text(f"CREATE DATABASE {name}{where}"))
    owner.dispose()
    return {name: {"database_url": url.replace("/postgres?", f"/{name}?")} for name in names}


@contextmanager
def _cluster(disk_size: str) -> Iterator[tuple[str, Path, Path]]:
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
        start: list[str | Path] = [found / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log", "start"]
        disk = folder / "disk"
        if user and disk_size:
            disk.mkdir()
            who = pwd.getpwnam(user)
            owner = [str(who.pw_uid), str(who.pw_gid)]
            as_user = [f"--reuid={owner[0]}", f"--regid={owner[1]}", "--clear-groups"]
            _run(None, ["unshare", "-m", "sh", "-c", _OWN_DISK, disk, disk_size, *owner, *as_user, *start])
        else:
            _run(user, start)
        try:
            pid = (data / "postmaster.pid").read_text().split()[0]
            seen = Path("/proc", pid, "root", disk.relative_to("/"))
            yield f"postgresql+psycopg://kinlink@/postgres?host={folder}", disk, seen
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
