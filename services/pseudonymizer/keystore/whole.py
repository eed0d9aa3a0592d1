"""The key store as one: proven by its seal before it is used or changed, and sealed as what a change meant it to be.

1. The seal covers the manifest: every version ever made, and the people who may sign. It holds for one generation.
2. What is sealed at the end of a change is what was proven at its begin and what was done since (`Meant`), and only if
   the rows say the same: what a trigger or another session wrote meanwhile is not sealed, and the change is refused.

Works inside the caller's transaction.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, insert, select, update

from kinlink.pseudonyms import Suite
from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore import tables
from pseudonymizer.keystore.encryption_keys import KeyStoreError
from pseudonymizer.keystore.manifest import KeyVersionRow, Manifest, manifest
from pseudonymizer.keystore.sealing import Sealer

CHANGED: Final = "the key store was changed by something else than this service; restore a backup"


@dataclass(slots=True)
class Meant:
    """What is to be sealed at the end of a transaction: what was proven at its begin, and what was done since."""

    versions: dict[KeyName, KeyVersionRow]
    people: bytes


class Whole:
    """Proves and seals a store of one suite."""

    def __init__(self, sealer: Sealer, suite: Suite, people: Callable[[Connection], bytes]) -> None:
        """Seal with `sealer`; `people` reads who may sign, as canonical JSON."""
        self._sealer = sealer
        self._suite = suite
        self._people = people

    def begin(self, connection: Connection) -> tuple[Manifest, Meant]:
        """Prove the store, or make an empty one; return it with what is meant to become of it: as yet, the same.

        Raises:
            KeyStoreError: the store was changed, or was made for another suite.
        """
        found = rows(connection)
        if _head(connection) is None and not found:
            connection.execute(insert(tables.head).values(only=1, mac=b"", **self._sealer.new_head()))
            return Manifest(0, b""), Meant({}, self._people(connection))
        return self.prove(connection, found)

    def prove(self, connection: Connection, found: Sequence[RowMapping]) -> tuple[Manifest, Meant]:
        """Prove the rows of a store. Raises as `begin`."""
        known, head = versions(found), _head(connection)
        if any(version.suite is not self._suite for version in known):
            raise KeyStoreError("this key store was made for another suite; never mix real and synthetic data")
        if head is None:
            raise KeyStoreError(CHANGED)
        people = self._people(connection)
        stands = manifest(self._suite, head["generation"], known, sha256(people).digest())
        if not hmac.compare_digest(self._sealer.mac(head, stands), bytes(head["mac"])):
            raise KeyStoreError(CHANGED)
        return stands, Meant({version.name: version for version in known}, people)

    def seal(self, connection: Connection, before: Manifest, meant: Meant, *, always: bool) -> Manifest:
        """Seal what is meant at the next generation; return that, or `before` where nothing changed, unless `always`.

        Raises:
            KeyStoreError: the rows are not what is meant.
        """

        def at(generation: int) -> Manifest:
            return manifest(self._suite, generation, meant.versions.values(), sha256(meant.people).digest())

        people = sha256(self._people(connection)).digest()
        if manifest(self._suite, before.generation, versions(rows(connection)), people) != at(before.generation):
            raise KeyStoreError(CHANGED)
        if not always and at(before.generation) == before:
            return before
        after, head = at(before.generation + 1), _head(connection)
        if head is None:
            raise KeyStoreError(CHANGED)
        mac = self._sealer.mac(head, after)
        connection.execute(update(tables.head).values(generation=after.generation, mac=mac))
        return after


def rows(connection: Connection) -> list[RowMapping]:
    """Return the rows of all versions ever made, by domain, kind and version, as the database has them."""
    keys = tables.keys
    query = select(keys).order_by(keys.c.domain, keys.c.kind, keys.c.version)
    return list(connection.execute(query).mappings().all())


def versions(found: Sequence[Mapping[Any, Any]]) -> list[KeyVersionRow]:
    """Return the versions of rows, without keys. Raises KeyStoreError for rows that this service did not write."""
    try:
        return [KeyVersionRow.of_row(row) for row in found]
    except (ValueError, TypeError, KeyError) as error:
        raise KeyStoreError(CHANGED) from error


def _head(connection: Connection) -> RowMapping | None:
    return connection.execute(select(tables.head)).mappings().one_or_none()
