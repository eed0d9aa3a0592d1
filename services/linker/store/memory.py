"""Tables in memory: a real adapter without durability, for tests and trials.

Keeps every named version until it is purged. Loses all when the process ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from linker import frames
from linker.store.tables import SCHEMAS, DeliveryKey


class MemoryTables:
    """Implements `Tables` on frames in a dictionary."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[int, pl.DataFrame]] = {}

    def write(
        self,
        table: str,
        base: int | None,
        *,
        remove: Sequence[DeliveryKey] = (),
        replace: bool = False,
        append: pl.LazyFrame | None = None,
    ) -> int:
        """See `Tables.write`."""
        versions = self._discard_after(table, base)
        frame = self.scan(table, base).collect()
        for source, delivery_id in remove:
            frame = frame.filter(~((pl.col("source") == source) & (pl.col("delivery_id") == delivery_id)))
        if replace:
            frame = frame.clear()
        if append is not None:
            frame = pl.concat([frame, frames.check(append, SCHEMAS[table], table).collect()])
        version = 0 if base is None else base + 1
        versions[version] = frame
        return version

    def scan(self, table: str, version: int | None) -> pl.LazyFrame:
        """See `Tables.scan`."""
        if version is None:
            return pl.LazyFrame(schema=SCHEMAS[table])
        return self._versions[table][version].lazy()

    def purge(self, table: str, version: int | None) -> int:
        """See `Tables.purge`; each dropped version counts as a file."""
        versions = self._discard_after(table, version)
        old = [v for v in versions if v != version]
        for v in old:
            del versions[v]
        return len(old)

    def _discard_after(self, table: str, base: int | None) -> dict[int, pl.DataFrame]:
        versions = self._versions.setdefault(table, {})
        for later in [v for v in versions if base is None or v > base]:
            del versions[later]
        return versions
