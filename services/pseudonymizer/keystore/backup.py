"""A backup of the key store: its tables as they are, sealed; no key in it can be read without the key-encryption key.

1. One file of JSON: the sealed rows, the people and their changes, and the history, whose newest document
   names the generation and is what a restore is approved for.
2. Reading it proves nothing: the ceremony does (`restore`).
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, LargeBinary, Table, delete, insert, select

from pseudonymizer import signers
from pseudonymizer.keystore import history, tables, wrappings
from pseudonymizer.keystore.encryption_keys import KeyStoreError
from pseudonymizer.keystore.history import Document

_FORM: Final = "kinlink-keystore-backup-v1"
_TABLES: Final[tuple[Table, ...]] = (  # those that others point at come first
    tables.head,
    tables.keys,
    tables.uses,
    tables.attestations,
    history.history,
    wrappings.versions,
    signers.genesis_table,
    signers.signers_table,
    signers.changes,
    signers.approvals,
    signers.forgotten,
)
Rows = Mapping[str, list[dict[str, Any]]]


def write(connection: Connection) -> bytes:
    """Return the file; the connection reads one consistent state."""
    rows = {table.name: [_encoded(row) for row in connection.execute(select(table)).mappings()] for table in _TABLES}
    return json.dumps({"form": _FORM, "tables": rows}, sort_keys=True, indent=1).encode() + b"\n"


def read(content: bytes) -> Rows:
    """Return the rows of a file, by table. Raises KeyStoreError when it is no backup."""
    try:
        values = json.loads(content)
        if values["form"] != _FORM or set(values["tables"]) != {table.name for table in _TABLES}:
            raise KeyStoreError("this backup is of another version of kinlink; restore with that one")
        return {
            table.name: [
                {column.name: _decoded(column.type, row[column.name]) for column in table.columns}
                for row in values["tables"][table.name]
            ]
            for table in _TABLES
        }
    except (ValueError, KeyError, TypeError) as error:
        raise KeyStoreError("this is not a backup of a key store") from error


def document(rows: Rows) -> Document:
    """Return the newest generation in a backup. Raises KeyStoreError when it holds none."""
    found = [history.parse(row["document"]) for row in rows[history.history.name]]
    if not found:
        raise KeyStoreError("this backup holds no generation of a key store")
    return max(found, key=lambda one: one.generation)


def load(connection: Connection, rows: Rows) -> None:
    """Put the rows in the place of those in the database."""
    for table in reversed(_TABLES):
        connection.execute(delete(table))
    for table in _TABLES:
        if rows[table.name]:
            connection.execute(insert(table), rows[table.name])


def _encoded(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: b64encode(value).decode() if isinstance(value, bytes) else value for name, value in row.items()}


def _decoded(kind: Any, value: Any) -> Any:
    return b64decode(value, validate=True) if isinstance(kind, LargeBinary) and value is not None else value
