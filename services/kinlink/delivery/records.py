"""Fixed-width records that belong together, as rows of text columns.

1. Each record of the main type gives a row under its own line number; the fields of
   the other types come from the records with the same key, the last one holding.
2. Records with one key stand together. A file where they do not is refused: taking
   the next record's field, or the last one's, would be wrong without a sign.
3. Where the file ends with a count of its lines, a file cut off is seen by it.
4. Memory is bounded by a block: only the records of the last key wait for the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from kinlink.delivery.errors import ExtractError
from kinlink.delivery.mapping import Records
from kinlink.delivery.read import LINE, ROW

_TYPE = "_type"


def join_records(lines: Iterator[pl.DataFrame], records: Records, path: Path) -> Iterator[pl.DataFrame]:
    """Yield frames of ROW and one text column for each field, from frames of ROW and LINE.

    Raises:
        ExtractError: the last record is missing or counts other lines than there are,
            or the records of one key do not stand together.
    """
    waiting: pl.DataFrame | None = None
    key_place = records.fields[records.rows][records.key]
    last = pl.DataFrame()
    for batch in lines:
        last = batch.tail(1)
        frame = batch.with_columns(_slice(records.type_place, _TYPE), _slice(key_place, records.key))
        frame = frame if waiting is None else pl.concat([waiting, frame])
        waits = frame[records.key] == frame[-1, records.key]
        first_waiting = frame.height - int(waits.reverse().arg_min() or frame.height) if not waits.all() else 0
        waiting = frame[first_waiting:]
        yield _joined(frame[:first_waiting], records, path)
    if waiting is not None:
        yield _joined(waiting, records, path)
    if records.end:
        _check_end(last, records.end, path)


def _slice(place: tuple[int, int], name: str) -> pl.Expr:
    return pl.col(LINE).str.slice(place[0] - 1, place[1]).alias(name)


def _joined(frame: pl.DataFrame, records: Records, path: Path) -> pl.DataFrame:
    key = records.key
    wanted = frame.filter(pl.col(_TYPE).is_in(list(records.fields)))
    if wanted[key].rle_id().n_unique() != wanted[key].n_unique():
        raise ExtractError(
            f"{path.name}: records of one {key} stand apart. Sort the extract by {key}, or ask for a new one.",
            "RECORDS_APART",
        )
    rows = _fields(wanted, records, records.rows).drop(LINE, _TYPE)
    for name in records.fields:
        if name != records.rows:
            others = _fields(wanted, records, name).unique(key, keep="last", maintain_order=True)
            rows = rows.join(others.drop(ROW, LINE, _TYPE), on=key, how="left", maintain_order="left")
    return rows


def _fields(frame: pl.DataFrame, records: Records, name: str) -> pl.DataFrame:
    places = records.fields[name].items()
    return frame.filter(pl.col(_TYPE) == name).with_columns(_slice(place, field) for field, place in places)


def _check_end(last: pl.DataFrame, end: tuple[str, tuple[int, int]], path: Path) -> None:
    name, (start, length) = end
    line = last[LINE][0] if last.height else ""
    counted = line[start - 1 : start - 1 + length].strip()
    if line.startswith(name) and counted.isdecimal() and int(counted) == last[ROW][0]:
        return
    said = "counts other lines than the file has" if line.startswith(name) else "is missing"
    raise ExtractError(
        f"{path.name}: the last record ({name}) {said}: the file was cut off or put together. Transfer it again.",
        "TRUNCATED",
    )
