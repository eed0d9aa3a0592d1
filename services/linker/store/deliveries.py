"""What is known of each delivery: one row from header to withdrawal.

Rows change only inside the transaction they are given, so that a delivery's state and
the snapshot that holds its rows are one fact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

import sqlalchemy as sa

from linker.store.state import DELIVERIES, DeliveryState, now
from linker.store.tables import facts, quarantine


@dataclass(frozen=True, slots=True)
class Header:
    """What a source says of a delivery before the first chunk.

    `keys`: the key version its pseudonyms and encodings stand under, by kind word. `suite`: the
    wire number of the hash tag. `digest`: hex of SHA-256 over the chunks' digests.
    `schema_id`: the linkage schema of encodings, else "".
    """

    delivery_id: str
    dataset: str
    period: str
    suite: int
    keys: Mapping[str, int]
    rows: int
    chunks: int
    digest: str
    rejected_rows: int
    schema_id: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as the linker holds it.

    `said_order`, `accepted_order`, `ended_order`: numbers of one count over all deliveries, no clock. Of two events the
    later has the higher: that its source last said it, by its header, first or again; that it was accepted; and that it
    was withdrawn, or replaced while it was there.
    """

    source: str
    header: Header
    state: DeliveryState
    received_at: datetime
    accepted_at: datetime | None
    snapshot: int | None
    converted_snapshot: int | None
    replaced_by: str | None
    said_order: int
    accepted_order: int | None
    ended_order: int | None

    @property
    def key(self) -> tuple[str, str]:
        """Source and delivery id."""
        return (self.source, self.header.delivery_id)

    @property
    def table(self) -> str:
        """The table that the rows of an accepted delivery stand in."""
        return (quarantine if self.converted_snapshot is None else facts)(self.header.dataset)


_HEADER = tuple(field.name for field in fields(Header))


def _delivery(row: sa.Row[tuple[object, ...]]) -> Delivery:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    header = Header(**{name: values.pop(name) for name in _HEADER})
    return Delivery(header=header, state=DeliveryState(values.pop("state")), **values)


