"""Which deliveries a run's linkage reads, and of which links may be.

It does not read a row: what a delivery says of itself decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import polars as pl
import sqlalchemy as sa

from kinlink.delivery.period import Period
from kinlink.pseudonyms import Kind
from linker.linkage import comparable
from linker.linkage.comparable import ORDER
from linker.store import deliveries
from linker.store.deliveries import Delivery
from linker.store.state import DeliveryState
from linker.store.tables import DeliveryKey

PERSONS, PAYERS, POSTINGS, ANSWERS = "person_encodings", "payer_encodings", "postings", "review_answers"
READ: Final = (PERSONS, PAYERS, POSTINGS, ANSWERS)


@dataclass(frozen=True, slots=True)
class Encodings:
    """The deliveries that a run reads; `payers` are under the register's schema and key version, `others` are not."""

    register: Delivery | None
    payers: Sequence[Delivery]
    others: Sequence[Delivery]
    postings: Sequence[Delivery]
    answers: Sequence[Delivery]

    @property
    def schema_id(self) -> str:
        """The register's linkage schema; "" without a register."""
        return self.register.header.schema_id if self.register else ""

    @property
    def key_version(self) -> int:
        """The register's encoding key; 0 without a register."""
        return self.register.header.keys.get(Kind.ENCODING, 0) if self.register else 0


def chosen(connection: sa.Connection, snapshot: int) -> Encodings:
    """Return the deliveries whose rows are facts in this snapshot, oldest first."""
    converted = [
        delivery
        for delivery in deliveries.in_state(connection, DeliveryState.ACCEPTED)
        if delivery.header.rows and delivery.converted_snapshot is not None and delivery.converted_snapshot <= snapshot
    ]
    of = {name: sorted((d for d in converted if d.header.dataset == name), key=_age) for name in READ}
    register = of[PERSONS][-1] if of[PERSONS] else None
    alike = [d for d in of[PAYERS] if register is not None and _encoded_as(d) == _encoded_as(register)]
    others = [d for d in of[PAYERS] if d not in alike]
    return Encodings(register, alike, others, of[POSTINGS], of[ANSWERS])


def _age(delivery: Delivery) -> tuple[Any, ...]:
    return Period.parse(delivery.header.period).end, delivery.accepted_at, delivery.key


def _encoded_as(delivery: Delivery) -> tuple[str, int | None]:
    return delivery.header.schema_id, delivery.header.keys.get(Kind.ENCODING)


def order(oldest_first: Iterable[Delivery]) -> pl.DataFrame:
    keys = [(*delivery.key, rank) for rank, delivery in enumerate(oldest_first)]
    return pl.DataFrame(keys, schema=ORDER, orient="row")


def apart(payers: Sequence[Delivery], postings: Sequence[Delivery]) -> pl.DataFrame:
    found = []
    for one, other in product(payers, postings):
        period, posted = Period.parse(one.header.period), Period.parse(other.header.period)
        if one.source == other.source and (period.end <= posted.start or posted.end <= period.start):
            found.append((*one.key, other.header.delivery_id))
    return pl.DataFrame(found, schema=comparable.APART, orient="row")


def standing(connection: sa.Connection, compared: Collection[DeliveryKey]) -> pl.DataFrame:
    """Return deliveries of encodings that links may be of, or be compared with: source, delivery_id, expired.

    `replaced_by`: of payers that were replaced, the delivery now in their place, which is not among those `compared`.
    """
    accepted, expired, replaced = (
        deliveries.in_state(connection, state)
        for state in (DeliveryState.ACCEPTED, DeliveryState.EXPIRED, DeliveryState.REPLACED)
    )
    waiting = {
        (delivery.source, delivery.header.period): delivery.header.delivery_id
        for delivery in accepted
        if delivery.header.dataset == PAYERS and delivery.key not in compared
    }
    rows: list[tuple[str, str, bool, str | None]] = [
        (*delivery.key, delivery.state == DeliveryState.EXPIRED, None)
        for delivery in (*accepted, *expired, *replaced)
        if delivery.header.dataset == PERSONS
        or (delivery.header.dataset == PAYERS and delivery.state != DeliveryState.REPLACED)
    ]
    rows += [
        (*delivery.key, False, waiting[delivery.source, delivery.header.period])
        for delivery in replaced
        if delivery.header.dataset == PAYERS and (delivery.source, delivery.header.period) in waiting
    ]
    schema = {"source": pl.String, "delivery_id": pl.String, "expired": pl.Boolean, "replaced_by": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")
