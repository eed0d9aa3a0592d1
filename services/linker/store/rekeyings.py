"""What is known of each rekeying, and of each key version that it carried everything away from.

1. One row a request id.
2. A key version with a row in `rekeyed_keys` is closed: nothing of it is held, and nothing
   may arrive. The row is written in the transaction that finds it so.
3. On PostgreSQL closing a version and taking in a delivery under it wait for each other
   (`alone`); on SQLite every writer is alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from linker.store.state import REKEYED_KEYS, REKEYINGS, RunState, now

_CLOSING_LOCK = 0x6B696E6B  # "kink"


class Stage(StrEnum):
    """The stages of a rekeying, in order."""

    CONVERSION = "conversion"
    REKEYING = "rekeying"
    SWITCH = "switch"
    ATTESTATION = "attestation"


@dataclass(frozen=True, slots=True)
class RekeyedKey:
    """What was done for a key version; kind is a word.

    `to_version` 0: nothing was ever held. `sample_from` and `sample_to` are blinded alike, 32·n
    bytes in one order, and empty once nobody asks for them any more.
    """

    domain: str
    kind: str
    from_version: int
    to_domain: str
    to_version: int
    held: int
    converted: int
    sample_from: bytes = b""
    sample_to: bytes = b""
    sample_size: int = 0
    attested_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rekeying:
    """A rekeying as it stands."""

    rekeying_id: str
    request_id: str
    state: RunState
    stage: Stage
    done: int
    total: int
    reason: str
    message: str
    snapshot: int | None
    started_at: datetime
    ended_at: datetime | None
    keys: Sequence[RekeyedKey]


_KEY_COLUMNS = [c for c in REKEYED_KEYS.c if c.name not in ("rekeying_id", "closed_at")]


def _keys(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> tuple[RekeyedKey, ...]:
    order = (REKEYED_KEYS.c.domain, REKEYED_KEYS.c.kind, REKEYED_KEYS.c.from_version)
    rows = connection.execute(sa.select(*_KEY_COLUMNS).where(*where).order_by(*order))
    return tuple(RekeyedKey(**row) for row in rows.mappings())


def _find(connection: sa.Connection, query: sa.Select[Any]) -> Rekeying | None:
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    values = dict(row)
    state, stage = RunState(values.pop("state")), Stage(values.pop("stage"))
    keys = _keys(connection, REKEYED_KEYS.c.rekeying_id == values["rekeying_id"])
    return Rekeying(state=state, stage=stage, keys=keys, **values)


def get(connection: sa.Connection, rekeying_id: str) -> Rekeying | None:
    """Return a rekeying; the newest for an empty id."""
    if rekeying_id:
        return _find(connection, sa.select(REKEYINGS).where(REKEYINGS.c.rekeying_id == rekeying_id))
    return _find(connection, sa.select(REKEYINGS).order_by(REKEYINGS.c.started_at.desc()).limit(1))


def of_request(connection: sa.Connection, request_id: str) -> Rekeying | None:
    """Return the rekeying that this request started."""
    return _find(connection, sa.select(REKEYINGS).where(REKEYINGS.c.request_id == request_id))


def running(connection: sa.Connection) -> Rekeying | None:
    """Return the rekeying that is under way."""
    return _find(connection, sa.select(REKEYINGS).where(REKEYINGS.c.state == RunState.RUNNING))


def start(connection: sa.Connection, request_id: str) -> str:
    """Note a new rekeying; return its id."""
    rekeying_id = str(uuid.uuid4())
    nothing = {"state": RunState.RUNNING, "stage": Stage.CONVERSION, "done": 0, "total": 0, "reason": "", "message": ""}
    connection.execute(
        REKEYINGS.insert().values(rekeying_id=rekeying_id, request_id=request_id, started_at=now(), **nothing)
    )
    return rekeying_id


def change(connection: sa.Connection, rekeying_id: str, **values: Any) -> None:
    """Set columns of a rekeying."""
    connection.execute(REKEYINGS.update().where(REKEYINGS.c.rekeying_id == rekeying_id).values(**values))


def interrupt_all(connection: sa.Connection, reason: str, message: str) -> None:
    """Note that no rekeying is under way any more."""
    connection.execute(
        REKEYINGS.update()
        .where(REKEYINGS.c.state == RunState.RUNNING)
        .values(state=RunState.INTERRUPTED, reason=reason, message=message)
    )


def alone(connection: sa.Connection) -> None:
    """Wait, until this transaction ends, for others that close a key version or take in a delivery."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CLOSING_LOCK)))


def closed(connection: sa.Connection, domain: str, versions: Mapping[str, int]) -> frozenset[str]:
    """Return those kinds of `versions` (kind word → key version of `domain`) whose version is closed."""
    found = _keys(connection, REKEYED_KEYS.c.domain == domain)
    return frozenset(key.kind for key in found if versions.get(key.kind) == key.from_version)


def close(connection: sa.Connection, rekeying_id: str, key: RekeyedKey) -> None:
    """Note that nothing stands under this key version any more."""
    values = {column.name: getattr(key, column.name) for column in _KEY_COLUMNS}
    connection.execute(REKEYED_KEYS.insert().values(rekeying_id=rekeying_id, closed_at=now(), **values))


def key(connection: sa.Connection, domain: str, kind: str, version: int) -> RekeyedKey | None:
    """Return what was done for a key version; None while it is not closed."""
    found = _keys(
        connection,
        REKEYED_KEYS.c.domain == domain,
        REKEYED_KEYS.c.kind == kind,
        REKEYED_KEYS.c.from_version == version,
    )
    return found[0] if found else None


def forget_samples(connection: sa.Connection, still: Collection[tuple[str, str, int]]) -> None:
    """Drop the samples of all key versions but these: (domain, kind, version)."""
    line = sa.tuple_(REKEYED_KEYS.c.domain, REKEYED_KEYS.c.kind, REKEYED_KEYS.c.from_version)
    gone = REKEYED_KEYS.update().where(line.not_in(list(still))) if still else REKEYED_KEYS.update()
    connection.execute(gone.values(sample_from=b"", sample_to=b""))


def attested(connection: sa.Connection, rekeying_id: str, key: RekeyedKey, sample_size: int) -> None:
    """Note that this rekeying attested the key version. Its sample stays: the next one attests it again."""
    connection.execute(
        REKEYED_KEYS.update()
        .where(
            REKEYED_KEYS.c.domain == key.domain,
            REKEYED_KEYS.c.kind == key.kind,
            REKEYED_KEYS.c.from_version == key.from_version,
        )
        .values(attested_at=now(), sample_size=sample_size, rekeying_id=rekeying_id)
    )
