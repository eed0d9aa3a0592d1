"""Delete encodings when their retention ends.

1. What counts is when a delivery was accepted. All that are due go in one snapshot, with an entry in the log for each,
   and their rows are off the disk when no reader needs an older snapshot any more.
2. Links that were made from them stay, and so do answers about records: neither is an encoding.

It does not know how long they are kept: that is the linkage policy's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa

from kinlink.delivery.datasets import DATASETS
from linker.store import deliveries
from linker.store.deliveries import Delivery
from linker.store.snapshots import Snapshots
from linker.store.state import DeliveryState, now
from linker.store.tables import DeliveryKey
from servicekit.audit import AuditEntry, AuditLog
from servicekit.database import read
from servicekit.identity import caller_uri, request_id


def expire(store: Snapshots, kept_days: int, audit: AuditLog) -> int:
    """Take out the encodings that were accepted more than `kept_days` days ago; return how many deliveries went."""
    with store.change("retention") as change:
        with read(store.engine) as connection:
            due = _due(connection, kept_days)
        if not due:
            return 0
        leaving: dict[str, list[DeliveryKey]] = defaultdict(list)
        for delivery in due:
            leaving[delivery.table].append(delivery.key)
        for table, keys in leaving.items():
            change.write(table, remove=keys)
        with change.commit() as connection:
            for delivery in due:
                deliveries.expire(connection, delivery.key)
                audit.append(_entry(delivery), connection)
    store.purge(leaving)
    return len(due)


def _due(connection: sa.Connection, kept_days: int) -> Sequence[Delivery]:
    until = now() - timedelta(days=kept_days)
    accepted = deliveries.in_state(connection, DeliveryState.ACCEPTED)
    encodings = [delivery for delivery in accepted if DATASETS[delivery.header.dataset].encoded]
    return [delivery for delivery in encodings if delivery.accepted_at and delivery.accepted_at < until]


def _entry(delivery: Delivery) -> AuditEntry:
    header = delivery.header
    subject = f"{delivery.source}/{header.dataset}/{header.period}/{header.delivery_id}"
    who, call = caller_uri(), request_id()
    return AuditEntry("delivery expired", who, "ok", subject=subject, count=header.rows, request_id=call)
