"""Both services as separate processes over mTLS, in one folder.

The demo, the acceptance tests and the benches start the real thing from here.
Everything is made for synthetic numbers: development certificates, a key file as
key-encryption key, SQLite and local Delta tables.

    folder/
      certs/            a development CA and a certificate for each party
      approvals/        the keys with which people sign changes
      anchors/          checkpoints of both logs, and generations of the keys
      pseudonymizer/    settings, policy, keys, state
      linker/           settings, access table, disclosure policy with its signatures, state, tables
      clients/<role>-<name>/kinlink.toml

`make services` starts the services of the demo again from here.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import tomli_w

import linker
from examples.policy import policy
from kinlink import policy_signatures
from kinlink.approval_keys import new_key, public_bytes, read_key, write_key
from kinlink.change_document import Signer, SignerRole
from kinlink.dev_certificates import make_certificates
from kinlink.genesis import file_of

REGISTER = "folkeregister"
SOURCES = (
    REGISTER,
    "prisme",
    "dubu",
    "voksen",
    "ky",
    "momentum",
    "institution",
    "elev",
    "sundhed",
    "kultur",
    "projekt",
)
PURPOSE = "familie"
# Who encodes in the demo: the register, and the sources whose postings name some payers without a CPR number.
ENCODERS = (REGISTER, "prisme", "ky", "sundhed", "kultur")
# Who signs changes of keys: two custodians and a reviewer who is independent of them.
PEOPLE = ("custodian/noegle-1", "custodian/noegle-2", "reviewer/revision")
# Who signs the disclosure policy.
POLICY_SIGNER = "reviewer/revision"
# Who reads tables; who has the controller's grant to the family table, and gets no ordinary tables.
CONSUMER, FAMILY_CONSUMER = "consumer/velfaerdsanalyse", "consumer/familietabel"
GRANTED_YEARS = ("2014",)
SHIPPED_POLICY = Path(linker.__file__).parent / "disclosure.toml"
PARTIES = (
    *(f"source/{name}" for name in SOURCES),
    f"linker/{PURPOSE}",
    CONSUMER,
    FAMILY_CONSUMER,
    "operator/drift",
    "dpo/dpo",
    *PEOPLE,
    "service/pseudonymizer",
    "service/linker",
)
SERVICES = ("pseudonymizer", "linker")
READY_WITHIN_S = 90.0


class StackError(RuntimeError):
    """A service did not start; holds the end of its log."""


@dataclass(slots=True)
class Process:
    """One running service."""

    popen: subprocess.Popen[str]
    address: str
    log: Path


@dataclass(slots=True)
class Stack:
    """A deployment in `folder`; a context manager that stops what it started."""

    folder: Path
    plain_door: Sequence[str] = ()
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    budget_per_day: Mapping[str, int] = field(default_factory=dict)
    encoders: Sequence[str] = ()
    processes: dict[str, Process] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.prepare()
        try:
            for service in SERVICES:
                self.start(service)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for service in reversed(SERVICES):
            self.stop(service)

    def prepare(self) -> None:
        """Write certificates, policy and settings, unless they are there."""
        certificates = self.folder / "certs"
        if not (certificates / "ca.pem").exists():
            make_certificates(certificates, PARTIES, days=7, trust_domain="kinlink.test")
        self._enrol()
        for service in SERVICES:
            (self.folder / service).mkdir(parents=True, exist_ok=True)
        self._sign_policy()
        self._grant_family_table()
        rules = policy(
            SOURCES,
            REGISTER,
            PURPOSE,
            plain_door=self.plain_door,
            encoders=self.encoders,
            budget_per_day=self.budget_per_day,
        )
        self._write(self.folder / "pseudonymizer/policy.toml", rules)
        self._write(self.folder / "pseudonymizer/settings.toml", self._pseudonymizer("127.0.0.1:0"))

    def start(self, service: str, *, wrapper: Sequence[str] = ()) -> Process:
        """Start a service and wait until it says that it is ready.

        A service that was started before takes the port that it had, so that
        clients which were told of it find it again.

        Raises:
            StackError: it ended, or was not ready in time.
        """
        before = self.processes.get(service)
        address = before.address if before else "127.0.0.1:0"
        if service == "pseudonymizer":
            self._write(self.folder / service / "settings.toml", self._pseudonymizer(address))
        else:
            self._write(self.folder / service / "settings.toml", self._linker(address))
        log = self.folder / f"{service}.log"
        command = [*wrapper, sys.executable, "-m", "kinlink.cli", "serve", service]
        with log.open("a", encoding="utf-8") as out:
            popen = subprocess.Popen(
                [*command, "--config", str(self.folder / service / "settings.toml")],
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        process = Process(popen, _ready_address(popen, log), log)
        self.processes[service] = process
        if service == "linker" or "linker" in self.processes:
            self._write_clients()
        return process

    def stop(self, service: str) -> int:
        """Ask a service to end, and wait; return its exit code, 0 when it was not running."""
        process = self.processes.get(service)
        if process is None or process.popen.poll() is not None:
            return 0
        process.popen.send_signal(signal.SIGTERM)
        return process.popen.wait()

    def kill(self, service: str) -> None:
        """End a service without warning, as a power cut would."""
        process = self.processes[service]
        process.popen.kill()
        process.popen.wait()

    def client(self, party: str) -> Path:
        """Return the kinlink.toml of a party, for example "source/prisme"."""
        return self.folder / "clients" / party.replace("/", "-") / "kinlink.toml"

    def approval_key(self, party: str) -> Path:
        """Return the file of a person's signing key, for example of "reviewer/revision"."""
        return self.folder / "approvals" / f"{party.replace('/', '-')}.key"

    def command(self, *arguments: str | Path) -> list[str]:
        """Return the command line of `kinlink`."""
        return [sys.executable, "-m", "kinlink.cli", *map(str, arguments)]

    def environment(self, party: str) -> dict[str, str]:
        """Return the environment in which `kinlink` is this party."""
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "KINLINK_CONFIG": str(self.client(party)),
        }

    def run(self, party: str, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `kinlink` as this party and return what it said."""
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=check,
            env=self.environment(party),
        )

    def _enrol(self) -> None:
        """Make people's keys, and the genesis file that names them."""
        signers = []
        for party in PEOPLE:
            path = self.approval_key(party)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_key(path, new_key())
            key = public_bytes(read_key(path, lambda: ""))
            signers.append(Signer(party, SignerRole(party.partition("/")[0]), key))
        genesis = self.folder / "pseudonymizer/genesis.toml"
        genesis.parent.mkdir(parents=True, exist_ok=True)
        genesis.write_text(file_of(signers), encoding="utf-8")

    def _sign_policy(self) -> None:
        """Put the shipped disclosure policy beside the linker's settings, signed, unless one is there."""
        path = self.folder / "linker/disclosure.toml"
        if not path.exists():
            content = SHIPPED_POLICY.read_bytes()
            path.write_bytes(content)
            own = read_key(self.approval_key(POLICY_SIGNER), lambda: "")
            signatures = {POLICY_SIGNER: policy_signatures.sign(own, POLICY_SIGNER, content)}
            beside = path.with_name(path.name + policy_signatures.SUFFIX)
            beside.write_text(policy_signatures.file_of(signatures), encoding="utf-8")

    def _grant_family_table(self) -> None:
        """Write the shipped access table, with a grant to the family table."""
        access = tomllib.loads((Path(linker.__file__).parent / "access.toml").read_text(encoding="utf-8"))
        for rule in access["allow"]:
            if rule.get("name") == FAMILY_CONSUMER.partition("/")[2]:
                rule["limits"] = {"family_table": list(GRANTED_YEARS)}
        self._write(self.folder / "linker/access.toml", access)

    def _policy_signer(self) -> dict[str, str]:
        key = public_bytes(read_key(self.approval_key(POLICY_SIGNER), lambda: ""))
        return {"name": POLICY_SIGNER, "public_key": b64encode(key).decode()}

    def _server(self, service: str, listen: str) -> dict[str, object]:
        return {
            "listen": listen,
            "certificate": f"../certs/service-{service}.pem",
            "key": f"../certs/service-{service}.key",
            "ca": "../certs/ca.pem",
            "trust_domain": "kinlink.test",
            "database_url": "sqlite:///state.db",
            "anchors": ["file:../anchors"],
            **self.settings.get(service, {}),
        }

    def _pseudonymizer(self, listen: str) -> dict[str, object]:
        return {
            **self._server("pseudonymizer", listen),
            "policy": "policy.toml",
            "genesis": "genesis.toml",
            "kek": "file:kek.key",
        }

    def _linker(self, listen: str) -> dict[str, object]:
        return {
            "store": "store",
            "staging": "staging",
            "purpose": PURPOSE,
            "municipality": 101,
            "suites": ["synthetic"],
            "pseudonymizer": self.processes["pseudonymizer"].address,
            "client_certificate": f"../certs/linker-{PURPOSE}.pem",
            "client_key": f"../certs/linker-{PURPOSE}.key",
            "access": "access.toml",
            "disclosure": "disclosure.toml",
            "disclosure_signers": [self._policy_signer()],
            **self._server("linker", listen),
        }

    def _write_clients(self) -> None:
        for party in PARTIES:
            if party.startswith("service/"):
                continue
            certificate = self.folder / "certs" / party.replace("/", "-")
            content: dict[str, object] = {
                "pseudonymizer": self.processes["pseudonymizer"].address,
                "linker": self.processes["linker"].address if "linker" in self.processes else "127.0.0.1:1",
                "ca": str(self.folder / "certs/ca.pem"),
                "certificate": f"{certificate}.pem",
                "key": f"{certificate}.key",
                "suite": "synthetic",
                **({"approval_key": str(self.approval_key(party))} if party in PEOPLE else {}),
                **({"purpose": PURPOSE} if party.startswith("source/") else {}),
            }
            self._write(self.client(party), content)

    @staticmethod
    def _write(path: Path, content: Mapping[str, object]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(tomli_w.dumps(content), encoding="utf-8")
        new.replace(path)  # whoever reads it while a service is restarted reads all of it


def _drain(stream: IO[str]) -> None:
    with stream:
        stream.read()


def _ready_address(popen: subprocess.Popen[str], log: Path) -> str:
    """Read standard output up to the line `ready <address>`; go on draining it behind."""
    if popen.stdout is None:
        raise StackError("the service has no standard output")
    timer = threading.Timer(READY_WITHIN_S, popen.kill)
    timer.start()
    try:
        for line in popen.stdout:
            if line.startswith("ready "):
                threading.Thread(target=_drain, args=(popen.stdout,), daemon=True).start()
                return line.split()[1]
    finally:
        timer.cancel()
    popen.wait()
    popen.stdout.close()
    tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-15:])
    raise StackError(f"the service did not become ready (exit {popen.returncode}); the end of {log.name}:\n{tail}")


