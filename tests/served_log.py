"""A service's log, served as the service serves it, and `kinlink audit` asked about it in this process."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import tomli_w

from kinlink.cli.__main__ import run
from servicekit import database, server
from servicekit.access import AccessTable
from servicekit.audit import AuditLog
from servicekit.audit.audit_api import SERVICES
from servicekit.audit.keeping import kept
from servicekit.settings import ServerSettings
from tests.running import TRUST_DOMAIN, identity

ORIGIN = f"{TRUST_DOMAIN}/pseudonymizer"
ACCESS = """
[[allow]]
rpc = ["kinlink.audit.v1.AuditService/ListEntries", "kinlink.audit.v1.AuditService/GetCheckpoint",
       "kinlink.audit.v1.AuditService/ListCheckpoints", "kinlink.audit.v1.AuditService/GetInclusionProof",
       "kinlink.audit.v1.AuditService/GetConsistencyProof"]
role = ["dpo"]
"""


def configuration(folder: Path, certificates: Path, address: str) -> Path:
    """Write the kinlink.toml of the data-protection officer."""
    me = identity(certificates, "dpo-dpo")
    paths = {"ca": me.ca, "certificate": me.certificate, "key": me.key}
    content = {"pseudonymizer": address, "linker": address, "suite": "synthetic"}
    path = folder / "kinlink.toml"
    path.write_text(tomli_w.dumps(content | {name: str(value) for name, value in paths.items()}))
    return path


@contextmanager
def served(folder: Path, certificates: Path) -> Iterator[Path]:
    """Serve the pseudonymizer's log whose database and key lie, or are made, in `folder`; yield a kinlink.toml."""
    told = ServerSettings(
        certificate=certificates / "service-pseudonymizer.pem",
        key=certificates / "service-pseudonymizer.key",
        ca=certificates / "ca.pem",
        trust_domain=TRUST_DOMAIN,
        database_url=f"sqlite:///{folder / 'state.db'}",  # type: ignore[arg-type]
        log_key=folder / "log.key",
    )
    table = folder / "access.toml"
    table.write_text(ACCESS)
    with ExitStack() as stack:
        is_new = not (folder / "state.db").exists()
        engine = database.engine(told.database_url)
        stack.callback(engine.dispose)
        if is_new:
            database.migrate(engine, "servicekit")
        log = AuditLog(engine)
        log_kept = stack.enter_context(kept(log, engine, told, "pseudonymizer", folder, real=False))
        running = server.start(told, log_kept.register, SERVICES, AccessTable.load(table), log)
        stack.callback(running.stop, 0.5)
        yield configuration(folder, certificates, running.address)


def ask(command: str, *arguments: str | Path) -> tuple[int, str]:
    """Run `kinlink audit`; return its exit code and what it said. A kinlink.toml at the end says whom to ask."""
    told = [str(each) for each in arguments]
    if told and told[-1].endswith("kinlink.toml"):
        told = [*told[:-1], "--service", "pseudonymizer", "--config", told[-1]]
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        code = run(["audit", command, *told])
    return code, out.getvalue()


def said(command: str, *arguments: str | Path) -> str:
    """Run `kinlink audit`, which must succeed; return what it said."""
    code, text = ask(command, *arguments)
    assert code == 0, text
    return text
