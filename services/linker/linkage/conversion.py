"""Turn delivered rows under source pseudonyms into facts under dense ids.

1. One delivery at a time, oldest first; each is one snapshot: its identities, its facts,
   and its rows gone from quarantine. So a conversion that stops goes on where it was.
2. The same pseudonym has the same id for ever. Replacement numbers mean nothing outside
   the system that made them: their identity is (source, pseudonym).
3. Once converted, source pseudonyms are deleted from disk.
4. All identities of a kind stand under one version of the linkage key: the one that the
   first was converted to, until they are rekeyed.
5. The pseudonymizer is asked outside the store's lock, so that deliveries go on; a
   delivery that was replaced or withdrawn meanwhile is left alone, and one whose answer is
   under a version that the identities left meanwhile is converted again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import polars as pl

from kinlink import ristretto255
from kinlink.delivery.datasets import DATASETS
from kinlink.errors import ConflictError, InputError, RefusedError
from kinlink.pseudonyms import Kind
from kinlink.types.v1 import types_pb2
from linker.frames import FACTS, ID, IDENTITIES, check
from linker.intake.rows import pseudonyms
from linker.store import deliveries, rekeyings, tables
from linker.store.deliveries import Delivery
from linker.store.snapshots import Change, Snapshots
from linker.store.state import DeliveryState
from servicekit.database import read

KINDS = {
    Kind.CPR: types_pb2.KIND_CPR,
    Kind.ADDRESS: types_pb2.KIND_ADDRESS,
    Kind.REPLACEMENT: types_pb2.KIND_REPLACEMENT,
}

Progress = Callable[[int, int], None]


class Converter(Protocol):
    """Asks for the same pseudonyms under another key; `kinlink.conversion_client.ConversionClient`."""

    def convert(
        self, elements: bytes, source_key: types_pb2.KeyRef, target_key: types_pb2.KeyRef, progress: Progress = ...
    ) -> tuple[bytes, types_pb2.KeyRef]:
        """Return 32·n bytes in the order given, and the target key with its version."""
        ...


def convert_all(store: Snapshots, converter: Converter, purpose: str, progress: Progress) -> None:
    """Convert every accepted delivery that is not converted yet.

    `purpose`: the domain after "linkage/". `progress`: rows done and rows in all. Raises what
    the converter raises, a refusal with the delivery's id and source; deliveries before the
    failing one stay converted.
    """
    with read(store.engine) as connection:
        waiting = deliveries.unconverted(connection)
    total = sum(delivery.header.rows for delivery in waiting)
    done = 0
    progress(done, total)
    for delivery in waiting:
        start = done

        def within(part: int, whole: int, start: int = start, rows: int = delivery.header.rows) -> None:
            progress(start + rows * part // max(whole, 1), total)

        try:
            _convert(store, converter, purpose, delivery, within)
        except (ConflictError, InputError, RefusedError) as error:  # holds until its source withdraws the delivery
            message = f"delivery {delivery.header.delivery_id} of {delivery.source}: {error.message}"
            raise type(error)(message, error.reason, error.violations, error.request_id) from error
        done += delivery.header.rows
        progress(done, total)


def standing(identities: pl.LazyFrame) -> dict[str, int]:
    """Return the version of the linkage key that the identities of each kind stand under."""
    return dict(identities.group_by("kind").agg(pl.col("key_version").max()).collect().iter_rows())


def _convert(store: Snapshots, converter: Converter, purpose: str, delivery: Delivery, progress: Progress) -> None:
    while not _converted(store, converter, f"linkage/{purpose}", delivery, progress):
        pass  # the identities were rekeyed meanwhile, which happens once a rotation


def _converted(store: Snapshots, converter: Converter, domain: str, delivery: Delivery, progress: Progress) -> bool:
    """Convert a delivery; return False when the answer is under a version that nothing may stand under any more."""
    name, key = delivery.header.dataset, delivery.key
    quarantine, facts = tables.quarantine(name), tables.facts(name)
    with store.pin() as pinned:
        versions = standing(pinned.scan(tables.IDENTITIES))
        targets = {
            kind: types_pb2.KeyRef(domain=domain, kind=KINDS[kind], version=versions.get(kind, 0)) for kind in KINDS
        }
        converted = _linkage_pseudonyms(
            _rows(pinned.scan(quarantine), delivery), delivery, converter, targets, progress
        )
    with store.change("conversion") as change:
        with read(store.engine) as connection:
            now = deliveries.get(connection, *key)
            used = dict(converted.select("kind", "key_version").unique().iter_rows())
            left = rekeyings.closed(connection, domain, used)
        if now is None or now.state != DeliveryState.ACCEPTED or now.converted_snapshot is not None:
            return True
        versions = standing(change.scan(tables.IDENTITIES))
        if left or any(versions.get(kind, version) != version for kind, version in used.items()):
            return False
        mapping = _assign(change, converted)
        change.write(facts, append=_facts(_rows(change.scan(quarantine), delivery), mapping, delivery))
        change.write(quarantine, remove=[key])
        with change.commit() as connection:
            deliveries.convert(connection, key, change.number)
    store.purge([quarantine])
    return True


def _rows(quarantine: pl.LazyFrame, delivery: Delivery) -> pl.LazyFrame:
    source, delivery_id = delivery.key
    return quarantine.filter(pl.col("source") == source, pl.col("delivery_id") == delivery_id)


def _linkage_pseudonyms(
    rows: pl.LazyFrame,
    delivery: Delivery,
    converter: Converter,
    targets: Mapping[Kind, types_pb2.KeyRef],
    progress: Progress,
) -> pl.DataFrame:
    """Return, for each distinct pseudonym of the delivery, its linkage pseudonym.

    kind, source (null but for replacement numbers), source_pseudonym, pseudonym,
    key_version; key (kind, source_pseudonym).
    """
    distinct = {
        kind: pseudonyms(rows, DATASETS[delivery.header.dataset], kind).collect(engine="streaming")["pseudonym"]
        for kind in KINDS
        if kind in delivery.header.keys
    }
    total, done = sum(map(len, distinct.values())), 0
    frames = [pl.DataFrame(schema=_CONVERTED)]
    for kind, elements in distinct.items():
        domain = f"source/{delivery.source}"

        def within(part: int, _: int, before: int = done) -> None:
            progress(before + part, total)

        answer, target = converter.convert(
            b"".join(elements),
            types_pb2.KeyRef(domain=domain, kind=KINDS[kind], version=delivery.header.keys[kind]),
            targets[kind],
            progress=within,
        )
        done += len(elements)
        size = ristretto255.SIZE
        pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
        frame = pl.DataFrame({"source_pseudonym": elements, "pseudonym": pl.Series(pieces, dtype=pl.Binary)})
        own = delivery.source if kind == Kind.REPLACEMENT else None
        frames.append(
            frame.select(
                pl.lit(kind.value).alias("kind"),
                pl.lit(own, dtype=pl.String).alias("source"),
                "source_pseudonym",
                "pseudonym",
                pl.lit(target.version, dtype=pl.UInt32).alias("key_version"),
            )
        )
    return pl.concat(frames)


_CONVERTED = pl.Schema(
    {
        "kind": pl.String(),
        "source": pl.String(),
        "source_pseudonym": pl.Binary(),
        "pseudonym": pl.Binary(),
        "key_version": pl.UInt32(),
    }
)


def _assign(change: Change, converted: pl.DataFrame) -> pl.DataFrame:
    """Return the id of each source pseudonym (kind, source_pseudonym, id), giving new ones where none is known."""
    identities = change.scan(tables.IDENTITIES)
    on = ["kind", "source", "pseudonym"]
    known = converted.lazy().join(identities.select(*on, "id"), on=on, how="left", nulls_equal=True).collect()
    first = int(identities.select((pl.col("id").max().cast(pl.Int64) + 1).fill_null(0)).collect().item())
    new = known.filter(pl.col("id").is_null()).select(*on, "key_version").unique(on).sort("kind", "pseudonym")
    new = new.select((pl.int_range(pl.len(), dtype=pl.Int64) + first).cast(ID).alias("id"), pl.all())
    if new.height:
        change.write(tables.IDENTITIES, append=check(new.lazy(), IDENTITIES, "identities"))
    given = known.join(new.select(*on, new_id="id"), on=on, how="left", nulls_equal=True)
    return given.select("kind", "source_pseudonym", id=pl.coalesce("id", "new_id"))


def _facts(rows: pl.LazyFrame, mapping: pl.DataFrame, delivery: Delivery) -> pl.LazyFrame:
    """Return the rows with each pseudonym column `x` as `x_id`."""
    for column in DATASETS[delivery.header.dataset].pseudonym_columns:
        kind = pl.col(column.kind_column) if column.kind_column else pl.lit(column.kind)
        ids = mapping.lazy().select(_kind="kind", _pseudonym="source_pseudonym", **{f"{column.name}_id": "id"})
        rows = (
            rows.with_columns(_kind=kind.cast(pl.String))
            .join(ids, left_on=["_kind", column.name], right_on=["_kind", "_pseudonym"], how="left")
            .drop("_kind")
        )
    return check(rows, FACTS[delivery.header.dataset], delivery.header.dataset)
