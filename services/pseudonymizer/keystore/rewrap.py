"""Wraps every key anew: after a rotation of the key-encryption key, or a move to another provider.

1. One transaction, with one entry in the log: all of the store stands under the newest version afterwards, or
   nothing has changed. Repeating it is harmless.
2. Only what wraps the data keys is changed, not the keys nor what is sealed over them; the generation moves, so that
   every replica reads the store again and proves that it can.
3. Every key is opened with the new key-encryption key alone before the transaction ends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, select, update

from pseudonymizer.keystore import erasure, tables, wrappings
from pseudonymizer.keystore.encryption_keys import KeyEncryptionKey, KeyStoreError, wrapping_version
from pseudonymizer.keystore.sealing import Sealer
from pseudonymizer.keystore.store import KeyStore
from servicekit.audit import AuditEntry, AuditLog
from servicekit.database import read


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """How many keys were wrapped anew, from which versions to which; `count` is 0 when all stood there."""

    count: int
    before: tuple[str, ...]
    version: str


def rewrap(engine: Engine, store: KeyStore, old: KeyEncryptionKey, new: KeyEncryptionKey, audit: AuditLog) -> Rewrapped:
    """Wrap with `new` what `old` unwraps; `store` was made with a key that unwraps both.

    Raises:
        UnavailableError: as `KeyStore.change`. KeyStoreError: a key does not open; nothing is changed.
    """
    with read(engine) as connection:
        before = tuple(sorted(wrappings.in_use(connection)))
    if before == (new.version,):
        return Rewrapped(0, before, new.version)
    with store.change(always=True) as connection:
        wrapped = new.wrap(old.unwrap(bytes(connection.execute(select(tables.head.c.wrapped_key)).scalar_one())))
        connection.execute(update(tables.head).values(wrapped_key=wrapped, wrapping_version=wrapping_version(wrapped)))
        sealer = Sealer(new)
        rows = [_wrapped_anew(dict(row), old, new) for row in connection.execute(select(tables.keys)).mappings()]
        for row in rows:
            if row["wrapped_key"] is not None:
                sealer.unseal(row)
                _put(connection, row)
        erasure.rewrite(connection, rows)
        after = wrappings.in_use(connection)
        if len(after) != 1:
            raise KeyStoreError("kek: its version changed while keys were wrapped; nothing was changed, run it again")
        version = after.pop()
        count = sum(row["wrapped_key"] is not None for row in rows)
        proof = json.dumps({"from": before, "to": version}, sort_keys=True, separators=(",", ":"))
        audit.append(AuditEntry("kek.rewrap", "", "ok", count=count, evidence=proof), connection)
    erasure.finish(engine)
    return Rewrapped(count, before, version)


def _wrapped_anew(row: dict[str, Any], old: KeyEncryptionKey, new: KeyEncryptionKey) -> dict[str, Any]:
    if row["wrapped_key"] is None:
        return row
    wrapped = new.wrap(old.unwrap(bytes(row["wrapped_key"])))
    return {**row, "wrapped_key": wrapped, "wrapping_version": wrapping_version(wrapped)}


def _put(connection: Connection, row: dict[str, Any]) -> None:
    keys = tables.keys.c
    here = (keys.domain == row["domain"]) & (keys.kind == row["kind"]) & (keys.version == row["version"])
    wrapped = {name: row[name] for name in ("wrapped_key", "wrapping_version")}
    connection.execute(update(tables.keys).where(here).values(wrapped))
