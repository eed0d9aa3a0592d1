"""Receive, accept, replace, withdraw and list deliveries.

1. A delivery is all or nothing. Its chunks are staged; at the finish everything is
   checked and one snapshot takes all rows in, in the same transaction as the receipt.
2. The id and the content name a delivery: the same again changes no row, and it is noted that its source stands by
   it (`Delivery.said_order`); the same id with other content is refused.
3. A later delivery of the same source, dataset and period takes the place of the
   earlier one in one snapshot, whether that is converted or not.
4. An acceptance or withdrawal and its audit entry are one transaction: whenever the
   process ends, the log knows what the store holds.
5. What is refused leaves nothing staged. What breaks off stays, to be resumed, until it
   has been left alone for a while.
6. A source sees its own deliveries and no others.
7. What broke off under a key version that was replaced is forgotten when its source delivers it again under the new.
8. Nothing is taken in under a key version that `keys` refuses, now or when it is all there.

It does not know gRPC, nor who may call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl
import sqlalchemy as sa

from kinlink.delivery.datasets import DATASETS
from kinlink.delivery.period import Period
from linker.intake import chunks, encoded, keys, rows
from linker.intake.header import Begin, Limits, check
from linker.intake.keys import KeyRefusedError, KeyStates
from linker.intake.staging import Staging
from linker.store import deliveries
from linker.store.deliveries import Delivery, Header
from linker.store.snapshots import Snapshots
from linker.store.state import DeliveryState
from linker.store.tables import DeliveryKey, quarantine
from servicekit.audit import AuditEntry, AuditLog
from servicekit.database import read
from servicekit.errors import (
    ConflictError,
    ExhaustedError,
    FieldViolation,
    InvalidError,
    NotFoundError,
    OutOfRangeError,
    PreconditionError,
    ServiceError,
    UnavailableError,
)
from servicekit.identity import caller_uri, request_id

if TYPE_CHECKING:
    from linker.store.snapshots import Change


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk as it came."""

    index: int
    arrow_ipc: bytes


@dataclass(frozen=True, slots=True)
class Finish:
    """All chunks were sent."""


Part = Begin | Chunk | Finish


@dataclass(frozen=True, slots=True)
class Receipt:
    """A delivery, the chunks held of it, and the id of the delivery it replaced or ""."""

    delivery: Delivery
    chunks_received: int
    replaced: str = ""


