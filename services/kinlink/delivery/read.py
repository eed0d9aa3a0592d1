"""An extract as batches of text columns, each row under its number in the file.

1. Rows are numbered from 1 as a text editor or a spreadsheet would: skipped rows and
   the header count, and so do blank rows, which are dropped.
2. A row with another number of fields than the header is a misfit: held back under
   its number, never filled or cut to fit.
3. The file is read as a stream; memory is bounded by a block, not by the file.
4. What is wrong with the file as a whole (encoding, separator, columns, an open
   quote, a last row cut off) refuses it, in words that hold no value. A header is
   not quoted back either: a file without one has a person in its first row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv

from kinlink.delivery.encoding import Utf8Reader
from kinlink.delivery.errors import ExtractError
from kinlink.delivery.mapping import FileForm

ROW = "_row"
LINE = "_line"

_BLOCK_BYTES = 8 << 20
_BATCH_ROWS = 100_000
_SEPARATORS = {";": "semicolon", ",": "comma", "|": "pipe", "\t": "tab"}
# Never in a text that Utf8Reader lets through, so a line is one field.
_NO_SEPARATOR = "\x1f"


class Extract:
    """One pass over an extract.

    `misfits` holds the numbers of rows with another number of fields than the header,
    `duplicates` counts rows that repeat an earlier one in every column and were dropped.
    """

    def __init__(self, path: Path, form: FileForm, wanted: Sequence[str]) -> None:
        self._path = path
        self._form = form
        self._wanted = list(wanted)
        self._seen = 0
        self._broken_at = 0
        self._digests = pl.DataFrame()
        self.misfits: list[int] = []
        self.duplicates = 0

    def batches(self, report: Callable[[int, int], None]) -> Iterator[pl.DataFrame]:
        """Yield frames of ROW (UInt32) and the wanted columns (String), in file order.

        Raises:
            ExtractError: the file as a whole is not what the mapping says.
        """
        names, first_row = self._header()
        size = max(self._path.stat().st_size, 1)
        text = Utf8Reader(self._path, self._form.encoding, self._form.mojibake)
        with io.BufferedReader(text, _BLOCK_BYTES) as file:
            for batch in self._parse(file, names):
                frame = self._number(batch)
                report(text.position, size)
                frame = frame.filter(pl.col(ROW) >= first_row, ~pl.all_horizontal(pl.exclude(ROW) == ""))
                if self._form.drop_duplicate_rows:
                    frame = self._first_of_each(frame)
                if frame.height:
                    yield from frame.select(ROW, *self._wanted).iter_slices(_BATCH_ROWS)
            self.misfits = [row for row in self.misfits if row >= first_row]
            if self._broken_at:
                raise self._open_quote(self._broken_at)
            self._check_end(text)
            report(size, size)

    def _header(self) -> tuple[list[str], int]:
        """Return the column names and the number of the first data row."""
        form = self._form
        if form.fixed_width:
            return [LINE], form.skip_rows + 1
        with io.TextIOWrapper(io.BufferedReader(Utf8Reader(self._path, form.encoding, form.mojibake)), "utf-8") as file:
            lines = list(islice(file, form.skip_rows + 1))
        if len(lines) <= form.skip_rows:
            raise ExtractError(
                f"{self._path.name} has no rows. Ask for a new extract; an empty period still has a header.",
                reason="EMPTY_FILE",
            )
        names = [name.strip() for name in next(csv.reader(lines[-1:], delimiter=form.separator, quotechar=form.quote))]
        if form.names:
            if len(names) != len(form.names):
                raise self._wrong_columns(lines[-1], list(form.names), len(names))
            return list(form.names), form.skip_rows + 1
        missing = [name for name in self._wanted if name not in names]
        if missing:
            raise self._wrong_columns(lines[-1], missing, len(names))
        twice = [name for name in self._wanted if names.count(name) > 1]
        if twice:
            raise ExtractError(
                f"{self._path.name} has column {twice[0]!r} more than once. Ask for an extract with each column once.",
                reason="DUPLICATE_COLUMN",
            )
        # Columns that are not wanted may share a name; pyarrow would not have it.
        return [name if name in self._wanted else f"_{index}" for index, name in enumerate(names)], form.skip_rows + 2

    def _wrong_columns(self, line: str, missing: Sequence[str], found: int) -> ExtractError:
        form, name = self._form, self._path.name
        other = next((sign for sign in _SEPARATORS if sign != form.separator and sign in line), None)
        declared = _SEPARATORS.get(form.separator, repr(form.separator))
        if found == 1 and other:
            return ExtractError(
                f"{name} is not separated by {declared}: it seems to be {_SEPARATORS[other]}. "
                f"Set separator = {other!r} in the mapping, or ask for a new extract.",
                reason="WRONG_SEPARATOR",
            )
        if form.names:
            return ExtractError(
                f"{name} has {found} columns, the mapping names {len(form.names)}. Bring the two into step.",
                reason="MISSING_COLUMN",
            )
        return ExtractError(
            f"{name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)} ({found} columns found in row "
            f"{form.skip_rows + 1}). Check that this is the right file for the mapping, or change the mapping.",
            reason="MISSING_COLUMN",
        )

    def _parse(self, file: IO[bytes], names: list[str]) -> Iterator[pl.DataFrame]:
        form = self._form
        try:
            reader = pa.csv.open_csv(
                file,
                read_options=pa.csv.ReadOptions(use_threads=False, column_names=names, block_size=_BLOCK_BYTES),
                parse_options=pa.csv.ParseOptions(
                    delimiter=_NO_SEPARATOR if form.fixed_width else form.separator,
                    quote_char=False if form.fixed_width or not form.quote else form.quote,
                    newlines_in_values=not form.fixed_width,
                    ignore_empty_lines=False,
                    invalid_row_handler=self._hold_back,
                ),
                convert_options=pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
            for batch in reader:
                frame = pl.from_arrow(batch)
                assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a record batch is always a frame
                yield frame
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                return
            # The reader's own words quote the row: they stop here.
            raise self._open_quote() from None

    def _hold_back(self, row: pa.csv.InvalidRow) -> Literal["skip"]:
        number = row.number or 0  # always known, since one thread reads
        self.misfits.append(number)
        self._broken_at = self._broken_at or (number if "\n" in (row.text or "") else 0)
        return "skip"

    def _number(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Add ROW. Misfits so far are missing from the frames, so their numbers are stepped over."""
        misfits = np.asarray(self.misfits, dtype=np.int64)
        misfits = misfits[misfits > self._seen]
        numbers = np.arange(self._seen + 1, self._seen + 1 + frame.height + len(misfits))
        numbers = np.setdiff1d(numbers, misfits, assume_unique=True)[: frame.height]
        if len(numbers):
            self._seen = int(numbers[-1])
        frame = frame.with_columns(pl.Series(ROW, numbers, dtype=pl.UInt32))
        if self._broken_at:
            raise self._open_quote(self._broken_at)
        if not self._form.fixed_width and not self._form.line_breaks_in_fields:
            broken = frame.filter(pl.any_horizontal(pl.exclude(ROW).str.contains("\n", literal=True)))
            if broken.height:
                raise self._open_quote(broken[ROW][0])
        return frame

    def _first_of_each(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Drop rows seen before. Rows are told apart by 128 bits, so that two never meet by chance."""
        texts = frame.drop(ROW)
        digests = pl.DataFrame({"a": texts.hash_rows(1), "b": texts.hash_rows(2)})
        digests = digests.with_columns(new=pl.struct("a", "b").is_first_distinct())
        if self._digests.height:
            seen = digests.join(self._digests.with_columns(seen=True), on=["a", "b"], how="left", maintain_order="left")
            digests = digests.with_columns(new=digests["new"] & seen["seen"].is_null())
        kept = digests.filter("new").select("a", "b")
        self._digests = pl.concat([self._digests, kept]) if self._digests.height else kept
        self.duplicates += frame.height - kept.height
        return frame.filter(digests["new"])

    def _open_quote(self, row: int | None = None) -> ExtractError:
        where = f" in row {row}" if row else ""
        return ExtractError(
            f"{self._path.name}: a quotation mark{where} opens a field that is not closed on its row. "
            'Set quote = "" in the mapping if the extract does not quote, or line_breaks_in_fields = true if it does.',
            reason="OPEN_QUOTE",
        )

    def _check_end(self, text: Utf8Reader) -> None:
        last_is_misfit = bool(self.misfits) and self.misfits[-1] > self._seen
        if not text.ends_with_line and (self._form.last_row_ends_with_line_break or last_is_misfit):
            row = max([self._seen, *self.misfits[-1:]])
            raise ExtractError(
                f"{self._path.name} ends in the middle of row {row}: the file was cut off. Transfer it again.",
                "TRUNCATED",
            )
