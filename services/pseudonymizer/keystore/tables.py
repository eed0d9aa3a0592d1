"""The key store's tables in the service's state database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Table, Text, select

_metadata = MetaData()
_LINE_AND_VERSION = (("domain", Text), ("kind", Text), ("version", Integer))

keys = Table(
    "pseudonymisation_keys",
    _metadata,
    *(Column(name, type_, primary_key=True) for name, type_ in _LINE_AND_VERSION),
    Column("suite", Text),
    Column("state", Text),
    Column("generation", BigInteger),  # of the store, when the row was sealed
    Column("wrapping_version", Text),
    Column("wrapped_key", LargeBinary),  # null once destroyed, and so is `sealed`
    Column("sealed", LargeBinary),
    Column("check_value", LargeBinary),
    *(Column(name, Text) for name in ("created_at", "state_since", "activated_at", "compromised_at")),
)
head = Table(
    "keystore_head",
    _metadata,
    Column("only", Integer, primary_key=True),
    Column("generation", BigInteger),
    Column("wrapping_version", Text),
    Column("wrapped_key", LargeBinary),  # the key of `mac`
    Column("mac", LargeBinary),  # over the manifest
)
# Who used a retiring version last, and which holders are done with it. Written by doors and attestations; what is
# attested stands in the audit log too.
uses = Table(
    "key_uses",
    _metadata,
    *(Column(name, type_, primary_key=True) for name, type_ in _LINE_AND_VERSION),
    Column("caller", Text, primary_key=True),
    Column("used_at", Text),
)
attestations = Table(
    "key_attestations",
    _metadata,
    *(Column(name, type_, primary_key=True) for name, type_ in _LINE_AND_VERSION),
    Column("holder", Text, primary_key=True),
    Column("attested_at", Text),  # null: not, or not since the holder used the version again
    Column("held", BigInteger),
    Column("converted", BigInteger),
    Column("sample_size", Integer),
)
_GENERATION = select(head.c.generation)


def generation(connection: Connection) -> int:
    """Return the store's generation: it grows with every change. One row; 0 where there is none."""
    return int(connection.execute(_GENERATION).scalar() or 0)
