"""The family table's door: who holds a grant, the rows, and the tables that such a consumer gets instead of others.

1. A grant is a rule of the access table for StreamFamilyTable that names one consumer and the years it may read:
   `limits = { family_table = ["2014"] }`; "*" is every year, none is no grant. No other rule gives it.
2. Who holds a grant for any year gets no ordinary table, whatever its other rules say: rows can be added up, so it
   gets tables made of the same rows.
3. No grant, another year, and no table give the same answer.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow as pa

from linker.disclosure.family_table.coded_tables import DEFINITIONS, Definition
from linker.disclosure.family_table.table import LABEL_DA, LABEL_EN, TABLE_ID, FamilyTable
from linker.store.family_tables import FamilyTables, StoredFamilyTable
from linker.store.releases import Revision, StoredTable
from servicekit.access import AccessTable, AccessTableError
from servicekit.audit import describe
from servicekit.errors import NotFoundError
from servicekit.identity import Caller, Role, current_caller

RPC = "kinlink.linker.v1.StatisticsService/StreamFamilyTable"
LIMIT = "family_table"
MESSAGE_BYTES = 1 << 20
_EVERY = "*"


class FamilyTableGrants:
    """Which years' family tables a caller may read."""

    def __init__(self, access: AccessTable) -> None:
        """Use the access table.

        Raises:
            AccessTableError: a rule for the family table does not name one consumer and a list of years.
        """
        for rule in access.rules(RPC):
            years = rule.limits.get(LIMIT)
            listed = isinstance(years, list) and all(isinstance(year, str) for year in years)
            if rule.role is not Role.CONSUMER or not rule.name or set(rule.limits) != {LIMIT} or not listed:
                raise AccessTableError(
                    f"the rule {rule.grant} for {RPC} must name one consumer and its years: "
                    'name = "…", limits = { family_table = ["2014"] }'
                )
        self._access = access

    def years(self, caller: Caller) -> Sequence[str]:
        """Return the years that are granted; "*" among them is every year; empty: no grant."""
        rule = self._access.decide(RPC, caller)
        return () if rule is None else rule.limits[LIMIT]


class FamilyTableDoor:
    """Family tables, and tables of coded rows, for callers with a grant."""

    def __init__(self, tables: FamilyTables, grants: FamilyTableGrants) -> None:
        self._tables = tables
        self._grants = grants

    def is_for_caller(self) -> bool:
        """Say whether the caller holds a grant, so that ordinary tables are not for it."""
        return bool(self._grants.years(current_caller()))

    def stream(self, period: str) -> Iterator[bytes]:
        """Yield the year's rows as parts of an Arrow IPC stream; the newest granted year when `period` is empty.

        Raises:
            NotFoundError: FAMILY_TABLE_NOT_FOUND, no grant for the year, or no table.
        """
        found = self._find(period)
        if found is None:
            message = "no family table of this year, or not for this caller; the controller grants it by name and year"
            raise NotFoundError(message, "FAMILY_TABLE_NOT_FOUND")
        caller = current_caller()
        rows = found.rows(caller.name)
        describe(subject=f"{TABLE_ID}/{found.table.period}/{found.table.release_id}", count=rows.height)
        content = arrow_stream(found.table, rows)
        for start in range(0, len(content), MESSAGE_BYTES):
            yield content[start : start + MESSAGE_BYTES]

    def definitions(self) -> list[tuple[Definition, list[Revision]]]:
        """Return the coded tables, each with its granted years, newest first."""
        stored = [found for year in self._granted() if (found := self._tables.find(year)) is not None]
        revisions = [
            Revision(found.table.period, 1, found.table.release_id, found.table.reference_date, found.released_at)
            for found in stored
        ]
        return [(definition, revisions) for definition in DEFINITIONS]

    def find(self, table_id: str, period: str, release_id: str) -> StoredTable | None:
        """Return a coded table as `Releases.find` returns an ordinary one."""
        found = self._find(period)
        if found is None or release_id not in ("", found.table.release_id):
            return None
        named = (table for table in found.table.coded if table.table_id == table_id)
        return next((StoredTable(table, found.released_at, "") for table in named), None)

    def _granted(self) -> list[str]:
        years = self._grants.years(current_caller())
        return [year for year in self._tables.periods() if year in years or _EVERY in years] if years else []

    def _find(self, period: str) -> StoredFamilyTable | None:
        granted = self._granted()
        if not granted or (period and period not in granted):
            return None
        return self._tables.find(period or granted[0])


def arrow_stream(table: FamilyTable, rows: pl.DataFrame) -> bytes:
    """Return the rows as an Arrow IPC stream.

    Columns: row_id, the properties and spending (String), and where amounts are rounded an Int64 in kroner for each
    column of spending, null where hidden. Metadata of the schema: release_id, digest (hex), label_da, label_en,
    definition (JSON).
    """
    content = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    metadata = {
        "release_id": table.release_id,
        "digest": table.digest,
        "label_da": LABEL_DA,
        "label_en": LABEL_EN,
        "definition": json.dumps(table.definition(), ensure_ascii=False, sort_keys=True),
    }
    labelled = content.replace_schema_metadata(metadata)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, labelled.schema) as writer:
        writer.write_table(labelled)
    return sink.getvalue()
