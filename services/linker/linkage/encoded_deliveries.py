"""Which deliveries a run's linkage reads, which speak of the same records, and of which links may be.

A record number stands for a record of one extract: a source may number its rows anew in the next. So payers and
answers are those of postings only where

1. their periods meet;
2. they were begun, or sent again, after the postings were accepted: older ones are of an earlier extract; and after
   any postings of their period went that were there before: they may have been those of these;
3. where payers took the place of others under the same key, which came after these postings: the postings were sent
   again in between. Else the new payers are of an extract whose postings are still to come.

It does not read a row: what a delivery says of itself, and in which order they came, decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final

import polars as pl
import sqlalchemy as sa

from kinlink.delivery.period import Period
from kinlink.pseudonyms import Kind
from linker.linkage.comparable import MISFITS, ORDER
from linker.store import deliveries
from linker.store.deliveries import Delivery
from linker.store.state import DeliveryState
from linker.store.tables import DeliveryKey

PERSONS, PAYERS, POSTINGS, ANSWERS = "person_encodings", "payer_encodings", "postings", "review_answers"
READ: Final = (PERSONS, PAYERS, POSTINGS, ANSWERS)


@dataclass(frozen=True, slots=True)
class Encodings:
    """The deliveries that a run reads; `payers` are under the register's schema and key version, `others` are not.

    `misfits`: MISFITS.
    """

    register: Delivery | None
    payers: Sequence[Delivery]
    others: Sequence[Delivery]
    postings: Sequence[Delivery]
    answers: Sequence[Delivery]
    misfits: pl.DataFrame

    @property
    def schema_id(self) -> str:
        """The register's linkage schema; "" without a register."""
        return self.register.header.schema_id if self.register else ""

    @property
    def key_version(self) -> int:
        """The register's encoding key; 0 without a register."""
        return self.register.header.keys.get(Kind.ENCODING, 0) if self.register else 0

    @property
    def compared(self) -> Sequence[Delivery]:
        """The payers whose records are compared; without those that are ahead of their postings."""
        ahead = set(self.misfits.filter(why=Misfit.AHEAD.value).select("source", "delivery_id").rows())
        return [delivery for delivery in self.payers if delivery.key not in ahead]


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
    return Encodings(register, alike, others, of[POSTINGS], of[ANSWERS], misfits(connection, of[POSTINGS]))


def _age(delivery: Delivery) -> tuple[Any, ...]:
    return Period.parse(delivery.header.period).end, delivery.accepted_at, delivery.key


def _encoded_as(delivery: Delivery) -> tuple[str, int | None]:
    return delivery.header.schema_id, delivery.header.keys.get(Kind.ENCODING)


def order(oldest_first: Iterable[Delivery]) -> pl.DataFrame:
    keys = [(*delivery.key, rank) for rank, delivery in enumerate(oldest_first)]
    return pl.DataFrame(keys, schema=ORDER, orient="row")


class Misfit(StrEnum):
    """Why records of a delivery are not those of postings with the same numbers."""

    APART = "apart"
    OLDER = "older"
    AHEAD = "ahead"


def misfits(connection: sa.Connection, postings: Sequence[Delivery]) -> pl.DataFrame:
    """Return which payers and answers are not of which of these postings, and why (MISFITS).

    Whatever became of them: links may be of payers that expired, or were replaced.
    """
    ended = (DeliveryState.ACCEPTED, DeliveryState.REPLACED, DeliveryState.EXPIRED, DeliveryState.WITHDRAWN)
    known = [delivery for state in ended for delivery in deliveries.in_state(connection, state)]
    posted, places, gone = defaultdict(list), defaultdict(list), defaultdict(list)
    for posting in postings:
        posted[posting.source].append(posting)
    for delivery in known:
        places[_place(delivery)].append(delivery)
        if delivery.header.dataset == POSTINGS and delivery.ended_order is not None:
            gone[delivery.source].append(delivery)
    rows = []
    for payers in (delivery for delivery in known if delivery.header.dataset in (PAYERS, ANSWERS)):
        alike = places[_place(payers)] if payers.header.dataset == PAYERS else []
        before = [other for other in alike if _replaced(other, payers)]
        is_left = any(_left(payers, other) for other in gone[payers.source])
        for posting in posted[payers.source]:
            why = _misfit(payers, posting, before, is_left=is_left)
            if why is not None:
                stands = payers.state in (DeliveryState.ACCEPTED, DeliveryState.EXPIRED)
                told = (why.value, payers.header.dataset, payers.header.period, stands)
                rows.append((*payers.key, posting.header.delivery_id, *told))
    return pl.DataFrame(sorted(rows), schema=MISFITS, orient="row")


def _misfit(payers: Delivery, posting: Delivery, before: Sequence[Delivery], *, is_left: bool) -> Misfit | None:
    if not _meet(payers, posting):
        return Misfit.APART
    if is_left or posting.accepted_order is None or payers.said_order <= posting.accepted_order:
        return Misfit.OLDER
    return Misfit.AHEAD if any(other.said_order >= posting.said_order for other in before) else None


def _meet(payers: Delivery, posting: Delivery) -> bool:
    period, posted = _covered(payers.header.period), _covered(posting.header.period)
    return period.start < posted.end and posted.start < period.end


def _left(payers: Delivery, posting: Delivery) -> bool:
    """Tell whether postings that are gone were there when the payers were last sent."""
    there = posting.accepted_order or 0, posting.ended_order or 0
    return _meet(payers, posting) and there[0] <= payers.said_order <= there[1]


def _replaced(other: Delivery, payers: Delivery) -> bool:
    """Tell whether payers took the place of others, of the same place, that said something else."""
    earlier = (other.accepted_order or 0) < (payers.accepted_order or 0)
    return earlier and other.header.digest != payers.header.digest


def _place(delivery: Delivery) -> tuple[Any, ...]:
    """Return where a delivery stands, and how it is encoded."""
    return delivery.source, delivery.header.dataset, delivery.header.period, _encoded_as(delivery)


_covered = cache(Period.parse)


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
