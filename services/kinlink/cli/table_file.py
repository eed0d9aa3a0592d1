"""A released table as bytes: CSV, JSON, Arrow, Parquet, a workbook, or text.

1. The same table gives the same bytes.
2. In CSV a suppressed value is "..": what reads it as a number must say what it makes of it. In the others there is no
   number. The status stands in a column of its own in all.
3. Every file says which release it is, by id and digest, and what the table means.
"""

from __future__ import annotations

import csv
import io
import json
from enum import StrEnum
from typing import Any

import pyarrow as pa

from kinlink.cli.table_text import render
from kinlink.cli.table_words import SUPPRESSED
from kinlink.cli.table_workbook import workbook
from kinlink.released import Table, TableDefinition

STATUSES = {
    "published": "the number of this revision",
    "carried": "the number of the earlier revision that the column revision names; the present one is withheld",
    "suppressed": "withheld; not zero, and not missing",
}


class Format(StrEnum):
    """How a table is written."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"
    XLSX = "xlsx"
    ARROW = "arrow"
    PARQUET = "parquet"

    @property
    def is_binary(self) -> bool:
        """Whether it is no text."""
        return self in {Format.XLSX, Format.ARROW, Format.PARQUET}


def write(table: Table, chosen: Format, width: int) -> bytes:
    """Return the table in a format; text is `width` characters wide."""
    sink = io.BytesIO()
    match chosen:
        case Format.TEXT:
            return render(table, width).encode()
        case Format.CSV:
            return _csv(table).encode()
        case Format.JSON:
            return (json.dumps(_document(table), ensure_ascii=False, indent=2) + "\n").encode()
        case Format.XLSX:
            return workbook(table)
        case Format.ARROW:
            content = table.to_frame().to_arrow().replace_schema_metadata(_metadata(table))
            with pa.ipc.new_file(sink, content.schema) as file:
                file.write_table(content)
        case Format.PARQUET:
            table.to_frame().write_parquet(sink, metadata=_metadata(table))
    return sink.getvalue()


def definition_document(definition: TableDefinition) -> dict[str, Any]:
    """Return a definition as JSON has it."""
    return {
        "table_id": definition.table_id,
        "version": definition.version,
        "title_da": definition.title_da,
        "title_en": definition.title_en,
        "universe": definition.universe,
        "notes": list(definition.notes),
        "period_type": definition.period_type,
        "periods": list(definition.periods),
        "revisions": [
            {
                "period": each.period,
                "revision": each.revision,
                "release_id": each.release_id,
                "reference_date": each.reference_date.isoformat(),
                "released_at": each.released_at.isoformat(),
            }
            for each in definition.revisions
        ],
    }


def _csv(table: Table) -> str:
    units = {measure.name: measure.unit for measure in table.measures}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    whole = {
        "table_id": table.definition.table_id,
        "period": table.period,
        "release_id": table.release_id,
        "sha256": table.digest,
    }
    columns = ["measure", "unit", "status", "revision", "value"]
    writer.writerow([*(axis.name for axis in table.axes), *columns, *whole])
    for cell in table.cells:
        value = SUPPRESSED if cell.value is None else cell.value
        words = (*cell.categories, cell.measure, units[cell.measure], cell.status)
        writer.writerow([*words, cell.revision or "", value, *whole.values()])
    return text.getvalue()


def _metadata(table: Table) -> dict[str, str]:
    """Return what stands in the schema of Arrow and Parquet files."""
    document = _document(table)
    del document["cells"], document["definition"]["periods"], document["definition"]["revisions"]
    return {
        "release_id": table.release_id,
        "digest": table.digest,
        "definition": json.dumps(document, ensure_ascii=False),
    }


def _document(table: Table) -> dict[str, Any]:
    units = {measure.name: measure.unit for measure in table.measures}
    return {
        "definition": definition_document(table.definition),
        "release_id": table.release_id,
        "digest": table.digest,
        "period": table.period,
        "revision": table.revision,
        "reference_date": table.reference_date.isoformat(),
        "released_at": table.released_at.isoformat(),
        "statuses": STATUSES,
        "axes": [
            {
                "name": axis.name,
                "title_da": axis.title_da,
                "categories": list(axis.categories),
                "subtotals": list(axis.subtotals),
                "total": axis.total,
                "titles_da": dict(axis.titles_da),
            }
            for axis in table.axes
        ],
        "measures": [{"name": each.name, "title_da": each.title_da, "unit": each.unit} for each in table.measures],
        "cells": [
            {
                "categories": list(cell.categories),
                "measure": cell.measure,
                "unit": units[cell.measure],
                "status": cell.status,
                "revision": cell.revision or None,
                "value": cell.value,
            }
            for cell in table.cells
        ],
    }
