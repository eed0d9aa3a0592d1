"""A service whose log cannot be written answers nothing but health, and says why: real processes, real disks.

The disk is a small one of its own (a tmpfs in the service's or PostgreSQL's own mount namespace), filled to the
last byte; the read-only database is a PostgreSQL that takes no writing transaction. A running service on SQLite never
finds its file read-only, since it has it open; one that starts there says so, and ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import create_engine, text

from examples.stack import SERVICES, Stack
from kinlink.errors import KinlinkError, from_rpc_error
from linker.__main__ import SERVICES as LINKER_SERVICES
from pseudonymizer.doors import SERVICE as PSEUDONYMISATION
from servicekit import database
from servicekit.access import AccessTable
from servicekit.audit import AuditLog
from servicekit.audit.audit_api import SERVICES as AUDIT_SERVICES
from servicekit.audit.causes import FULL, READ_ONLY
from servicekit.identity import Caller, Role
from servicekit.server import rpcs_of
from tests import postgres

RPCS = {
    "pseudonymizer": rpcs_of((PSEUDONYMISATION, "kinlink.pseudonymizer.v1.KeyAdministrationService", *AUDIT_SERVICES)),
    "linker": rpcs_of((*LINKER_SERVICES, *AUDIT_SERVICES)),
}
CALLERS = (
    (Role.SOURCE, "prisme"), (Role.LINKER, "familie"), (Role.CONSUMER, "velfaerdsanalyse"),
    (Role.CONSUMER, "familietabel"), (Role.OPERATOR, "drift"), (Role.DPO, "dpo"), (Role.CUSTODIAN, "noegle-1"),
    (Role.REVIEWER, "revision"), (Role.SERVICE, "linker"),
)  # fmt: skip
AUDIT = "kinlink.audit.v1.AuditService"
OWN_DISK = 'mount -t tmpfs -o size=3m,mode=700 tmpfs "$0" && exec "$@"'
WITHIN_S = 30.0


@contextmanager
def channel(stack: Stack, service: str, party: str) -> Iterator[grpc.Channel]:
    """Open a channel that tries nothing again."""
    certificates = stack.folder / "certs"
    stem = party.replace("/", "-")
    files = [certificates / "ca.pem", certificates / f"{stem}.key", certificates / f"{stem}.pem"]
    credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
    with grpc.secure_channel(stack.processes[service].address, credentials, [("grpc.enable_retries", 0)]) as opened:
        yield opened


def call(opened: grpc.Channel, rpc: str) -> KinlinkError | None:
    """Send one empty message; return the refusal, None when it is answered."""
    try:
        list(opened.stream_stream(f"/{rpc}")(iter([b""]), timeout=30))
    except grpc.RpcError as error:
        return from_rpc_error(error)
    return None


def health(opened: grpc.Channel) -> tuple[str, str]:
    """Return what health says, and the cause beside it."""
    answer, ended = health_pb2_grpc.HealthStub(opened).Check.with_call(health_pb2.HealthCheckRequest(), timeout=30)
    status: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return status, dict(ended.trailing_metadata()).get("kinlink-cause", "")


def admitted(stack: Stack, service: str) -> Iterator[tuple[str, str]]:
    """Yield a party that may call it and the RPC, for every RPC of the service."""
    own = stack.folder / service / "access.toml"
    shipped = Path(__file__).parents[2] / "services" / service / "access.toml"
    table = AccessTable.load(own if own.exists() else shipped)
    for rpc in RPCS[service]:
        parties = [(role, name) for role, name in CALLERS if table.decide(rpc, Caller("", role, name))]
        assert parties, rpc
        yield f"{parties[0][0]}/{parties[0][1]}", rpc


def eventually(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < ends


def check_answers_nothing_but_health(stack: Stack, service: str, cause: str) -> None:
    with channel(stack, service, "dpo/dpo") as dpo:
        eventually(lambda: call(dpo, f"{AUDIT}/GetConsistencyProof") is not None and health(dpo)[1] == cause)
        refusals: dict[str, KinlinkError | None] = {}
        by_party: dict[str, list[str]] = {}
        for party, rpc in admitted(stack, service):
            by_party.setdefault(party, []).append(rpc)
        for party, rpcs in by_party.items():
            with channel(stack, service, party) as opened:
                refusals |= {rpc: call(opened, rpc) for rpc in rpcs}
        assert set(refusals) == set(RPCS[service])
        for rpc, error in refusals.items():
            assert error is not None, f"{rpc} was answered"
            assert (error.reason, error.metadata.get("cause")) == ("AUDIT_UNAVAILABLE", cause), rpc
            assert cause in error.message
        assert health(dpo) == ("NOT_SERVING", cause)
    assert cause in stack.processes[service].log.read_text()


def check_serves(stack: Stack, service: str) -> None:
    with channel(stack, service, "dpo/dpo") as dpo:
        eventually(lambda: health(dpo) == ("SERVING", ""))
        refused = call(dpo, f"{AUDIT}/GetCheckpoint")
    assert refused is None, refused


@pytest.fixture
def own_disks(tmp_path: Path) -> Iterator[Stack]:
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    (tmp_path / "try").mkdir()
    tried = [*unshare, "sh", "-c", OWN_DISK, tmp_path / "try", "true"]
    if not shutil.which("unshare") or subprocess.run(tried, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    told: dict[str, dict[str, object]] = {name: {"database_url": "sqlite:///disk/state.db"} for name in SERVICES}
    stack = Stack(tmp_path, settings=told)
    stack.prepare()
    try:
        for service in SERVICES:
            disk = tmp_path / service / "disk"
            disk.mkdir()
            stack.start(service, wrapper=[*unshare, "sh", "-c", OWN_DISK, str(disk)])
        yield stack
    finally:
        for service in reversed(SERVICES):
            stack.stop(service)


def disk_of(stack: Stack, service: str) -> Path:
    """Return the service's disk as it is seen from here."""
    seen = (stack.folder / service / "disk").resolve()
    return Path(f"/proc/{stack.processes[service].popen.pid}/root") / seen.relative_to("/")


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def test_full_disk(own_disks: Stack, tmp_path: Path) -> None:
    for service in SERVICES:
        check_serves(own_disks, service)
        filler = fill(disk_of(own_disks, service))
        check_answers_nothing_but_health(own_disks, service, FULL)
        filler.unlink()
        check_serves(own_disks, service)
        assert "AUDIT_RESUMED" in reasons(disk_of(own_disks, service), tmp_path / f"{service}-log")


