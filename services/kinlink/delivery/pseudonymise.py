"""The second pass: identifiers become pseudonyms, rows become chunks ready to send.

1. Every kind of identifier is evaluated once for the whole delivery, so all of it
   stands under one key version a kind.
2. Chunks wait in a nameless temporary file (mode 0600, gone with this process however
   it ends). They hold pseudonyms; no identifier is ever on disk.
3. A chunk is one uncompressed Arrow IPC stream of at most CHUNK_BYTES.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self

import polars as pl

from kinlink import pseudonyms
from kinlink.blinding import Progress
from kinlink.delivery.dataset import Dataset
from kinlink.delivery.examine import shifted
from kinlink.pseudonymizer_client import PseudonymizerClient
from kinlink.pseudonyms import Kind
from kinlink.types.v1.types_pb2 import KeyRef

CHUNK_BYTES = 4 * 1024 * 1024
_AIM_BYTES = CHUNK_BYTES * 7 // 8
_ELEMENT_BYTES = 32


@dataclass(slots=True)
class Prepared:
    """Chunks on hand. `digest` is SHA-256 over the SHA-256 digests of the chunks in order."""

    _file: BinaryIO
    rows: int = 0
    _ends: list[int] = field(default_factory=lambda: [0])
    _digests: list[bytes] = field(default_factory=list)

    @classmethod
    def new(cls) -> Prepared:
        """Open a place for chunks."""
        return cls(tempfile.TemporaryFile())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def chunks(self) -> int:
        """The number of chunks."""
        return len(self._digests)

    @property
    def size(self) -> int:
        """The bytes of all chunks."""
        return self._ends[-1]

    @property
    def digest(self) -> bytes:
        """The digest of the content."""
        return hashlib.sha256(b"".join(self._digests)).digest()

    def chunk(self, index: int) -> bytes:
        """Return a chunk."""
        self._file.seek(self._ends[index])
        return self._file.read(self._ends[index + 1] - self._ends[index])

    def add(self, frame: pl.DataFrame) -> None:
        """Add a frame's rows, in as many chunks as they need."""
        if not frame.height:
            return
        per_chunk = max(1, _AIM_BYTES * frame.height // max(int(frame.estimated_size()), 1))
        for start in range(0, frame.height, per_chunk):
            self._add_slice(frame.slice(start, per_chunk))

    def _add_slice(self, frame: pl.DataFrame) -> None:
        chunk = frame.rechunk().write_ipc_stream(None, compat_level=pl.CompatLevel.oldest()).getvalue()
        if len(chunk) > CHUNK_BYTES and frame.height > 1:
            half = frame.height // 2
            self._add_slice(frame.head(half))
            self._add_slice(frame.slice(half))
            return
        self._file.write(chunk)
        self._ends.append(self._ends[-1] + len(chunk))
        self._digests.append(hashlib.sha256(chunk).digest())
        self.rows += frame.height


def evaluate(
    identifiers: Mapping[Kind, pl.Series], client: PseudonymizerClient, report: Progress
) -> tuple[pl.DataFrame, list[KeyRef]]:
    """Return the pseudonym of each identifier (kind, identifier, element), and the keys used. Asks the service."""
    total = sum(len(texts) for texts in identifiers.values())
    done = 0
    parts = [pl.DataFrame(schema={"kind": pl.String(), "identifier": pl.String(), "element": pl.Binary()})]
    keys = []
    for kind, texts in identifiers.items():
        packed, key = client.evaluate(
            texts.to_list(), pseudonyms.Kind(kind.value), progress=shifted(report, done, total)
        )
        done += len(texts)
        elements = [packed[start : start + _ELEMENT_BYTES] for start in range(0, len(packed), _ELEMENT_BYTES)]
        parts.append(
            pl.DataFrame({"identifier": texts, "element": pl.Series(elements, dtype=pl.Binary())}).select(
                kind=pl.lit(kind.value), identifier="identifier", element="element"
            )
        )
        keys.append(key)
    return pl.concat(parts), keys


def prepare(batches: Iterable[pl.DataFrame], dataset: Dataset, table: pl.DataFrame, prepared: Prepared) -> None:
    """Add the rows of `batches` to `prepared`, each identifier replaced by its pseudonym of `table`."""
    for batch in batches:
        prepared.add(replace(batch, dataset, table))


def replace(frame: pl.DataFrame, dataset: Dataset, table: pl.DataFrame) -> pl.DataFrame:
    """Return the frame under the dataset's schema: identifiers replaced, null stays null, order kept."""
    for column in dataset.pseudonym_columns:
        kind = pl.lit(column.kind.value) if column.kind else pl.col(column.kind_column or "")
        frame = (
            frame.with_columns(kind.alias("_kind"), pl.col(column.name).cast(pl.String))
            .join(
                table,
                left_on=["_kind", column.name],
                right_on=["kind", "identifier"],
                how="left",
                maintain_order="left",
            )
            .drop("_kind", column.name)
            .rename({"element": column.name})
        )
    return frame.match_to_schema(dataset.schema)
