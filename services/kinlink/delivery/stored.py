"""A file with a column of stored pseudonyms: CSV or Parquet, as `kinlink pseudonymise` writes them.

1. Text names domain and version (`kinlink.pseudonyms.to_text`). 32 bytes in Parquet do not: there the file's metadata
   says under which key a column stands, or the caller does.
2. A row that holds neither a pseudonym of the domain nor nothing is named by its number, never its value.
3. Rows are read and written in a stream; distinct pseudonyms are held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from kinlink import ristretto255
from kinlink.delivery.column import PARQUET
from kinlink.delivery.errors import ExtractError
from kinlink.pseudonyms import Kind
from kinlink.types.v1.types_pb2 import KeyRef

_METADATA = "kinlink."
_TEXT = r"^kl1\.([^.]+)\.(\d{1,9})\.([A-Za-z0-9_-]{43})$"
_OWN_METADATA = "ARROW:schema"  # Arrow's, written anew


def metadata(column: str, key: KeyRef) -> dict[str, str]:
    """Return what a Parquet file says of a column of pseudonyms."""
    return {f"{_METADATA}{column}": f"{key.domain}.{key.version}"}


@dataclass(frozen=True, slots=True)
class Stored:
    """A column of pseudonyms of `domain` and `kind` in a file; `version` 0 means that which the file says."""

    path: Path
    column: str
    domain: str
    kind: Kind = Kind.CPR
    separator: str = ";"
    version: int = 0

    def ref(self, version: int) -> KeyRef:
        """Return the wire's name of a version."""
        return KeyRef(domain=self.domain, kind=self.kind.wire, version=version)

    def scan(self) -> pl.LazyFrame:
        """Return the rows, lazily.

        Raises:
            ExtractError: EXTRACT_MISSING, BAD_TABLE, MISSING_COLUMN, NOT_PSEUDONYMS.
        """
        name = self.path.name
        try:
            if not self.path.is_file():
                raise ExtractError(f"The file {self.path} cannot be read. Check the path.", "EXTRACT_MISSING")
            if self.path.suffix == PARQUET:
                rows = pl.scan_parquet(self.path, glob=False)
            else:
                rows = pl.scan_csv(self.path, separator=self.separator, infer_schema=False, glob=False)
            schema = rows.collect_schema()
        except pl.exceptions.PolarsError:
            form = "Parquet" if self.path.suffix == PARQUET else f"CSV in UTF-8 separated by {self.separator!r}"
            raise ExtractError(f"The file {self.path} is not {form}.", "BAD_TABLE") from None
        if self.column not in schema:
            message = f"{name} has no column {self.column}. Check --column and --separator."
            raise ExtractError(message, "MISSING_COLUMN")
        if schema[self.column] not in (pl.String, pl.Binary):
            raise ExtractError(f"Column {self.column} of {name} holds no pseudonyms. Check --column.", "NOT_PSEUDONYMS")
        return rows

    def is_text(self) -> bool:
        """Say whether the pseudonyms are text. Raises as `scan`."""
        return bool(self.scan().collect_schema()[self.column] == pl.String)

    def distinct(self) -> pl.DataFrame:
        """Return the distinct pseudonyms: `written` as in the file, `element` (32 bytes), `version`.

        Raises:
            ExtractError: as `scan`; NOT_PSEUDONYMS, with row numbers; VERSION_MISSING, VERSION_MISMATCH.
        """
        value = pl.col(self.column)
        if self.is_text():
            groups = value.str.extract_groups(_TEXT)
            good = groups.struct.field("1") == self.domain
            packed = groups.struct.field("3").str.replace_all("-", "+", literal=True)
            packed = packed.str.replace_all("_", "/", literal=True) + "="
            element, version = packed.str.decode("base64"), groups.struct.field("2").cast(pl.UInt32)
        else:
            good = value.bin.size() == ristretto255.SIZE
            element, version = value, pl.lit(self._version(), dtype=pl.UInt32)
        present = self.scan().with_row_index("_row", 2).filter(value.is_not_null())
        bad = present.filter(~good.fill_null(value=False)).select("_row").collect(engine="streaming")["_row"].sort()
        if len(bad):
            rows = ", ".join(str(row) for row in bad.head(10))
            message = f"{len(bad)} row(s) of {self.path.name} hold no pseudonym of {self.domain} in {self.column}"
            raise ExtractError(f"{message}: row {rows}. Mend them, or check --column.", "NOT_PSEUDONYMS")
        one = present.select(self.column).unique()
        return one.select(written=value, element=element, version=version).collect(engine="streaming")

    def _version(self) -> int:
        """Return the version that all of a binary column stands under."""
        said = pl.read_parquet_metadata(self.path).get(f"{_METADATA}{self.column}", "")
        domain, _, version = said.rpartition(".")
        if said and domain != self.domain:
            message = f"{self.path.name} holds pseudonyms of another domain, by its own words. Check the file."
            raise ExtractError(message, "NOT_PSEUDONYMS")
        if not said and not self.version:
            message = f"{self.path.name} does not say under which key version it stands. Give --from-version."
            raise ExtractError(message, "VERSION_MISSING")
        if said and self.version not in (0, int(version)):
            message = f"{self.path.name} stands under version {version}, by its own words. Leave --from-version away."
            raise ExtractError(message, "VERSION_MISMATCH")
        return int(version) if said else self.version

    def write(self, part: Path, replaced: pl.DataFrame, version: int) -> None:
        """Write the file to `part`, each pseudonym `written` of `replaced` as its `new`, all else as it is."""
        rows = self.scan()
        names = rows.collect_schema().names()
        new = replaced.lazy().select(pl.col("written").alias(self.column), _new="new")
        rows = rows.join(new, on=self.column, how="left", maintain_order="left")
        rows = rows.with_columns(pl.coalesce("_new", self.column).alias(self.column)).select(names)
        if self.path.suffix == PARQUET:
            said = pl.read_parquet_metadata(self.path)
            said = {name: text for name, text in said.items() if name != _OWN_METADATA}
            rows.sink_parquet(
                part,
                statistics=False,
                metadata={**said, **metadata(self.column, self.ref(version))},
                engine="streaming",
            )
        else:
            rows.sink_csv(part, separator=self.separator, check_extension=False, engine="streaming")


def packed(elements: Sequence[bytes] | pl.Series) -> bytes:
    """Return elements as one batch."""
    return b"".join(elements)


def unpacked(batch: bytes) -> pl.Series:
    """Return a batch as a column of elements."""
    size = ristretto255.SIZE
    return pl.Series([batch[at : at + size] for at in range(0, len(batch), size)], dtype=pl.Binary)


def as_text(domain: str, version: int) -> pl.Expr:
    """Return the column `new` of elements in text form."""
    encoded = pl.col("new").bin.encode("base64").str.strip_chars_end("=")
    encoded = encoded.str.replace_all("+", "-", literal=True).str.replace_all("/", "_", literal=True)
    return (pl.lit(f"kl1.{domain}.{version}.") + encoded).alias("new")