class Intake:
    """The use cases of a source. All methods may be called from many threads."""

    def __init__(
        self,
        store: Snapshots,
        staging: Staging,
        audit: AuditLog,
        *,
        purpose: str,
        suites: Collection[int],
        limits: Limits | None = None,
        key_states: KeyStates = lambda _: None,
        abandoned_after_s: float = 7 * 24 * 3600,
    ) -> None:
        """`purpose`: the linker's domain after "linkage/". `suites`: the hash tags taken here, as wire numbers."""
        self._store = store
        self._staging = staging
        self._audit = audit
        self._purpose = purpose
        self._suites = suites
        self._limits = limits or Limits()
        self._key_states = key_states
        self._abandoned_after_s = abandoned_after_s
        self._active: set[DeliveryKey] = set()
        self._guard = threading.Lock()

    def open(self) -> None:
        """Delete staged chunks that no delivery is waiting for, and forget abandoned deliveries."""
        self.expire()
        with read(self._store.engine) as connection:
            receiving = deliveries.in_state(connection, DeliveryState.RECEIVING)
        self._staging.drop_all_but([delivery.key for delivery in receiving])

    def expire(self) -> None:
        """Forget deliveries that broke off and were left alone for `abandoned_after_s`."""
        with read(self._store.engine) as connection:
            receiving = deliveries.in_state(connection, DeliveryState.RECEIVING)
        for delivery in receiving:
            touched_at = self._staging.touched_at(delivery.key) or delivery.received_at.timestamp()
            if time.time() - touched_at > self._abandoned_after_s:
                with suppress(UnavailableError), self._alone(delivery.key):  # not while it is being sent
                    self._refuse(delivery.key)

    def deliver(self, source: str, datasets: Collection[str], parts: Iterator[Part]) -> Receipt:
        """Take in one stream: a header, chunks, a finish. Return when the rows are durable and in a snapshot.

        `datasets`: those that this source may deliver.

        Raises:
            InvalidError: HEADER_INVALID, SCHEMA_UNKNOWN, STREAM_INVALID (parts out of order), CHUNK_INVALID,
                ROWS_INVALID, or CONTENT_MISMATCH (rows, chunks or digest are not as announced), or PERIOD_MISMATCH (as
                `rows.outside_period`). Nothing stays.
            DeniedError, ExhaustedError: as `header.check`; TOO_MANY_OPEN_DELIVERIES.
            ConflictError: DELIVERY_ID_REUSED (other content under this id); DELIVERY_WITHDRAWN.
            KeyRefusedError: as `keys.check` and `check_open`. Nothing stays.
            OutOfRangeError: CHUNK_GAP, the stream starts after what is held; says where to resume.
            PreconditionError: DELIVERY_INCOMPLETE, the stream ended before its finish; chunks that came stay.
            UnavailableError: DELIVERY_BUSY, another stream is sending this delivery; as `keys.check`.
        """
        begin = next(parts, None)
        if not isinstance(begin, Begin):
            raise InvalidError("a delivery starts with its header", "STREAM_INVALID")
        header = check(
            begin, source, purpose=self._purpose, datasets=datasets, suites=self._suites, limits=self._limits
        )
        key = (source, header.delivery_id)
        with self._alone(key):
            done = self._begin(source, header, begin.first_chunk)
            if done is not None:
                return done
            try:
                self._receive(key, header, begin.first_chunk, parts)
                return self._accept(key, header)
            except Exception as error:
                if isinstance(error, InvalidError | KeyRefusedError) or not self._staging.held(key):
                    self._refuse(key)  # nothing to resume
                raise

    def get(self, source: str, delivery_id: str) -> Receipt:
        """Return one of the source's deliveries.

        Raises:
            NotFoundError: DELIVERY_UNKNOWN, unknown or another source's.
        """
        with read(self._store.engine) as connection:
            delivery = deliveries.get(connection, source, delivery_id)
        if delivery is None:
            raise NotFoundError("this source has no delivery with this id", "DELIVERY_UNKNOWN")
        return self._receipt(delivery)

    def page(
        self,
        source: str,
        *,
        dataset: str | None,
        limit: int,
        before: tuple[datetime, str] | None,
        delivery_id: str = "",
    ) -> Sequence[Receipt]:
        """Return up to `limit` of the source's deliveries, newest first, after the position `before`.

        With a `delivery_id` that one, or none.
        """
        with read(self._store.engine) as connection:
            found = deliveries.page(
                connection, source, dataset=dataset, limit=limit, before=before, delivery_id=delivery_id
            )
        return [self._receipt(delivery) for delivery in found]

    def withdraw(self, source: str, delivery_id: str) -> Receipt:
        """Take an accepted delivery out of the next snapshot, and its rows off the disk.

        Raises:
            NotFoundError: DELIVERY_UNKNOWN.
            PreconditionError: DELIVERY_NOT_ACCEPTED, being received, or replaced by another.
        """
        with self._store.change("withdrawal") as change:
            delivery = self.get(source, delivery_id).delivery
            if delivery.state == DeliveryState.WITHDRAWN:
                return self._receipt(delivery)
            if delivery.state != DeliveryState.ACCEPTED:
                message = f"only an accepted delivery can be withdrawn; this one is {delivery.state}"
                raise PreconditionError(message, "DELIVERY_NOT_ACCEPTED")
            table = _take_out(change, delivery)
            with change.commit() as connection:
                deliveries.withdraw(connection, delivery.key)
                self._record("delivery withdrawn", source, delivery.header, connection)
        self._store.purge([table])
        return self.get(source, delivery_id)

    def _receipt(self, delivery: Delivery, replaced: str = "") -> Receipt:
        receiving = delivery.state == DeliveryState.RECEIVING
        held = self._staging.held(delivery.key) if receiving else delivery.header.chunks
        return Receipt(delivery, held, replaced)

    @contextmanager
    def _alone(self, key: DeliveryKey) -> Iterator[None]:
        with self._guard:
            if key in self._active:
                raise UnavailableError("another stream is sending this delivery; try again", "DELIVERY_BUSY")
            self._active.add(key)
        try:
            yield
        finally:
            with self._guard:
                self._active.discard(key)

    def _begin(self, source: str, header: Header, first_chunk: int) -> Receipt | None:
        """Note the delivery, or return the receipt of the one that was accepted before."""
        self.expire()
        with read(self._store.engine) as connection:
            known = deliveries.get(connection, source, header.delivery_id)
        if known is None:
            keys.check(header, source, self._purpose, self._key_states)
        with self._store.engine.begin() as connection:
            known = deliveries.get(connection, source, header.delivery_id)
            if known is None:
                keys.check_open(connection, header, source, self._purpose)
                open_now = deliveries.in_state(connection, DeliveryState.RECEIVING, source)
                if len(open_now) >= self._limits.open_deliveries:
                    message = (
                        "too many deliveries of this source are unfinished; finish them, or wait until they expire"
                    )
                    raise ExhaustedError(message, "TOO_MANY_OPEN_DELIVERIES")
                deliveries.receive(connection, source, header)
        held = 0
        if known is not None:
            if known.header != header:
                message = "this delivery id was used for other content; use a new id"
                raise ConflictError(message, "DELIVERY_ID_REUSED")
            if known.state == DeliveryState.WITHDRAWN:
                message = "this delivery was withdrawn; deliver again under a new id"
                raise ConflictError(message, "DELIVERY_WITHDRAWN")
            if known.state == DeliveryState.ACCEPTED:
                with self._store.engine.begin() as connection:
                    deliveries.say_again(connection, known.key)
            if known.state != DeliveryState.RECEIVING:
                return self._receipt(known)
            held = self._staging.held(known.key)
        if first_chunk > held:
            message = f"chunks before {first_chunk} are missing; resume with chunk {held}"
            raise OutOfRangeError(message, "CHUNK_GAP", metadata={"resume_at": str(held)})
        self._staging.truncate((source, header.delivery_id), first_chunk)
        return None

    def _receive(self, key: DeliveryKey, header: Header, first_chunk: int, parts: Iterator[Part]) -> None:
        dataset, schema = DATASETS[header.dataset], encoded.schemas().get(header.schema_id)
        index, row = first_chunk, self._staging.rows(key)
        for part in parts:
            match part:
                case Finish():
                    return
                case Chunk() if part.index == index < header.chunks:
                    frame = self._read(part, header)
                    if row + frame.height > header.rows:
                        raise InvalidError("the chunks hold more rows than announced", "CONTENT_MISMATCH")
                    found = rows.faults(
                        frame,
                        dataset,
                        kinds=header.keys,
                        first_row=row,
                        text_length=self._limits.text_length,
                        schema=schema,
                    )
                    if found:
                        raise _rows_invalid(found)
                    self._staging.put(key, index, part.arrow_ipc, frame)
                    index, row = index + 1, row + frame.height
                case Chunk():
                    message = (
                        f"expected chunk {index} of {header.chunks}" if index < header.chunks else "expected finish"
                    )
                    raise InvalidError(message, "STREAM_INVALID")
                case Begin():
                    raise InvalidError("a stream holds one header", "STREAM_INVALID")
        message = f"the stream ended before its finish; resume with chunk {index}"
        raise PreconditionError(message, "DELIVERY_INCOMPLETE", metadata={"resume_at": str(index)})

    def _read(self, chunk: Chunk, header: Header) -> pl.DataFrame:
        violations: list[FieldViolation] = []
        if len(chunk.arrow_ipc) > self._limits.chunk_bytes:
            violations.append(FieldViolation("arrow_ipc", f"expected at most {self._limits.chunk_bytes} bytes"))
        else:
            try:
                frame = chunks.read(chunk.arrow_ipc, DATASETS[header.dataset])
                if frame.height:
                    return frame
                violations.append(FieldViolation("arrow_ipc", "expected at least one row"))
            except chunks.ChunkError as error:
                violations.append(FieldViolation("arrow_ipc", str(error)))
        message = f"chunk {chunk.index} is not rows of {header.dataset}: {violations[0].description}"
        raise InvalidError(message, "CHUNK_INVALID", violations)

    def _accept(self, key: DeliveryKey, header: Header) -> Receipt:
        dataset = DATASETS[header.dataset]
        held = (self._staging.held(key), self._staging.rows(key), self._staging.digest(key))
        if held != (header.chunks, header.rows, header.digest):
            message = "the chunks, rows or digest received are not as the header announced"
            raise InvalidError(message, "CONTENT_MISMATCH")
        staged = self._staging.scan(key, dataset.schema)
        fault = rows.element_fault(staged, dataset) or rows.repeated_id(staged, dataset)
        if fault:
            raise _rows_invalid([fault])
        period = Period.parse(header.period)
        if header.rows and rows.outside_period(staged, dataset, period.start, period.end):
            violation = FieldViolation("header.period", "expected the period of the rows")
            raise InvalidError("the rows are of another period than the one given", "PERIOD_MISMATCH", [violation])
        source, delivery_id = key
        if dataset.encoded:  # nobody will ask later; a delivery may arrive over days
            keys.check(header, source, self._purpose, self._key_states)
        touched = []
        with self._store.change("delivery") as change:
            with read(self._store.engine) as connection:
                old = deliveries.accepted_in_slot(connection, source, header.dataset, header.period)
            if old is not None:
                touched.append(_take_out(change, old))
            if header.rows:
                origin = {"source": pl.lit(source), "delivery_id": pl.lit(delivery_id)}
                change.write(quarantine(header.dataset), append=staged.with_columns(**origin))
            with change.commit() as connection:
                keys.check_open(connection, header, source, self._purpose)
                if old is not None:
                    deliveries.replace(connection, old.key, delivery_id)
                deliveries.replace_expired(connection, source, header)
                deliveries.accept(connection, key, change.number)
                self._record("delivery accepted", source, header, connection)
        self._staging.drop(key)
        self._overtake(key, header)
        self._store.purge(touched)
        receipt = self.get(*key)
        return Receipt(receipt.delivery, receipt.chunks_received, old.header.delivery_id if old else "")

    def _overtake(self, key: DeliveryKey, header: Header) -> None:
        """Forget what broke off in the same place under other keys or another schema: its source has made it anew."""
        with read(self._store.engine) as connection:
            open_now = deliveries.in_state(connection, DeliveryState.RECEIVING, key[0])
        for other in open_now:
            place = (other.header.dataset, other.header.period)
            made_anew = (other.header.keys, other.header.schema_id) != (header.keys, header.schema_id)
            if place == (header.dataset, header.period) and made_anew:
                with suppress(UnavailableError), self._alone(other.key):  # not while it is being sent
                    self._refuse(other.key)

    def _record(self, event: str, source: str, header: Header, connection: sa.Connection) -> None:
        subject = f"{source}/{header.dataset}/{header.period}/{header.delivery_id}"
        entry = AuditEntry(event, caller_uri(), "ok", subject=subject, count=header.rows, request_id=request_id())
        self._audit.append(entry, connection)

    def _refuse(self, key: DeliveryKey) -> None:
        self._staging.drop(key)
        with self._store.engine.begin() as connection:
            deliveries.forget(connection, *key)


def _take_out(change: Change, delivery: Delivery) -> str:
    """Remove the delivery's rows from where they stand; return that table."""
    change.write(delivery.table, remove=[delivery.key])
    return delivery.table


def _rows_invalid(found: Sequence[rows.Fault]) -> ServiceError:
    violations = [FieldViolation(f"{fault.column}[{fault.row}]", f"expected {fault.expected}") for fault in found]
    first = found[0]
    message = f"row {first.row}, column {first.column}: expected {first.expected}; {len(found)} such fault(s) named"
    return InvalidError(message, "ROWS_INVALID", violations)
