"""Services that keep a log and serve nothing else, with real certificates and over real connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from kinlink.audit.note import VerifierKey
from kinlink.audit_client import AuditClient
from kinlink.channel import open_channel
from servicekit import database, server
from servicekit.access import AccessTable
from servicekit.audit import AuditEntry, AuditLog
from servicekit.audit.audit_api import SERVICES
from servicekit.audit.checkpoints import open_key
from servicekit.audit.keeping import KeptLog, kept
from servicekit.settings import ServerSettings
from tests.running import INFRASTRUCTURE_RULE, TRUST_DOMAIN, identity

ACCESS = (
    """
[[allow]]
rpc = ["kinlink.audit.v1.AuditService/ListEntries", "kinlink.audit.v1.AuditService/GetCheckpoint",
       "kinlink.audit.v1.AuditService/ListCheckpoints", "kinlink.audit.v1.AuditService/GetInclusionProof",
       "kinlink.audit.v1.AuditService/GetConsistencyProof"]
role = "dpo"

[[allow]]
rpc = "kinlink.audit.v1.WitnessService/AddCheckpoint"
role = "service"
"""
    + INFRASTRUCTURE_RULE
)
DAY_S = 86_400.0


@dataclass
class LogService:
    """One of them."""

    name: str
    address: str
    engine: Engine
    log: AuditLog
    kept: KeptLog
    settings: ServerSettings
    certificates: Path

    @property
    def key(self) -> str:
        """Its verifier key."""
        return str(self.kept.checkpoints.verifier)

    def append(self, count: int, rpc: str = "write") -> None:
        """Write entries, in one transaction."""
        with self.engine.begin() as connection:
            for n in range(count):
                self.log.append(AuditEntry(rpc, "", "ok", count=n + 1), connection)

    def told(self, prefix: str = "") -> list[tuple[str, str, str]]:
        """Return (what, outcome, reason) of the entries whose name has a prefix."""
        found = [entry for entry in self.log.entries() if entry["rpc"].startswith(prefix)]
        return [(e["rpc"].partition("/")[2] or e["subject"], e["outcome"], e["reason"]) for e in found]

    @contextmanager
    def reader(self, party: str = "dpo-dpo") -> Iterator[AuditClient]:
        """Read the log over the wire."""
        with open_channel(self.address, identity(self.certificates, party)) as channel:
            yield AuditClient(channel)


@contextmanager
def running(name: str, folder: Path, certificates: Path, **told: Any) -> Iterator[LogService]:
    """Run a log service "linker" or "pseudonymizer" on a free port; its checkpointer works when it is told to."""
    folder.mkdir(exist_ok=True)
    values = {
        "certificate": certificates / f"service-{name}.pem",
        "key": certificates / f"service-{name}.key",
        "ca": certificates / "ca.pem",
        "trust_domain": TRUST_DOMAIN,
        "database_url": f"sqlite:///{folder / 'state.db'}",
        "log_key": folder / "log.key",
        "checkpoint_every_s": DAY_S,
        **told,
    }
    settings = ServerSettings(**values)
    engine = database.engine(settings.database_url)
    database.migrate(engine, "servicekit")
    (folder / "access.toml").write_text(ACCESS)
    log = AuditLog(engine)
    try:
        with kept(log, engine, settings, name, folder, real=False) as keeping:
            access = AccessTable.load(folder / "access.toml")
            running = server.start(settings, keeping.register, SERVICES, access, log)
            try:
                yield LogService(name, running.address, engine, log, keeping, settings, certificates)
            finally:
                running.stop(0)
    finally:
        engine.dispose()


def witness(service: LogService) -> dict[str, str]:
    """Return how another service names this one among its witnesses."""
    return {"address": service.address, "key": service.key, "server_name": "localhost"}


def key_of(folder: Path, name: str) -> str:
    """Return the verifier key of a service that is to start in `folder`."""
    folder.mkdir(exist_ok=True)
    return str(VerifierKey.of(f"{TRUST_DOMAIN}/{name}", open_key(folder / "log.key", may_create=True)))
