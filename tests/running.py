"""Real servers with real certificates for tests: what a test needs to make a call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from sqlalchemy import Engine

from kinlink.channel import Identity, open_channel
from servicekit import database, server
from servicekit.access import AccessTable
from servicekit.audit import AuditLog
from servicekit.settings import ServerSettings

TRUST_DOMAIN = "kinlink.test"
INFRASTRUCTURE_RULE = """
[[allow]]
rpc = ["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch",
       "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]
role = ["operator", "consumer"]
"""


def identity(certificates: Path, name: str) -> Identity:
    """Return the identity "role-name" of a folder of certificates."""
    return Identity(certificates / "ca.pem", certificates / f"{name}.pem", certificates / f"{name}.key")


@dataclass
class Served:
    """A server under test."""

    running: server.RunningServer
    engine: Engine
    audit: AuditLog
    certificates: Path
    folder: Path

    def channel(self, name: str, certificates: Path | None = None, **options: Any) -> grpc.Channel:
        """Open a channel as "role-name"."""
        return open_channel(self.running.address, identity(certificates or self.certificates, name), **options)

    def audited(self) -> list[tuple[str, str, str]]:
        """Return (method, outcome, reason) of every audit entry."""
        return [(e["rpc"].partition("/")[2], e["outcome"], e["reason"]) for e in self.audit.entries()]


def start(
    folder: Path,
    certificates: Path,
    register: Callable[[grpc.Server], None],
    services: Sequence[str],
    access: str,
    *,
    audited_per_message: Collection[str] = (),
    service_name: str = "linker",
    **settings: Any,
) -> Served:
    """Start a server in this process on a free port."""
    values = {
        "certificate": certificates / f"service-{service_name}.pem",
        "key": certificates / f"service-{service_name}.key",
        "ca": certificates / "ca.pem",
        "trust_domain": TRUST_DOMAIN,
        "database_url": f"sqlite:///{folder / 'state.db'}",
        **settings,
    }
    told = ServerSettings(**values)
    engine = database.engine(told.database_url)
    database.migrate(engine, "servicekit")
    table = folder / "access.toml"
    table.write_text(access + INFRASTRUCTURE_RULE)
    audit = AuditLog(engine)
    running = server.start(told, register, services, AccessTable.load(table), audit, audited_per_message)
    return Served(running, engine, audit, certificates, folder)
