"""A pseudonymizer as a process of its own, over mutual TLS: for acceptance tests and for bench."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import tomli_w
from sqlalchemy import text

from kinlink.channel import Identity, open_channel
from kinlink.dev_certificates import make_certificates
from servicekit import database

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A folder with certificates, settings and a policy; state is kept in it."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, policy: dict[str, Any]) -> Deployment:
        """Write certificates for the development names, the settings and the policy."""
        make_certificates(folder / "certs")
        (folder / "policy.toml").write_text(tomli_w.dumps(policy))
        settings = {
            "listen": "127.0.0.1:0",
            "certificate": "certs/service-pseudonymizer.pem",
            "key": "certs/service-pseudonymizer.key",
            "ca": "certs/ca.pem",
            "trust_domain": "kinlink.test",
            "database_url": "sqlite:///state/pseudonymizer.db",
            "policy": "policy.toml",
            "kek": "file:secret/kek",
        }
        (folder / "pseudonymizer.toml").write_text(tomli_w.dumps(settings))
        return cls(folder)

    @property
    def log(self) -> Path:
        """What the processes wrote to standard error."""
        return self.folder / "stderr.log"

    def command(self) -> list[str]:
        """Return the command that serves it."""
        return [sys.executable, "-m", "pseudonymizer", "--config", str(self.folder / "pseudonymizer.toml")]

    def environment(self) -> dict[str, str]:
        """Return the process's environment: nothing but where the code is."""
        return {"PYTHONPATH": str(ROOT / "services"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Yield the address of a running process; stop it afterwards."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=log, env=self.environment())
        assert process.stdout is not None
        try:
            line = process.stdout.readline().decode()
            assert line.startswith("ready "), self.log.read_text()
            yield line.split()[1]
        finally:
            process.terminate()
            process.wait(timeout=30)
            process.stdout.close()

    def channel(self, address: str, name: str, *interceptors: Any) -> grpc.Channel:
        """Open a channel as "role-name"."""
        certs = self.folder / "certs"
        return open_channel(
            address, Identity(certs / "ca.pem", certs / f"{name}.pem", certs / f"{name}.key"), interceptors
        )

    def audited(
        self, columns: str = "rpc, outcome, reason, subject, kind, key_version, count"
    ) -> list[tuple[Any, ...]]:
        """Return the audit entries, oldest first."""
        engine = database.engine(f"sqlite:///{self.folder}/state/pseudonymizer.db")
        try:
            with database.read(engine) as connection:
                rows = connection.execute(text(f"SELECT {columns} FROM audit_entries ORDER BY entry_id"))
                return [tuple(row) for row in rows]
        finally:
            engine.dispose()
