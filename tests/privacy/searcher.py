"""Looks for secrets wherever they could lie: text, bytes, packed files, databases, messages.

1. A number is found with or without separators between its digits, in any UTF, and
   in the forms that an encoder or a digest makes of it without a key. A word is found in any case.
2. Bytes (group elements, key scalars) are found raw, in hex and in base64.
3. A compressed or packed file is searched as it lies and unpacked: Parquet and Arrow
   column by column, SQLite row by row, gzip, JSON with its escapes undone.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sqlite3
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from kinlink import ristretto255
from kinlink.pseudonyms import Kind, Suite

# Up to six bytes of separator, or of a wider encoding's zeros, between two digits.
_GAP = rb"[\x00 \t.,/_'\-\xa0\xad\xc2\xe2\x80\x90-\x95]{0,6}"
_WRITTEN = ("utf-8", "utf-16-le", "cp1252")
_DIGESTS = ("md5", "sha1", "sha256", "sha512", "blake2b", "sha3_256")


class Finding(NamedTuple):
    """A secret, the form it had, and where it lay."""

    secret: str
    form: str
    where: str


class Searcher:
    """Looks for named secrets."""

    def __init__(
        self,
        numbers: Mapping[str, str] | None = None,
        packed: Mapping[str, bytes] | None = None,
        words: Mapping[str, str] | None = None,
    ) -> None:
        """`numbers`: digits by name, without separators; `packed`: bytes by name; `words`: text by name."""
        self._patterns: list[tuple[str, re.Pattern[bytes]]] = []
        self._literals: list[tuple[str, str, bytes]] = []
        for name, number in (numbers or {}).items():
            digits = [re.escape(sign.encode()) for sign in number]
            self._patterns.append((name, re.compile(_GAP.join(digits))))
            self._literals += [(name, form, literal) for form, literal in _forms_of_number(number)]
        for name, word in (words or {}).items():
            self._literals += [(name, form, literal) for form, literal in forms_of_word(word)]
        for name, value in (packed or {}).items():
            self._literals += [(name, form, literal) for form, literal in _forms_of_bytes(value)]

    def data(self, where: str, data: bytes | str) -> list[Finding]:
        """Search text or bytes as they are."""
        data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        found = [Finding(name, "text", where) for name, pattern in self._patterns if pattern.search(data)]
        lower = data.lower()
        return found + [
            Finding(name, form, where)
            for name, form, literal in self._literals
            if literal in (lower if form.endswith(("hex", "any case")) else data)
        ]

    def message(self, where: str, message: Any) -> list[Finding]:
        """Search a protobuf message, encoded and as text."""
        return self.data(where, message.SerializeToString()) + self.data(f"{where} (decoded)", str(message))

    def folder(self, root: Path) -> list[Finding]:
        """Search all files below `root`, and their names."""
        return [finding for path in sorted(root.rglob("*")) for finding in self.file(path, path.relative_to(root))]

    def file(self, path: Path, name: Path | None = None) -> list[Finding]:
        """Search one file: its name, its bytes, and what is packed in it."""
        where = str(name or path)
        found = self.data(f"the name {where}", where)
        if path.is_file():
            data = path.read_bytes()
            found += self.data(where, data)
            for part, unpacked in _unpacked(path, data):
                found += self.data(f"{where}: {part}", unpacked)
        return found


def _forms_of_number(number: str) -> Iterator[tuple[str, bytes]]:
    for text in _written(number):
        plain = text.encode()
        yield "hex", plain.hex().encode()
        yield "utf-16 hex", text.encode("utf-16-le").hex().encode()
        for base64 in _base64(plain):
            yield "base64", base64
        for digest in _DIGESTS:
            value = hashlib.new(digest, plain).digest()
            yield from ((f"{digest} {form}", literal) for form, literal in _forms_of_bytes(value))
    if number.isdigit():
        yield "integer", int(number).to_bytes(8, "little")
        yield "big-endian integer", int(number).to_bytes(8, "big")
        yield "varint", _varint(int(number))
        for suite in Suite:
            for kind in Kind:
                point = ristretto255.hash_to_group([number.encode()], suite.tag(kind))
                yield from ((f"point {form}", literal) for form, literal in _forms_of_bytes(point))


def _written(number: str) -> tuple[str, ...]:
    return number, f"{number[:6]}-{number[6:]}", f"{number[:6]} {number[6:]}"


def forms_of_word(word: str) -> Iterator[tuple[str, bytes]]:
    """Yield the forms in which text is found: as it is, in several encodings, in hex and in base64."""
    small = word.lower()
    for encoding in _WRITTEN:
        yield f"{encoding}, any case", small.encode(encoding, "replace")
    yield "json, any case", json.dumps(small)[1:-1].encode()
    for written in dict.fromkeys((word, small)):
        yield "hex", written.encode().hex().encode()
        for base64 in _base64(written.encode()):
            yield "base64", base64


def _forms_of_bytes(value: bytes) -> Iterator[tuple[str, bytes]]:
    yield "raw", value
    yield "hex", value.hex().encode()
    yield "reversed", value[::-1]
    for base64 in _base64(value):
        yield "base64", base64
    yield "json", json.dumps(value.decode("latin-1"))[1:-1].encode()


def _base64(value: bytes) -> set[bytes]:
    """Return what base64 makes of `value` wherever it starts within longer text."""
    found = set()
    for before in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            whole = encode(b"\0" * before + value)
            first, last = -(-8 * before // 6), 8 * (before + len(value)) // 6
            found.add(whole[first:last])
    return found


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _unpacked(path: Path, data: bytes) -> Iterator[tuple[str, bytes]]:
    if data[:4] == b"PAR1":
        yield from _columns(pq.ParquetFile(path).read())
    elif data[:6] == b"ARROW1":
        yield from _columns(pa.ipc.open_file(data).read_all())
    elif data[:2] == b"\x1f\x8b":
        yield "gunzipped", gzip.decompress(data)
    elif data[:15] == b"SQLite format 3":
        yield from _rows(path)
    elif path.suffix == ".json":
        lines = [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
        yield "decoded", "\n".join(json.dumps(json.loads(line), ensure_ascii=False) for line in lines).encode()


def _columns(table: pa.Table) -> Iterator[tuple[str, bytes]]:
    for column, name in zip(table.columns, table.column_names, strict=True):
        yield f"column {name}", _joined(column.to_pylist())


def _rows(path: Path) -> Iterator[tuple[str, bytes]]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = connection.execute(f'SELECT * FROM "{table}"')
            yield f"table {table}", _joined(value for row in rows for value in row)
    finally:
        connection.close()


def _joined(values: Iterable[Any]) -> bytes:
    parts = (_joined(value) if isinstance(value, list) else value for value in values)
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in parts)
