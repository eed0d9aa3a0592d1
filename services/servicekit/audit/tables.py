"""How the log lies in the state database.

An entry's row holds its hash and, behind it, the hashes of the subtrees that the entry completed,
one a level: entry 7 ends subtrees of 2, 4 and 8 leaves and so holds four hashes. So an append is
one row, and node (level, index) is found in the row of its last leaf. The head holds the
tree's size and the hashes of the subtrees it consists of; whoever appends locks it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Table, Text, select

from kinlink.audit.merkle import HASH_BYTES, Frontier

_METADATA: Final = MetaData()

entries = Table(
    "audit_entries",
    _METADATA,
    Column("entry_index", BigInteger, primary_key=True),
    Column("recorded_at", Text),  # as in the entry; for queries over a time
    Column("entry", LargeBinary),  # canonical bytes
    Column("hashes", LargeBinary),
)
head = Table(
    "audit_head",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("size", BigInteger),
    Column("hashes", LargeBinary),
    Column("recorded_at", Text),  # of the last entry; time does not go back in a log
)
checkpoints = Table(
    "audit_checkpoints",
    _METADATA,
    Column("size", BigInteger, primary_key=True),
    Column("signed_at", Text),
    Column("note", Text),
)
cosignatures = Table(
    "audit_cosignatures",
    _METADATA,
    Column("size", BigInteger, primary_key=True),
    Column("witness", Text, primary_key=True),
    Column("line", Text),
)
witnessed = Table(
    "audit_witnessed",
    _METADATA,
    Column("origin", Text, primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("signed_at", Text),
    Column("note", Text),
)

LOCK_HEAD: Final = select(head.c.size, head.c.hashes, head.c.recorded_at).with_for_update()
READ_HEAD: Final = select(head.c.size, head.c.hashes)


class DamagedError(Exception):
    """What lies in the database is not a log."""


def frontier(size: int, hashes: bytes | str) -> Frontier:
    """Return the frontier that the head holds. Raises DamagedError when it is none."""
    found = hashes.encode() if isinstance(hashes, str) else bytes(hashes)  # SQLite holds any type in any column
    try:
        return Frontier(size, [found[at : at + HASH_BYTES] for at in range(0, len(found), HASH_BYTES)])
    except ValueError as error:
        raise DamagedError("the log's head is not that of its entries") from error


class StoredTree:
    """The nodes of the tree as they lie in the database."""

    def __init__(self, connection: Connection) -> None:
        """Read through `connection`; one that reads one consistent state, or holds the head's lock."""
        self._connection = connection
        self._rows: dict[int, bytes] = {}

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a node, in the form `kinlink.audit.merkle` asks for.

        Raises:
            DamagedError: the row of its last leaf is not there, or does not hold it.
        """
        last = ((index + 1) << level) - 1
        if last not in self._rows:
            query = select(entries.c.hashes).where(entries.c.entry_index == last)
            self._rows[last] = bytes(self._connection.execute(query).scalar() or b"")
        found = self._rows[last][level * HASH_BYTES : (level + 1) * HASH_BYTES]
        if len(found) != HASH_BYTES:
            raise DamagedError(f"entry {last} is not in the log, or without its hashes")
        return found