def _is(source: str, delivery_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(DELIVERIES.c.source == source, DELIVERIES.c.delivery_id == delivery_id)


def get(connection: sa.Connection, source: str, delivery_id: str) -> Delivery | None:
    """Return the source's delivery with this id."""
    row = connection.execute(sa.select(DELIVERIES).where(_is(source, delivery_id))).one_or_none()
    return None if row is None else _delivery(row)


def accepted_in_slot(connection: sa.Connection, source: str, dataset: str, period: str) -> Delivery | None:
    """Return the accepted delivery that the next one of this source, dataset and period replaces."""
    row = connection.execute(
        sa.select(DELIVERIES).where(
            DELIVERIES.c.source == source,
            DELIVERIES.c.dataset == dataset,
            DELIVERIES.c.period == period,
            DELIVERIES.c.state == DeliveryState.ACCEPTED,
        )
    ).one_or_none()
    return None if row is None else _delivery(row)


def page(
    connection: sa.Connection,
    source: str,
    *,
    dataset: str | None,
    limit: int,
    before: tuple[datetime, str] | None,
    delivery_id: str = "",
) -> Sequence[Delivery]:
    """Return the source's deliveries, newest header first, after the position `before`; with an id, that one."""
    query = sa.select(DELIVERIES).where(DELIVERIES.c.source == source)
    if delivery_id:
        query = query.where(DELIVERIES.c.delivery_id == delivery_id)
    if dataset is not None:
        query = query.where(DELIVERIES.c.dataset == dataset)
    if before is not None:
        at, delivery_id = before
        query = query.where(
            sa.or_(
                DELIVERIES.c.received_at < at,
                sa.and_(DELIVERIES.c.received_at == at, DELIVERIES.c.delivery_id < delivery_id),
            )
        )
    query = query.order_by(DELIVERIES.c.received_at.desc(), DELIVERIES.c.delivery_id.desc()).limit(limit)
    return [_delivery(row) for row in connection.execute(query)]


def in_state(connection: sa.Connection, state: DeliveryState, source: str | None = None) -> Sequence[Delivery]:
    """Return the deliveries in `state`, oldest header first."""
    query = sa.select(DELIVERIES).where(DELIVERIES.c.state == state)
    if source is not None:
        query = query.where(DELIVERIES.c.source == source)
    query = query.order_by(DELIVERIES.c.received_at, DELIVERIES.c.source, DELIVERIES.c.delivery_id)
    return [_delivery(row) for row in connection.execute(query)]


def unconverted(connection: sa.Connection) -> Sequence[Delivery]:
    """Return the accepted deliveries whose rows stand in quarantine, oldest first."""
    return [d for d in in_state(connection, DeliveryState.ACCEPTED) if d.converted_snapshot is None]


def under_key(connection: sa.Connection, source: str | None, kind: str, version: int) -> Sequence[Delivery]:
    """Return deliveries, being received or accepted, that stand under this key version; of a source, or of all."""
    states = (DeliveryState.RECEIVING, DeliveryState.ACCEPTED)
    live = [delivery for state in states for delivery in in_state(connection, state, source)]
    return [delivery for delivery in live if delivery.header.keys.get(kind) == version]


def receive(connection: sa.Connection, source: str, header: Header) -> None:
    """Note that a delivery has begun."""
    connection.execute(
        DELIVERIES.insert().values(
            source=source,
            state=DeliveryState.RECEIVING,
            received_at=now(),
            said_order=_next(connection),
            **{name: getattr(header, name) for name in _HEADER if name != "keys"},
            keys=dict(header.keys),
        )
    )


def forget(connection: sa.Connection, source: str, delivery_id: str) -> None:
    """Drop a delivery that was never accepted."""
    connection.execute(
        DELIVERIES.delete().where(_is(source, delivery_id), DELIVERIES.c.state == DeliveryState.RECEIVING)
    )


def _next(connection: sa.Connection) -> int:
    """Return the next number of the count. Two transactions at once may have the same: then neither came first."""
    columns = (DELIVERIES.c.said_order, DELIVERIES.c.accepted_order, DELIVERIES.c.ended_order)
    highest = connection.execute(sa.select(*(sa.func.max(column) for column in columns))).one()
    return int(max((number for number in highest if number is not None), default=0)) + 1


def _set(connection: sa.Connection, key: tuple[str, str], **values: object) -> None:
    connection.execute(DELIVERIES.update().where(_is(*key)).values(**values))


def accept(connection: sa.Connection, key: tuple[str, str], snapshot: int) -> None:
    """Note that the delivery's rows are in `snapshot`."""
    order = _next(connection)
    _set(connection, key, state=DeliveryState.ACCEPTED, accepted_at=now(), snapshot=snapshot, accepted_order=order)


def say_again(connection: sa.Connection, key: tuple[str, str]) -> None:
    """Note that its source sent an accepted delivery once more, unchanged."""
    _set(connection, key, said_order=_next(connection))


def replace(connection: sa.Connection, key: tuple[str, str], replaced_by: str) -> None:
    """Note that another delivery took its place."""
    order = _next(connection)
    _set(connection, key, state=DeliveryState.REPLACED, replaced_by=replaced_by, ended_order=order)


def replace_expired(connection: sa.Connection, source: str, header: Header) -> None:
    """Note that this delivery took the place of those whose retention ended, and so of what was made from them."""
    place = sa.and_(
        DELIVERIES.c.source == source,
        DELIVERIES.c.dataset == header.dataset,
        DELIVERIES.c.period == header.period,
        DELIVERIES.c.state == DeliveryState.EXPIRED,
    )
    values = {"state": DeliveryState.REPLACED, "replaced_by": header.delivery_id}
    connection.execute(DELIVERIES.update().where(place).values(**values))


def withdraw(connection: sa.Connection, key: tuple[str, str]) -> None:
    """Note that its source took it back."""
    _set(connection, key, state=DeliveryState.WITHDRAWN, ended_order=_next(connection))


def expire(connection: sa.Connection, key: tuple[str, str]) -> None:
    """Note that its retention ended."""
    _set(connection, key, state=DeliveryState.EXPIRED)


def convert(connection: sa.Connection, key: tuple[str, str], snapshot: int) -> None:
    """Note that its rows are facts since `snapshot`."""
    _set(connection, key, converted_snapshot=snapshot)
