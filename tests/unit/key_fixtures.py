"""Key stores for tests: a key-encryption key in a file beside the database, as in development."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore.encryption_keys import open_key_encryption_key
from pseudonymizer.keystore.store import KeyStore, is_empty
from pseudonymizer.lifecycle import Transition
from pseudonymizer.policy import Policy
from servicekit import database
from servicekit.audit import AuditLog


def database_in(folder: Path) -> Engine:
    """Return a new SQLite database with the pseudonymizer's tables."""
    engine = database.engine(f"sqlite:///{folder}/state.db")
    database.migrate(engine, "pseudonymizer")
    return engine


def keystore(engine: Engine, policy: Policy, folder: Path | None = None) -> KeyStore:
    """Return an open key store of a policy's lines; its key-encryption key lies in `folder` or beside the database."""
    beside = folder or Path(str(engine.url.database)).parent
    kek = open_key_encryption_key("file:kek", beside, first_start=is_empty(engine))
    store = KeyStore(engine, kek, policy.suite, AuditLog(engine), holders=policy.holders)
    store.open(policy.key_lines())
    return store


def apply(store: KeyStore, transition: Transition, *names: KeyName, accept_loss: bool = False) -> None:
    """Take versions through a transition."""
    with store.change() as connection:
        store.transition(connection, names, transition, datetime.now(UTC), accept_loss=accept_loss)


def rotate(store: KeyStore, name: KeyName) -> KeyName:
    """Make and activate the next version of the line of `name`; return it."""
    with store.change() as connection:
        made = store.create(connection, name.domain, name.kind).name
    apply(store, Transition.ACTIVATE, made)
    return made
