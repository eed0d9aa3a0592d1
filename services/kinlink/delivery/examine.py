"""The first pass over an extract: is it sound, and whom does it name?

Nothing is sent, and nothing is written. A delivery is known in full before its
first byte leaves: structural errors, rejects and their share come out here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from kinlink.blinding import Progress
from kinlink.delivery.describe import Usable
from kinlink.delivery.encoding import unreadable
from kinlink.delivery.errors import ExtractError, RejectShareError
from kinlink.delivery.mapping import Mapping
from kinlink.delivery.period import Period
from kinlink.delivery.read import LINE, Extract
from kinlink.delivery.records import join_records
from kinlink.delivery.validate import REJECTS, UNKNOWN_CODE, Validated, Validator, rows_schema
from kinlink.pseudonyms import Kind


@dataclass(frozen=True, slots=True)
class Examination:
    """What a pass found.

    `rows`: rows read, bad ones with them. `duplicates`: repeated rows dropped before
    that. `delivered`: rows that the dataset gets. `rejects`: schema REJECTS, one row a
    bad column. `identifiers`: the distinct identifiers of each kind, in order of
    appearance. They are identifiers: keep them in memory. `stamps`: the files' sizes and
    times when they were read. `usable`: of what is to be encoded, what can be compared;
    None for datasets without encodings.
    """

    rows: int
    duplicates: int
    delivered: int
    rejects: pl.DataFrame
    identifiers: dict[Kind, pl.Series]
    stamps: list[tuple[int, int]]
    usable: Usable | None = None

    @property
    def rejected(self) -> int:
        """The number of rows held back."""
        return self.rejects.select("file", "row").n_unique() if self.rejects.height else 0

    def __repr__(self) -> str:
        return f"Examination(rows={self.rows}, rejected={self.rejected}, delivered={self.delivered})"

    def check(self, mapping: Mapping) -> None:
        """Refuse an extract that has unknown codes, or too many bad rows.

        Raises:
            ExtractError: codes that a list, which is to be complete, does not have.
            RejectShareError: the share of rows held back is over the mapping's limit.
        """
        complete = [codes for codes in mapping.codes.values() if codes.unknown == "refuse"]
        for codes in complete:
            unknown = self.rejects.filter(
                pl.col("reason") == UNKNOWN_CODE, pl.col("expected") == f"a code of {codes.path.name}"
            )
            if unknown.height:
                file, row, column = unknown.row(0)[:3]
                raise ExtractError(
                    f"{unknown.height} row(s) hold a code that {codes.path.name} lacks: column {column}, first in "
                    f'{file} row {row}. Add the code to the list, or set unknown = "reject" for it in the mapping.',
                    "UNKNOWN_CODE",
                )
        share = self.rejected / max(self.rows, 1)
        if share > mapping.max_rejected_share:
            raise RejectShareError(
                f"{self.rejected:,} of {self.rows:,} rows are bad ({share:.1%}); the mapping allows "
                f"{mapping.max_rejected_share:.1%}. Nothing was sent. See the rejects file, then mend the extract or "
                "the mapping.",
                "TOO_MANY_REJECTS",
            )


def validated(
    paths: Sequence[Path], mapping: Mapping, period: Period, report: Progress, *, synthetic: bool
) -> Iterator[tuple[Validated, int, int]]:
    """Yield what each batch gives, with the rows read and the duplicates dropped since the last one.

    Batches come in the order of the files and their rows. Memory is bounded by a block.

    Raises:
        ExtractError: a file as a whole is not what the mapping says, or changed while it was read.
    """
    sizes = [size for size, _ in stamps_of(paths)]
    validator = Validator(mapping, period, synthetic=synthetic)
    records, none = mapping.file.records, rows_schema(mapping.dataset, mapping.described)
    for index, path in enumerate(paths):
        before = _stat(path)
        done, total = sum(sizes[:index]), sum(sizes)
        extract = Extract(path, mapping.file, [LINE] if records else mapping.wanted())
        batches = extract.batches(shifted(report, done, total))
        if records:
            batches = join_records(batches, records, path)
        for batch in batches:
            yield validator.validate(batch, path.name), batch.height, 0
        if _stat(path) != before:
            raise ExtractError(f"{path.name} changed while it was read. Run again when it is complete.", "CHANGED")
        misfits = pl.DataFrame({"row": extract.misfits}, schema={"row": pl.UInt32}).select(
            file=pl.lit(path.name),
            row="row",
            column=pl.lit(""),
            reason=pl.lit("fields"),
            expected=pl.lit("as many fields as the header"),
        )
        yield (
            Validated(pl.DataFrame(schema=none), misfits.match_to_schema(REJECTS)),
            misfits.height,
            extract.duplicates,
        )


def stamps_of(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Return what changes when a file does. Raises ExtractError: a file is not there, or there twice."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise ExtractError("The same file is given twice. Give each file of a delivery once.", "FILE_TWICE")
    return [_stat(path) for path in paths]


def _stat(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        raise unreadable(path) from None
    return stat.st_size, stat.st_mtime_ns


def examine(
    paths: Sequence[Path], mapping: Mapping, period: Period, report: Progress, *, synthetic: bool
) -> Examination:
    """Read and validate the files as one delivery. Raises as `validated`."""
    rows = duplicates = delivered = 0
    stamps = stamps_of(paths)
    rejects: list[pl.DataFrame] = [pl.DataFrame(schema=REJECTS)]
    found: dict[Kind, _Distinct] = {}
    usable = Usable(mapping.described) if mapping.described else None
    for batch, read, repeated in validated(paths, mapping, period, report, synthetic=synthetic):
        rows, duplicates, delivered = rows + read, duplicates + repeated, delivered + batch.rows.height
        rejects.append(batch.rejects)
        if usable:
            usable.add(batch.rows)
        for column in mapping.dataset.pseudonym_columns:
            kinds = [column.kind] if column.kind else [Kind.CPR, Kind.REPLACEMENT]
            for kind in kinds:
                part = batch.rows if column.kind else batch.rows.filter(pl.col(column.kind_column or "") == kind)
                if part.height:
                    found.setdefault(kind, _Distinct()).add(part[column.name].drop_nulls())
    identifiers = {kind: distinct.texts() for kind, distinct in found.items()}
    return Examination(
        rows,
        duplicates,
        delivered,
        pl.concat(rejects),
        {kind: texts for kind, texts in identifiers.items() if len(texts)},
        stamps,
        usable,
    )


class _Distinct:
    """Distinct texts in order of appearance, merged only when what is new has outgrown what is known."""

    def __init__(self) -> None:
        self._parts = [pl.Series(dtype=pl.String)]

    def add(self, texts: pl.Series) -> None:
        self._parts.append(texts.unique(maintain_order=True))
        if sum(map(len, self._parts[1:])) > len(self._parts[0]):
            self._parts = [self.texts()]

    def texts(self) -> pl.Series:
        return pl.concat(self._parts).unique(maintain_order=True)


def shifted(report: Progress, before: int, total: int) -> Progress:
    """Return where one part reports to, when `before` of `total` was done before it."""
    return lambda done, _: report(before + done, total)
