"""One key version's row: made with its key, and taken through a step of its life. The key stands in it sealed.

Works inside the caller's transaction; whether a step may be, `plan` has said.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from kinlink.pseudonyms import Suite
from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore import tables
from pseudonymizer.keystore.encryption_keys import KeyStoreError
from pseudonymizer.keystore.key_material import check_value, new_secret
from pseudonymizer.keystore.manifest import KeyVersionRow
from pseudonymizer.keystore.sealing import Sealer
from pseudonymizer.keystore.whole import CHANGED, versions
from pseudonymizer.lifecycle import KeyState, Transition, rule


def make(
    connection: Connection, sealer: Sealer, suite: Suite, name: KeyName, state: KeyState, at: datetime
) -> KeyVersionRow:
    """Make a version with a new random key; return its row without the key."""
    secret, now = new_secret(name.kind), at.isoformat()
    row = {
        "domain": name.domain,
        "kind": name.kind.value,
        "version": name.version,
        "suite": suite.value,
        "state": state.value,
        "generation": tables.generation(connection) + 1,
        "check_value": check_value(name.kind, secret),
        "created_at": now,
        "state_since": now,
        "activated_at": now if state is KeyState.ACTIVE else None,
        "compromised_at": None,
    }
    row = sealer.seal(row, secret)
    connection.execute(insert(tables.keys).values(row))
    return KeyVersionRow.of_row(row)


def take(
    connection: Connection, sealer: Sealer, version: KeyVersionRow, step: Transition, at: datetime
) -> KeyVersionRow:
    """Take a version through a step; destroyed, its row stays without the key. Return the row as it is then.

    Raises:
        KeyStoreError: the row is not `version` as it was proven.
    """
    keys, name = tables.keys.c, version.name
    here = (keys.domain == name.domain) & (keys.kind == name.kind.value) & (keys.version == name.version)
    row = dict(connection.execute(select(tables.keys).where(here)).mappings().one())
    if versions([row]) != [version]:
        raise KeyStoreError(CHANGED)
    state = rule(step).after
    secret = b"" if state is KeyState.DESTROYED else sealer.unseal(row).scalar
    row |= {"state": state.value, "state_since": at.isoformat(), "generation": tables.generation(connection) + 1}
    if step is Transition.ACTIVATE:
        row["activated_at"] = at.isoformat()
    if step is Transition.COMPROMISE:
        row["compromised_at"] = at.isoformat()
    if state is KeyState.DESTROYED:
        row |= {"wrapped_key": None, "sealed": None, "wrapping_version": ""}
    else:
        row = sealer.seal(row, secret)
    connection.execute(update(tables.keys).where(here).values(row))
    return KeyVersionRow.of_row(row)
