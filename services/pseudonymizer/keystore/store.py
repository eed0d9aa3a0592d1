"""The sealed key store: a table in the service's state database.

1. Each key is random, independent of all others, and sealed with AES-256-GCM under a data key
   of its own, which the key-encryption key wraps.
2. The associated data is (domain, kind, version, suite, generation): a row moved, renamed or
   put back from an older generation does not open.
3. A public check value scalar·G stands beside each key, so that an opened key can be proven
   the right one.
4. Opening makes the keys of declared domains that have none: version 1, active, each with an audit entry.

*Guarantee:* a keyset is returned only if every key of the declared domains opened and
matches its check value. It does not know grants or callers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    Table,
    Text,
    func,
    insert,
    select,
    text,
)

from kinlink import ristretto255
from kinlink.pseudonyms import Kind, Suite
from pseudonymizer.keyset import Key, KeyName, Keyset
from pseudonymizer.keystore.encryption_keys import KeyEncryptionKey, KeyStoreError, wrapping_version
from pseudonymizer.lifecycle import KeyState
from servicekit.audit import AuditEntry, AuditLog
from servicekit.database import read

_NONCE_SIZE: Final = 12
_LOCK: Final = 7_310_151  # any constant that no other advisory lock uses

_keys = Table(
    "pseudonymisation_keys",
    MetaData(),
    Column("domain", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("suite", Text),
    Column("state", Text),
    Column("generation", Integer),
    Column("wrapping_version", Text),
    Column("wrapped_key", LargeBinary),
    Column("sealed", LargeBinary),
    Column("check_value", LargeBinary),
    Column("created_at", Text),
)


def is_empty(engine: Engine) -> bool:
    """Say whether no key was ever made in this database."""
    with read(engine) as connection:
        return connection.execute(select(func.count()).select_from(_keys)).scalar_one() == 0


class KeyStore:
    """Opens and makes keys of one suite."""

    def __init__(self, engine: Engine, kek: KeyEncryptionKey, suite: Suite, audit: AuditLog) -> None:
        """Use `engine`, whose tables are migrated."""
        self._engine = engine
        self._kek = kek
        self._suite = suite
        self._audit = audit

    def open(self, lines: Iterable[tuple[str, Kind]]) -> Keyset:
        """Return the keys of these lines (domain, kind), making those that have none.

        Raises:
            KeyStoreError: the store belongs to another suite or key-encryption key, or a row was changed.
        """
        wanted = list(lines)
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            rows = self._rows(connection, wanted)  # opened before anything is made under the same key
            keys = [self._unseal(row) for row in rows if row["state"] != KeyState.DESTROYED]
            held = {(row["domain"], row["kind"]) for row in rows}
            keys += [self._create(connection, KeyName(*line, 1)) for line in wanted if line not in held]
        return Keyset(keys)

    def _rows(self, connection: Connection, lines: list[tuple[str, Kind]]) -> list[RowMapping]:
        rows = connection.execute(select(_keys)).mappings().all()
        if any(row["suite"] != self._suite for row in rows):
            raise KeyStoreError("this key store was made for another suite; never mix real and synthetic data")
        return [row for row in rows if (row["domain"], row["kind"]) in lines]

    def _create(self, connection: Connection, name: KeyName) -> Key:
        scalar = ristretto255.random_scalars(1)
        row: dict[str, Any] = {
            "domain": name.domain,
            "kind": name.kind.value,
            "version": name.version,
            "suite": self._suite.value,
            "state": KeyState.ACTIVE.value,
            "generation": 1,
            "check_value": ristretto255.multiply_base(scalar),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        data_key, nonce = AESGCM.generate_key(256), os.urandom(_NONCE_SIZE)
        row["wrapped_key"] = self._kek.wrap(data_key)
        row["wrapping_version"] = wrapping_version(row["wrapped_key"])
        row["sealed"] = nonce + AESGCM(data_key).encrypt(nonce, scalar, _associated(row))
        connection.execute(insert(_keys).values(row))
        entry = AuditEntry("key.create", "", "ok", subject=name.domain, kind=name.kind, key_version=name.version)
        self._audit.append(entry, connection)
        return Key(name, KeyState.ACTIVE, scalar)

    def _unseal(self, row: RowMapping) -> Key:
        name = KeyName(row["domain"], Kind(row["kind"]), row["version"])
        cipher = AESGCM(self._kek.unwrap(row["wrapped_key"]))
        sealed = row["sealed"]
        try:
            scalar = cipher.decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], _associated(row))
        except InvalidTag as error:
            raise KeyStoreError(
                f"the sealed key of {name.domain} ({name.kind}) was changed; restore a backup"
            ) from error
        if ristretto255.multiply_base(scalar) != row["check_value"]:
            raise KeyStoreError(f"the key of {name.domain} ({name.kind}) is not the one its check value names")
        return Key(name, KeyState(row["state"]), scalar)


def _associated(row: RowMapping | dict[str, Any]) -> bytes:
    parts = ("kinlink key", row["domain"], row["kind"], row["version"], row["suite"], row["generation"])
    return "\n".join(map(str, parts)).encode()