def main() -> None:
    """Start the services of a folder that the demo made, and keep them until interrupted."""
    parser = argparse.ArgumentParser(prog="make services", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="a stack's folder, for example .demo/town/stack")
    folder = parser.parse_args().folder.resolve()
    if not (folder / "linker").exists():
        raise SystemExit(f"{folder} has no services yet: run make demo first")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Stack(folder, encoders=ENCODERS) as stack:
        for name, process in stack.processes.items():
            print(f"{name:<14} {process.address}   log {os.path.relpath(process.log)}")
        clients = Path(os.path.relpath(folder)) / "clients"
        print(f"\nIn another terminal, as an analyst (others: {clients}):\n")
        print(f"  export KINLINK_CONFIG={clients / 'consumer-velfaerdsanalyse' / 'kinlink.toml'}")
        print("  .venv/bin/kinlink table list\n\nCtrl-C stops the services.", flush=True)
        try:
            _keep(stack)
        except KeyboardInterrupt:
            print()


def _keep(stack: Stack) -> None:
    """Start again what ends, at the same address: whoever tries a kill needs no more than that."""
    while True:
        for name, process in list(stack.processes.items()):
            if (code := process.popen.poll()) is not None:
                print(f"{name} ended ({code}); starting it again", flush=True)
                print(f"{name:<14} {stack.start(name).address}", flush=True)
        time.sleep(1)


if __name__ == "__main__":
    main()
