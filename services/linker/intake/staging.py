"""Keep the chunks of unfinished deliveries on disk, so that they can be resumed.

1. One folder a delivery, one file a chunk: `<index>-<SHA-256 of the chunk>.arrow`, with
   the rows as read. A file is complete and synced when it has its name.
2. Chunks are held in order without gaps; their number says where to resume.
3. A chunk is not taken when the disk would be left with less than the reserve, so that
   deliveries never take the room that the state database and the store need.
4. A folder that is not touched for a while is abandoned; one without a delivery that is
   being received is left over. Both are deleted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path

import polars as pl

from linker.store.durable import sync
from linker.store.tables import DeliveryKey
from servicekit.errors import ExhaustedError

_PART = ".part"


class Staging:
    """The folder of unfinished deliveries. Its chunks are under source pseudonyms: guard it as the store."""

    def __init__(self, root: Path, reserve_bytes: int = 0) -> None:
        self._root = root
        self._reserve_bytes = reserve_bytes
        root.mkdir(parents=True, exist_ok=True)

    def held(self, key: DeliveryKey) -> int:
        """Return the number of chunks held: the index to resume with."""
        return len(self._chunks(key))

    def rows(self, key: DeliveryKey) -> int:
        """Return the number of rows in the chunks held."""
        files = self._chunks(key)
        return int(pl.scan_ipc(files).select(pl.len()).collect().item()) if files else 0

    def digest(self, key: DeliveryKey) -> str:
        """Return the hex SHA-256 over the digests of the chunks held, in order."""
        digests = b"".join(bytes.fromhex(file.stem.partition("-")[2]) for file in self._chunks(key))
        return hashlib.sha256(digests).hexdigest()

    def scan(self, key: DeliveryKey, schema: pl.Schema) -> pl.LazyFrame:
        """Return the rows held, lazily, in delivery order."""
        files = self._chunks(key)
        return pl.scan_ipc(files) if files else pl.LazyFrame(schema=schema)

    def put(self, key: DeliveryKey, index: int, chunk: bytes, frame: pl.DataFrame) -> None:
        """Hold a chunk: its rows `frame`, read from the bytes `chunk`. `index` is the number held.

        Raises:
            ExhaustedError: STORAGE_LOW, the disk has less room than the reserve.
        """
        if shutil.disk_usage(self._root).free < self._reserve_bytes + len(chunk):
            raise ExhaustedError("the linker's disk is nearly full; its operator must make room", "STORAGE_LOW")
        folder = self._folder(key)
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{index:08}{_PART}"
        frame.write_ipc(part, compression="uncompressed")
        sync(part)
        part.rename(folder / f"{index:08}-{hashlib.sha256(chunk).hexdigest()}.arrow")
        sync(folder)

    def truncate(self, key: DeliveryKey, length: int) -> None:
        """Hold just the first `length` chunks."""
        for file in self._chunks(key)[length:]:
            file.unlink()

    def drop(self, key: DeliveryKey) -> None:
        """Hold nothing of the delivery."""
        shutil.rmtree(self._folder(key), ignore_errors=True)

    def touched_at(self, key: DeliveryKey) -> float | None:
        """Return when a chunk last came, in seconds since the epoch; None when none is held."""
        folder = self._folder(key)
        return folder.stat().st_mtime if folder.exists() else None

    def drop_all_but(self, keys: Collection[DeliveryKey]) -> None:
        """Drop folders of deliveries that nobody is sending."""
        wanted = {self._folder(key) for key in keys}
        for source in self._root.iterdir():
            for folder in source.iterdir():
                if folder not in wanted:
                    shutil.rmtree(folder)

    def _folder(self, key: DeliveryKey) -> Path:
        source, delivery_id = key
        if os.sep in source or source.startswith("."):  # names come checked from certificates; never trust a path
            raise ValueError("a source's name is no path")
        return self._root / source / delivery_id

    def _chunks(self, key: DeliveryKey) -> list[Path]:
        return sorted(self._folder(key).glob("*.arrow"))
