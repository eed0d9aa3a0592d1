"""A pseudonymizer's door to its keys, real but for the clock: mTLS, access table, log, key store. And its people."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kinlink import genesis as genesis_file
from kinlink import ristretto255
from kinlink.approval_keys import new_key, public_bytes
from kinlink.approvals import Verb, sign
from kinlink.audit.v1 import audit_service_pb2
from kinlink.change_document import Action, Change, KeyVersionName, Signer, SignerRole
from kinlink.channel import open_channel
from kinlink.errors import KinlinkError
from kinlink.key_administration_client import KeyAdministrationClient, Standing
from kinlink.pseudonymizer.v1 import (
    encoding_key_service_pb2,
    key_administration_service_pb2,
    pseudonymisation_service_pb2,
)
from kinlink.pseudonymizer.v1.key_administration_service_pb2_grpc import add_KeyAdministrationServiceServicer_to_server
from kinlink.pseudonyms import Kind
from pseudonymizer import genesis
from pseudonymizer.dual_control import DualControl
from pseudonymizer.inventory import KeyInventory
from pseudonymizer.key_administration_api import AUDITED_BY_ITSELF, KeyAdministrationApi
from pseudonymizer.key_changes import KeyChanges
from pseudonymizer.keystore.encryption_keys import open_key_encryption_key
from pseudonymizer.keystore.store import KeyStore
from pseudonymizer.policy import Policy
from pseudonymizer.rotations import Rotations
from servicekit import database, server
from servicekit.access import AccessTable
from servicekit.audit import AuditLog
from servicekit.settings import ServerSettings
from tests.running import TRUST_DOMAIN, identity

LOG = f"{TRUST_DOMAIN}/pseudonymizer"
DOMAIN = "source/prisme"
PEOPLE = ("custodian/a", "custodian/b", "custodian/c", "reviewer/r", "reviewer/s")
OTHERS = ("custodian/stranger", "operator/drift", "dpo/dpo", "source/prisme", "linker/familie")
# The access table is the pseudonymizer's own, and names the RPCs of all its services.
CONTRACTS = (
    audit_service_pb2,
    encoding_key_service_pb2,
    key_administration_service_pb2,
    pseudonymisation_service_pb2,
)
SERVICES = [one.full_name for contract in CONTRACTS for one in contract.DESCRIPTOR.services_by_name.values()]
_ACCESS = Path(genesis.__file__).with_name("access.toml")
_POLICY = {
    "suites": ["synthetic"],
    "domain": [{"name": DOMAIN, "kinds": ["cpr", "replacement"]}],
    "grant": [{"name": "g", "caller": DOMAIN, "operation": "rekey", "domain": DOMAIN, "kinds": ["cpr"]}],
    "budget": [{"caller": DOMAIN, "per_day": 100, "per_year": 100}],
}


@dataclass
class Clock:
    """Tells the time that a test wants it to be."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


