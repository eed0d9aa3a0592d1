"""A pseudonymizer's files for tests of its key store: settings, policy, people with their keys, anchors, log.

What the service does at its start and when it changes keys is done here in this process, without a server.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from kinlink import genesis as genesis_form
from kinlink.approval_keys import new_key, public_bytes
from kinlink.approvals import Verb, sign
from kinlink.audit.export import Header, Leaf
from kinlink.audit.export import write as write_export
from kinlink.change_document import Signer, SignerRole
from kinlink.pseudonyms import Kind
from kinlink.signed_change import Signature, SignedChange
from pseudonymizer import commands, genesis, signers
from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore.anchored import GenerationAnchors
from pseudonymizer.keystore.encryption_keys import open_key_encryption_key
from pseudonymizer.keystore.store import KeyStore, is_empty
from pseudonymizer.lifecycle import Transition
from pseudonymizer.people import People
from pseudonymizer.policy import Policy
from pseudonymizer.settings import PseudonymizerSettings
from servicekit import database
from servicekit.anchors import open_anchors
from servicekit.audit import AuditLog
from servicekit.audit.checkpoints import Checkpoints, open_key
from servicekit.database import read

CPR = ("source/prisme", Kind.CPR)
LINKAGE = ("linkage/familie", Kind.CPR)
PEOPLE = ("custodian/a", "custodian/b", "reviewer/r")
_POLICY = {
    "suites": ["synthetic"],
    "domain": [
        {"name": "source/prisme", "kinds": ["cpr", "replacement"]},
        {"name": "linkage/familie", "kinds": ["cpr"]},
    ],
    "rotation": {"backups_kept_days": 30},
}


class Place:
    """One deployment, in a folder."""

    def __init__(self, folder: Path, kek: str = "file:kek", anchors: Sequence[str] = ("file:anchors",)) -> None:
        self.folder = folder
        self._engine: Engine | None = None
        self.people: dict[str, Ed25519PrivateKey] = {name: new_key() for name in PEOPLE}
        (folder / "policy.toml").write_text(tomli_w.dumps(_POLICY))
        (folder / "genesis.toml").write_text(genesis_form.file_of(map(self.signer, PEOPLE)))
        self.config = folder / "settings.toml"
        self.set(kek=kek, anchors=list(anchors))

    def set(self, **values: Any) -> None:
        """Write the settings."""
        told = {
            "certificate": "service.pem",
            "key": "service.key",
            "ca": "ca.pem",
            "trust_domain": "kinlink.test",
            "database_url": "sqlite:///state.db",
            "policy": "policy.toml",
            "genesis": "genesis.toml",
        }
        self.values = {**told, **getattr(self, "values", {}), **values}
        self.config.write_text(tomli_w.dumps({name: value for name, value in self.values.items() if value is not None}))

    @property
    def settings(self) -> PseudonymizerSettings:
        return PseudonymizerSettings.load(self.config)

    def copy(self, folder: Path) -> Place:
        """Return the same deployment in another folder."""
        self.close()
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        made = copy(self)
        made.folder, made.config, made._engine = folder, folder / self.config.name, None
        return made

    def engine(self) -> Engine:
        """Open the database."""
        if self._engine is None:
            self._engine = database.engine(self.settings.database_url)
            database.migrate(self._engine, "pseudonymizer")
        return self._engine

    def close(self) -> None:
        """Close the database."""
        if self._engine is not None:
            self._engine.dispose()

    def start(self, anchors: Sequence[str] | None = None) -> KeyStore:
        """Open the key store as the service does at its start."""
        settings, engine = self.settings, self.engine()
        audit = AuditLog(engine)
        genesis.begin(settings.genesis, engine, audit, lambda: datetime.now(UTC))
        kek = open_key_encryption_key(
            settings.kek, self.folder, first_start=is_empty(engine), previous_uri=settings.kek_previous
        )
        generations = GenerationAnchors(
            engine, open_anchors(settings.anchors if anchors is None else anchors, self.folder)
        )
        policy = Policy.load(settings.policy)
        store = KeyStore(engine, kek, policy.suite, audit, anchors=generations)
        store.open(policy.key_lines())
        return store

    def start_anew(self) -> KeyStore:
        """Start without any anchor, as somebody does who has the machine but not the second place."""
        return self.start(anchors=[])

    def begin(self) -> KeyStore:
        """Start for the first time, and let the log be signed and anchored."""
        store = self.start()
        self.anchor_log()
        return store

    def anchor_log(self) -> int:
        """Sign the log and anchor its checkpoint; return its size."""
        engine, settings = self.engine(), self.settings
        anchors = open_anchors(settings.anchors, self.folder)
        key = open_key(settings.log_key, may_create=True)
        audit = AuditLog(engine)
        checkpoints = Checkpoints(engine, audit, key, "kinlink.test/pseudonymizer", anchors)
        note = checkpoints.sign()
        for anchor in anchors:
            anchor.write(f"pseudonymizer/checkpoint/{audit.size():020}", note.encode())
        return audit.size()

    def export_log(self, path: Path) -> None:
        """Export the whole log."""
        engine = self.engine()
        audit = AuditLog(engine)
        leaves = [Leaf(kept, content) for page in audit.stored(0, audit.size()) for content, kept in page]
        with path.open("wb") as file:
            write_export(file, Header("kinlink.test/pseudonymizer", ""), leaves, [])

    def keep(self, name: str) -> Path:
        """Copy the database, as a backup of it would be."""
        _copy(self.folder / "state.db", self.folder / f"{name}.db")
        return self.folder / f"{name}.db"

    def put_back(self, kept: Path) -> None:
        """Put a copy in the database's place, also under a running service."""
        _copy(kept, self.folder / "state.db")

    def signer(self, name: str) -> Signer:
        """Return a person as enrolled."""
        return Signer(name, SignerRole(name.partition("/")[0]), public_bytes(self.people[name]))

    def sign(self, path: Path, proposer: str, *approvers: str) -> None:
        """Sign a change in a file, one after the other."""
        signed = SignedChange.parse(path.read_bytes())
        for verb, name in [(Verb.PROPOSE, proposer), *((Verb.APPROVE, one) for one in approvers)]:
            signed = signed.signed(Signature(verb, name, sign(self.people[name], verb, name, signed.document)))
        path.write_bytes(signed.to_bytes())

    def run(self, command: str, *arguments: object) -> int:
        """Run `kinlink keystore <command>`."""
        return commands.keystore([command, "--config", str(self.config), *map(str, arguments)])

    def log(self) -> list[dict[str, Any]]:
        """Return the entries of the log."""
        return AuditLog(self.engine()).entries()

    def states(self) -> dict[tuple[str, str, int], str]:
        """Return the state of each key version, as the rows say."""
        engine = self.engine()
        with read(engine) as connection:
            rows = connection.exec_driver_sql("SELECT domain, kind, version, state FROM pseudonymisation_keys").all()
        return {(row.domain, row.kind, row.version): row.state for row in rows}

    def enrol(self, store: KeyStore, name: str, change_id: str) -> None:
        """Enrol one more person, as an applied change does."""
        self.people[name] = new_key()
        change_people(store, lambda people: people.with_enrolled(self.signer(name), change_id, datetime.now(UTC)))

    def remove(self, store: KeyStore, name: str) -> None:
        """Remove a person, as an applied change does."""
        change_people(store, lambda people: people.with_removed(self.signer(name), datetime.now(UTC)))


def change_people(store: KeyStore, become: Callable[[People], People]) -> None:
    """Let the people become others, as an applied change does."""
    with store.change() as connection:
        before = People.parse(store.people(connection))
        after = become(before)
        signers.store(connection, before, after)
        store.people_become(connection, after.content)


def rotate(store: KeyStore, line: tuple[str, Kind] = CPR) -> KeyName:
    """Make and activate the next version of a line; return it."""
    with store.change() as connection:
        made = store.create(connection, *line).name
    take(store, Transition.ACTIVATE, made)
    return made


def take(store: KeyStore, transition: Transition, name: KeyName) -> None:
    """Take a version through a transition."""
    with store.change() as connection:
        store.transition(connection, [name], transition, datetime.now(UTC), accept_loss=True)


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)