def reasons(disk: Path, folder: Path) -> set[str]:
    """Return the reasons in the log on a service's own disk."""
    folder.mkdir()  # SQLite would follow the link to another file system's root to the wrong file
    for file in disk.iterdir():
        shutil.copy(file, folder)
    engine = database.engine(f"sqlite:///{folder / 'state.db'}")
    found = {entry["reason"] for entry in AuditLog(engine).entries(limit=100_000)}
    engine.dispose()
    return found


def test_full_disk_of_postgresql(tmp_path: Path) -> None:
    with (
        postgres.with_small_disk("64m") as (url, disk, seen),
        Stack(tmp_path, settings=postgres.databases(url, SERVICES, disk)) as stack,
    ):
        filler = fill(seen)
        for service in SERVICES:
            check_answers_nothing_but_health(stack, service, FULL)
        filler.unlink()
        for service in SERVICES:
            check_serves(stack, service)


@pytest.fixture
def on_postgresql(tmp_path: Path) -> Iterator[tuple[Stack, Any]]:
    with postgres.cluster() as url, Stack(tmp_path, settings=postgres.databases(url, SERVICES)) as stack:
        owner = create_engine(url, isolation_level="AUTOCOMMIT")
        yield stack, owner
        owner.dispose()


def test_read_only_database(on_postgresql: tuple[Stack, Any]) -> None:
    stack, owner = on_postgresql
    for read_only in ("on", "off"):
        with owner.connect() as connection:
            connection.execute(text("SET default_transaction_read_only = off"))
            connection.execute(text(f"ALTER SYSTEM SET default_transaction_read_only = {read_only}"))
            connection.execute(text("SELECT pg_reload_conf()"))
        for service in SERVICES:
            if read_only == "on":
                check_answers_nothing_but_health(stack, service, READ_ONLY)
            else:
                check_serves(stack, service)
