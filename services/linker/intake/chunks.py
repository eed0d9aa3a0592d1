"""Read one chunk: bytes from a stranger in, rows of the dataset's schema out.

1. A chunk is one complete Arrow IPC stream, uncompressed and without views or
   dictionaries: its rows then take no more than a few times the memory of its bytes, whatever
   it claims of itself. (Views may overlap: 4 MiB of them can stand for terabytes of text.)
2. The schema is read and compared before any row is; every buffer is checked against
   its length before polars sees it.
3. Text, binary and lists of them may have 32-bit or 64-bit offsets.
"""

from __future__ import annotations

import struct

import polars as pl
import pyarrow as pa

from kinlink.delivery.dataset import Dataset

_RECORD_BATCH = 3
_HEADER_TYPE, _HEADER = 1, 2  # fields of the flatbuffer table Message (Arrow's Message.fbs)
_COMPRESSION = 3  # field of the table RecordBatch


class ChunkError(ValueError):
    """The bytes are no chunk of this dataset; says what was expected, never a value."""


def read(chunk: bytes, dataset: Dataset) -> pl.DataFrame:
    """Return the chunk's rows with exactly the dataset's schema.

    Raises:
        ChunkError: not a complete Arrow IPC stream, compressed, with other columns or types,
            or with buffers that do not fit.
    """
    try:
        if any(_is_compressed(bytes(message.metadata)) for message in pa.ipc.MessageReader.open_stream(chunk)):
            raise ChunkError("the Arrow IPC stream must not be compressed")
        with pa.ipc.open_stream(chunk) as reader:
            _check(reader.schema, dataset)
            table = reader.read_all()
            table.validate(full=True)
    except (pa.ArrowException, EOFError, OSError, ValueError, struct.error, IndexError) as error:
        if isinstance(error, ChunkError):
            raise
        raise ChunkError("expected one complete Arrow IPC stream") from None
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame) or frame.schema != dataset.schema:
        raise ChunkError(f"expected the columns and types of {dataset.name} in the data dictionary")
    return frame


def _check(schema: pa.Schema, dataset: Dataset) -> None:
    expected = dataset.schema
    if schema.names != list(expected):
        missing = [name for name in expected if name not in schema.names]
        detail = f"; missing: {', '.join(missing)}" if missing else ""
        raise ChunkError(f"expected the columns {', '.join(expected)}, in this order{detail}")
    for field in schema:
        if not _fits(field.type, expected[field.name]):
            views = ", with offsets and not as views" if "view" in str(field.type) else ""
            raise ChunkError(f"column {field.name}: expected the type {expected[field.name]}{views}")


def _fits(found: pa.DataType, expected: pl.DataType) -> bool:
    types = pa.types
    if expected == pl.String:
        return bool(types.is_string(found) or types.is_large_string(found))
    if expected == pl.Binary:
        return bool(types.is_binary(found) or types.is_large_binary(found))
    if isinstance(expected, pl.List):
        inner = pl.Binary() if expected.inner == pl.Binary else pl.String()
        return isinstance(found, pa.ListType | pa.LargeListType) and _fits(found.value_type, inner)
    exact: dict[pl.DataType, pa.DataType] = {
        pl.Date(): pa.date32(),
        pl.Int8(): pa.int8(),
        pl.Int16(): pa.int16(),
        pl.Int64(): pa.int64(),
    }
    return bool(found == (pa.bool_() if expected == pl.Boolean else exact[expected]))


def _is_compressed(message: bytes) -> bool:
    """Tell whether a message is a record batch whose body is compressed.

    Reads the two flatbuffer tables by their layout; pyarrow offers no way to ask before it
    decompresses, and a body of 4 MiB may claim any size.
    """
    root = struct.unpack_from("<I", message, 0)[0]
    kind = _field(message, root, _HEADER_TYPE)
    header = _field(message, root, _HEADER)
    if kind is None or header is None or message[kind] != _RECORD_BATCH:
        return False
    return _field(message, header + struct.unpack_from("<I", message, header)[0], _COMPRESSION) is not None


def _field(buffer: bytes, table: int, index: int) -> int | None:
    """Return where the field of a flatbuffer table stands; None when it is absent."""
    vtable = table - struct.unpack_from("<i", buffer, table)[0]
    slot = 4 + 2 * index
    if slot + 2 > struct.unpack_from("<H", buffer, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", buffer, vtable + slot)[0]
    return table + offset if offset else None
