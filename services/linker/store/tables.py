"""The stored tables, and the port behind which they are kept.

1. `quarantine/<dataset>` holds delivered rows under source pseudonyms until they
   are converted; `facts/<dataset>` holds them under dense ids; `identities` holds
   the pseudonym of each id, and `identities_rekeyed` the next one while a key is replaced; `links`
   holds what became of records without a usable CPR number.
2. Quarantine and facts are divided by (source, delivery_id), so that a delivery
   is taken out by dropping its files, without reading a row.
3. A write makes a new version on top of a version that the caller names; whatever
   was written after that version and never named by a snapshot is discarded. So
   a writer that died half-way leaves nothing that a later commit could bring back.
4. A version is durable when `write` returns.

It does not know which versions belong together: that is `snapshots`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import polars as pl

from kinlink.delivery import datasets
from linker import frames

DeliveryKey = tuple[str, str]
"""Source and delivery id."""

IDENTITIES: Final = "identities"
REKEYED: Final = "identities_rekeyed"
LINKS: Final = "links"


def quarantine(dataset: str) -> str:
    """Return the name of the table of delivered, unconverted rows."""
    return f"quarantine/{dataset}"


def facts(dataset: str) -> str:
    """Return the name of the table of converted rows."""
    return f"facts/{dataset}"


_ORIGIN: Mapping[str, pl.DataType] = {"source": pl.String(), "delivery_id": pl.String()}

SCHEMAS: Final[Mapping[str, pl.Schema]] = {
    **{quarantine(name): pl.Schema({**dataset.schema, **_ORIGIN}) for name, dataset in datasets.DATASETS.items()},
    **{facts(name): schema for name, schema in frames.FACTS.items()},
    IDENTITIES: frames.IDENTITIES,
    REKEYED: frames.REKEYED,
    LINKS: frames.LINKS,
}
UNDIVIDED: Final = frozenset({IDENTITIES, REKEYED, LINKS})
"""The tables that are not divided by delivery."""


class Tables(Protocol):
    """Versioned tables, each with the schema that SCHEMAS gives it."""

    def write(
        self,
        table: str,
        base: int | None,
        *,
        remove: Sequence[DeliveryKey] = (),
        replace: bool = False,
        append: pl.LazyFrame | None = None,
    ) -> int:
        """Make a durable version: `base` without the deliveries `remove`, with the rows `append`.

        With `replace` it holds the rows `append` alone, which may be made from `base`.
        `base` None means an empty table. Rows have no order. Any version after `base` is
        discarded first; so one writer at a time, on the version that the snapshot names.
        Returns the new version. Removal is by (source, delivery_id), before the append.
        """
        ...

    def scan(self, table: str, version: int | None) -> pl.LazyFrame:
        """Return the rows of that version, lazily, with the table's schema; none for None."""
        ...

    def purge(self, table: str, version: int | None) -> int:
        """Delete from disk whatever `version` does not hold; return the number of files deleted.

        Later versions are discarded and earlier ones can no longer be read.
        """
        ...
