"""A linker's store with encodings in it, for tests of the run's linkage: deliveries as conversion leaves them.

Persons are numbers as they stand in facts; records are the town's own ids.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from kinlink.encoding.encode import Encoder
from kinlink.pseudonyms import Kind
from linker import frames
from linker.background import Report
from linker.linkage import policy
from linker.linkage.policy import LinkagePolicy
from linker.linkage_stage import LinkageStage
from linker.store import deliveries
from linker.store.deliveries import Header
from linker.store.memory import MemoryTables
from linker.store.runs import Stage
from linker.store.snapshots import Snapshots
from linker.store.tables import LINKS
from linker.store.tables import facts as stored
from tests import payer_town
from tests.payer_town import FIELDS
from tests.unit import family_rows
from tests.unit import linker_fixtures as given

D = datetime.date
TODAY, MARCH = D(2015, 2, 1), D(2014, 3, 1)
POLICY: LinkagePolicy = policy.load(Path(policy.__file__).parent.parent / "linkage.toml")
PERSONS, RECORDS = 800, 300
SOURCE = "prisme"


@dataclass(frozen=True, slots=True)
class EncodedTown:
    """`persons`: person_id, fields, tokens. `records`: encoding_id, fields, tokens. `truth`: id by record, or None."""

    persons: pl.DataFrame
    records: pl.DataFrame
    truth: Mapping[str, int | None]


def encodings(said: pl.DataFrame) -> pl.DataFrame:
    """Return `record`, `fields` and `tokens` of records with the fields of a town."""
    made = Encoder(given.SCHEMA, given.KEY).encode(said.select("record", *FIELDS))
    return made.select("record", pl.concat_list(field.name for field in given.SCHEMA.fields).alias("fields"), "tokens")


@cache
def town(persons: int = PERSONS, records: int = RECORDS, seed: int = 3) -> EncodedTown:
    """Return a town, encoded; a person's number is its place in the register."""
    made = payer_town.town(persons, records, seed)
    return encoded_town(made)


def encoded_town(made: payer_town.Town) -> EncodedTown:
    """Return this town, encoded."""
    number = pl.col("record").str.slice(1).cast(pl.UInt32)
    truth = made.truth.select("record", pl.col("person").str.slice(1).cast(pl.Int64))
    return EncodedTown(
        encodings(made.persons).select(number.alias("person_id"), "fields", "tokens"),
        encodings(made.records).rename({"record": "encoding_id"}),
        dict(truth.iter_rows()),
    )


def deliver(
    store: Snapshots, dataset: str, rows: pl.DataFrame, period: str = "2014", source: str = SOURCE, **header: Any
) -> tuple[str, str]:
    """Accept rows, facts without their origin, as a converted delivery; return its key."""
    schema, name = frames.FACTS[dataset], str(uuid.uuid4())
    encoded = dataset.endswith("encodings")
    keys = {"keys": {Kind.ENCODING: 1} if encoded else {}, "schema_id": given.SCHEMA.id if encoded else ""}
    own = {"delivery_id": name, "dataset": dataset, "period": period, "rows": rows.height}
    known = Header(**{**_HEADER, **keys, **own, **header})
    full = rows.with_columns(source=pl.lit(source), delivery_id=pl.lit(name))
    missing = [pl.lit(None, dtype).alias(column) for column, dtype in schema.items() if column not in full.columns]
    with store.change("delivery") as change:
        change.write(stored(dataset), append=full.with_columns(missing).cast(dict(schema)).select(list(schema)).lazy())
        with change.commit() as connection:
            deliveries.receive(connection, source, known)
            deliveries.accept(connection, (source, name), change.number)
            deliveries.convert(connection, (source, name), change.number)
    return source, name


class Place:
    """A store whose deliveries are made by hand, and the stage on it."""

    def __init__(self, folder: Path, policy: LinkagePolicy = POLICY) -> None:
        self.store: Snapshots = given.store(folder, MemoryTables())
        self.policy = policy
        self.reported: list[tuple[Stage, int, int]] = []
        self.report: Report = self._note

    def deliver(
        self, dataset: str, rows: pl.DataFrame, period: str = "2014", source: str = SOURCE, **header: Any
    ) -> tuple[str, str]:
        """Accept rows as a converted delivery; see `deliver`."""
        return deliver(self.store, dataset, rows, period, source, **header)

    def take_out(self, dataset: str, key: tuple[str, str], say: Callable[..., None]) -> None:
        """Remove a delivery's rows; `say` is `deliveries.withdraw`, or another end."""
        with self.store.change("end") as change:
            change.write(stored(dataset), remove=[key])
            with change.commit() as connection:
                say(connection, key)

    def say_again(self, key: tuple[str, str]) -> None:
        """Note that a delivery was sent again, as it was."""
        with self.store.engine.begin() as connection:
            deliveries.say_again(connection, key)

    def post(
        self, records: Sequence[str], month: D = MARCH, amount_ore: int = 10_000, period: str = "2014", **row: Any
    ) -> None:
        """Deliver a posting a record."""
        base = {"amount_ore": amount_ore, "event_month": month, "service": "post", "person_kind": None, **row}
        rows = [{**base, "encoding_id": record} for record in records]
        made = family_rows.facts("postings", *rows).drop("source", "delivery_id").collect()
        self.deliver("postings", made, period)

    def link(self, day: D = TODAY) -> tuple[Sequence[dict[str, Any]], Sequence[str]]:
        """Run the stage: quality and notes."""
        return LinkageStage(self.store, self.policy)(day, self.report)

    def _note(self, stage: Stage, done: int, total: int) -> None:
        self.reported.append((stage, done, total))

    @property
    def links(self) -> pl.DataFrame:
        """The links that stand."""
        with self.store.pin() as pinned:
            return pinned.scan(LINKS).sort("source", "encoding_id").collect()

    @property
    def linked(self) -> dict[str, int]:
        """The person of each linked record."""
        linked = self.links.filter(pl.col("person_id").is_not_null(), status="linked")
        return dict(linked.select("encoding_id", "person_id").iter_rows())

    @property
    def statuses(self) -> dict[str, str]:
        """What became of each record."""
        return dict(self.links.select("encoding_id", "status").iter_rows())

    def close(self) -> None:
        """Close the database."""
        self.store.engine.dispose()


_HEADER: Mapping[str, Any] = {"suite": given.SYNTHETIC, "chunks": 1, "digest": "0" * 64, "rejected_rows": 0}


def strict(margin: float = 3.0) -> LinkagePolicy:
    """Return the shipped policy with another margin."""
    return replace(POLICY, thresholds=replace(POLICY.thresholds, margin=margin), digest=f"{margin}")