class SigningService:
    """The service, what its log says, and a client for everybody who has a certificate."""

    def __init__(self, folder: Path, certificates: Path) -> None:
        self.certificates = certificates
        self.began = datetime.now(UTC).replace(microsecond=0)
        self.clock = Clock(self.began)
        self.keys = {name: new_key() for name in (*PEOPLE, "custodian/stranger")}
        file = folder / "genesis.toml"
        file.write_text(genesis_file.file_of(self.signer(name) for name in PEOPLE))
        self.engine = database.engine(f"sqlite:///{folder}/state.db")
        database.migrate(self.engine, "pseudonymizer")
        self.audit = AuditLog(self.engine)
        genesis.begin(file, self.engine, self.audit, self.clock)
        policy = Policy.model_validate(_POLICY)
        kek = open_key_encryption_key("file:kek.key", folder, first_start=True)
        store = KeyStore(self.engine, kek, policy.suite, self.audit, holders=policy.holders)
        store.open(policy.key_lines())
        changes = KeyChanges(store, policy.holders, self.clock)
        self.pool = ristretto255.new_pool()
        api = KeyAdministrationApi(
            DualControl(self.engine, self.audit, changes, LOG, self.clock),
            changes,
            KeyInventory(self.engine, policy, store),
            Rotations(self.engine, policy, store, self.audit, self.pool),
            policy,
        )
        files = {
            "certificate": certificates / "service-pseudonymizer.pem",
            "key": certificates / "service-pseudonymizer.key",
            "ca": certificates / "ca.pem",
        }
        settings = ServerSettings(**files, trust_domain=TRUST_DOMAIN, database_url="sqlite://")  # type: ignore[arg-type]
        self.running = server.start(
            settings,
            lambda target: add_KeyAdministrationServiceServicer_to_server(api, target),
            SERVICES,
            AccessTable.load(_ACCESS),
            self.audit,
            AUDITED_BY_ITSELF,
        )
        self._channels: dict[str, grpc.Channel] = {}

    def stop(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self.running.stop(0)
        self.pool.shutdown()
        self.engine.dispose()

    def signer(self, name: str, key: Ed25519PrivateKey | None = None) -> Signer:
        return Signer(name, SignerRole(name.partition("/")[0]), public_bytes(key or self.keys[name]))

    def channel(self, name: str) -> grpc.Channel:
        if name not in self._channels:
            who = identity(self.certificates, name.replace("/", "-"))
            self._channels[name] = open_channel(self.running.address, who)
        return self._channels[name]

    def client(self, name: str) -> KeyAdministrationClient:
        return KeyAdministrationClient(self.channel(name))

    def change(self, action: Action = Action.ACTIVATE, **fields: Any) -> Change:
        """Return a change by custodian/a: by default the activation of version 2 of both kinds."""
        keys = tuple(KeyVersionName(DOMAIN, kind, 2) for kind in (Kind.CPR, Kind.REPLACEMENT))
        now = self.clock()
        change = Change(
            str(uuid.uuid4()), LOG, action, "Yearly rotation", "custodian/a", now, now + timedelta(days=7), keys
        )
        return replace(change, **fields)

    def propose(self, change: Change, by: str = "custodian/a", **signed: Any) -> Standing:
        document = change.document()
        return self.client(by).propose(document, self.signature(Verb.PROPOSE, by, document, **signed))

    def approve(self, change: Change, by: str, **signed: Any) -> Standing:
        signature = self.signature(Verb.APPROVE, by, change.document(), **signed)
        return self.client(by).approve(change.change_id, signature)

    def apply(self, change: Change, by: str = "custodian/a") -> Standing:
        return self.client(by).apply(change.change_id)

    def signature(
        self, verb: Verb, by: str, document: bytes, *, key: Ed25519PrivateKey | None = None, name: str = ""
    ) -> bytes:
        """Sign as `by`, or with another key or in another name."""
        return sign(key or self.keys[by], verb, name or by, document)

    def carry_out(self, change: Change) -> Standing:
        """Propose, approve and apply a change as it should be done."""
        self.propose(change)
        self.approve(change, "custodian/b")
        self.approve(change, "reviewer/r")
        return self.apply(change)

    def states(self) -> dict[tuple[str, int], str]:
        """Return (kind, version) → state of every key."""
        found = self.client("dpo/dpo").keys(DOMAIN)
        return {(key.name.kind.value, key.name.version): key.state for key in found}

    def log(self) -> list[dict[str, Any]]:
        """Return the log's entries, their evidence read."""
        entries = self.audit.entries(limit=10_000)
        return [{**one, "evidence": json.loads(one["evidence"]) if one.get("evidence") else {}} for one in entries]

    def last(self, method: str) -> dict[str, Any]:
        """Return the last entry of a method."""
        return [one for one in self.log() if one["rpc"].endswith(f"/{method}")][-1]


def started(folder: Path, certificates: Path) -> Iterator[SigningService]:
    """Yield a running service with a pending version 2 of both keys; stop it."""
    found = SigningService(folder, certificates)
    for kind in (Kind.CPR, Kind.REPLACEMENT):
        found.client("custodian/a").create(DOMAIN, kind)
    yield found
    found.stop()


def refused(call: Callable[[], object]) -> KinlinkError:
    """Return the error that a call ends with."""
    with pytest.raises(KinlinkError) as caught:
        call()
    return caught.value


READY = {("cpr", 1): "active", ("cpr", 2): "pending", ("replacement", 1): "active", ("replacement", 2): "pending"}
"""How keys stand in a service that has `started`."""
