"""Tables in Delta Lake, on a local folder or an object store.

1. delta-rs does not sync. On a local folder a version counts as written when its
   data files, its log entries and all their folders are synced; an object store is
   durable when it answers.
2. What a dead writer left is discarded before the next write: locally its log
   entries are deleted (a torn last entry included), on an object store the table is
   restored to the base version.
3. Pseudonym columns carry no statistics, neither in the files nor in the log.
4. Delta has no unsigned integers: ids are stored as Int32 and cast back.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import polars as pl
from deltalake import ColumnProperties, DeltaTable, WriterProperties, write_deltalake

from linker import frames
from linker.store.durable import sync, sync_files
from linker.store.tables import SCHEMAS, UNDIVIDED, DeliveryKey

_LOG = "_delta_log"
_LOG_VERSION = re.compile(r"^(\d{20})\.")
_WRITER = WriterProperties(
    compression="ZSTD", compression_level=1, default_column_properties=ColumnProperties(statistics_enabled="NONE")
)
_CONFIGURATION = {"delta.dataSkippingNumIndexedCols": "0", "delta.checkpointInterval": "20"}


class DeltaTables:
    """Implements `Tables` on Delta Lake; one Delta table a stored table.

    `root` is a folder, which is made when missing, or a URI (s3://bucket/prefix) with
    its `storage_options`.
    """

    def __init__(self, root: str | Path, storage_options: Mapping[str, str] | None = None) -> None:
        self._remote = str(root) if "://" in str(root) else None
        self._root = Path(root)
        self._options = dict(storage_options or {}) or None
        if self._remote is None:
            self._root.mkdir(parents=True, exist_ok=True)
            sync(self._root.parent)

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
        uri = self._uri(table)
        self._discard_after(table, base)
        if self._exists(table):
            delta = DeltaTable(uri, storage_options=self._options)
        else:
            delta = DeltaTable.create(
                uri,
                _storage_frame(pl.DataFrame(schema=SCHEMAS[table]).lazy()).collect().to_arrow().schema,
                partition_by=[] if table in UNDIVIDED else ["source", "delivery_id"],
                configuration=_CONFIGURATION,
                storage_options=self._options,
            )
        if replace and base is not None:
            delta.delete()
        elif remove and base is not None:
            delta.delete(" OR ".join(f"(source = {_quoted(s)} AND delivery_id = {_quoted(d)})" for s, d in remove))
        if append is not None:
            rows = _storage_frame(frames.check(append, SCHEMAS[table], table))
            write_deltalake(
                delta, rows.collect_batches(lazy=True, engine="streaming"), mode="append", writer_properties=_WRITER
            )
        version = int(DeltaTable(uri, storage_options=self._options).version())
        if self._remote is None:
            self._sync(table, base)
        return version

    def scan(self, table: str, version: int | None) -> pl.LazyFrame:
        """See `Tables.scan`."""
        schema = SCHEMAS[table]
        if version is None:
            return pl.LazyFrame(schema=schema)
        stored = pl.scan_delta(self._uri(table), version=version, storage_options=self._options)
        return stored.select(pl.col(name).cast(dtype) for name, dtype in schema.items())

    def purge(self, table: str, version: int | None) -> int:
        """See `Tables.purge`."""
        self._discard_after(table, version)
        if version is None:
            return 0
        delta = DeltaTable(self._uri(table), storage_options=self._options)
        if self._remote is not None:
            return len(delta.vacuum(0, dry_run=False, enforce_retention_duration=False, full=True))
        folder = self._root / table
        held = {Path(unquote(uri.removeprefix("file://"))) for uri in delta.file_uris()}
        held |= {Path(uri) for uri in delta.file_uris()}
        files = (file for file in folder.rglob("*") if file.is_file() and _LOG not in file.parts)
        dropped = [file for file in files if file not in held]  # a file half written has another name
        for file in dropped:
            file.unlink()
        for parent in {file.parent for file in dropped}:
            if parent != folder and not any(parent.iterdir()):
                parent.rmdir()
        return len(dropped)

    def _uri(self, table: str) -> str:
        return f"{self._remote.rstrip('/')}/{table}" if self._remote else str(self._root / table)

    def _exists(self, table: str) -> bool:
        return DeltaTable.is_deltatable(self._uri(table), storage_options=self._options)

    def _discard_after(self, table: str, base: int | None) -> None:
        if self._remote is not None:
            self._restore(table, base)
            return
        folder = self._root / table
        if base is None:
            shutil.rmtree(folder, ignore_errors=True)
            return
        log = folder / _LOG
        for entry in log.iterdir():
            found = _LOG_VERSION.match(entry.name)
            half_written = "#" in entry.name or not (found or entry.name == "_last_checkpoint")
            if half_written or (found and int(found[1]) > base):
                entry.unlink()
        last = log / "_last_checkpoint"
        if last.exists() and not _checkpoint_within(last, base):
            last.unlink()

    def _restore(self, table: str, base: int | None) -> None:
        if not self._exists(table):
            return
        delta = DeltaTable(self._uri(table), storage_options=self._options)
        if base is None:
            delta.delete()
        elif delta.version() != base:
            delta.restore(base)

    def _sync(self, table: str, base: int | None) -> None:
        """Sync what versions after `base` added: log entries, and the data files they name."""
        folder = self._root / table
        files: list[Path] = []
        for entry in (folder / _LOG).iterdir():
            found = _LOG_VERSION.match(entry.name)
            if found and base is not None and int(found[1]) <= base:
                continue
            files.append(entry)
            if entry.suffix == ".json":
                actions = (json.loads(line) for line in entry.read_text().splitlines())
                added = (folder / unquote(action["add"]["path"]) for action in actions if "add" in action)
                files.extend(file for file in added if file.exists())
        sync_files(files, self._root)


def _checkpoint_within(last: Path, base: int) -> bool:
    try:
        return int(json.loads(last.read_text())["version"]) <= base
    except (ValueError, KeyError, TypeError):
        return False  # torn by a power loss; it is only a hint, the log is read without it


def _storage_frame(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.with_columns(pl.col(pl.UInt32).cast(pl.Int32))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
