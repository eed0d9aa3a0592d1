"""From text columns to a dataset's rows: typed, with canonical identifiers; bad rows apart.

1. A row with any bad column is held back whole, and every bad column is named.
2. A reject is file, row, column, reason and expected form; never the value.
3. Intervals are half-open and not empty: where the dataset's dates are rounded to
   months an interval may round to nothing and is dropped, otherwise it is bad.
4. What comes out still holds identifiers: it is for this process's memory only.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from kinlink.delivery.datasets import Dataset
from kinlink.delivery.errors import MappingError
from kinlink.delivery.mapping import CodeList, ColumnRule, Mapping
from kinlink.delivery.period import Period
from kinlink.delivery.read import ROW
from kinlink.delivery.rules import Check, Compiler, text_of, unknown_code

REJECTS = pl.Schema(
    {"file": pl.String(), "row": pl.UInt32(), "column": pl.String(), "reason": pl.String(), "expected": pl.String()}
)
UNKNOWN_CODE = "unknown_code"

_INTERVALS = (("valid_from", "valid_to"), ("start", "end"), ("given", "withdrawn"))


@dataclass(frozen=True, slots=True)
class Validated:
    """Rows of the dataset with identifiers as String, in file order, and the rejects (REJECTS)."""

    rows: pl.DataFrame
    rejects: pl.DataFrame


class Validator:
    """Applies one mapping to batches of text columns."""

    def __init__(self, mapping: Mapping, period: Period, *, synthetic: bool) -> None:
        """Read the mapping's code lists and make its expressions. Raises MappingError for a bad code list."""
        self._mapping = mapping
        self._codes = {name: _load(codes, _taken(mapping, name)) for name, codes in mapping.codes.items()}
        compiler = Compiler(mapping, period, synthetic=synthetic)
        self._variants = [_Variant(mapping.dataset, compiler, rules) for rules in mapping.variants]

    def validate(self, batch: pl.DataFrame, file: str) -> Validated:
        """Return the rows that a batch of text columns (and ROW) gives."""
        frame = batch.with_columns(pl.exclude(ROW).str.strip_chars().replace("", None))
        for name, text in self._mapping.texts.items():
            frame = frame.with_columns(text_of(text)[0].alias(name))
        code_checks = []
        for name, codes in self._mapping.codes.items():
            frame, check = self._look_up(frame, codes, self._codes[name])
            code_checks += [check] if check else []
        checked = [variant.check(frame, code_checks) for variant in self._variants]
        bad_rows = pl.concat([rejects[ROW] for _, rejects in checked]).unique()
        rows = pl.concat(
            [variant.finish(rows, bad_rows) for variant, (rows, _) in zip(self._variants, checked, strict=True)]
        )
        rejects = (
            pl.concat([rejects for _, rejects in checked]).unique(maintain_order=True).sort(ROW, maintain_order=True)
        )
        named = rejects.select(file=pl.lit(file), row=ROW, column="column", reason="reason", expected="expected")
        return Validated(rows, named.match_to_schema(REJECTS))

    def _look_up(self, frame: pl.DataFrame, codes: CodeList, table: pl.DataFrame) -> tuple[pl.DataFrame, Check | None]:
        known = f"{codes.name}?"
        frame = frame.join(
            table.with_columns(pl.lit(value=True).alias(known)),
            left_on=list(codes.of),
            right_on=[f"{codes.name}.{key}" for key in codes.key],
            how="left",
            maintain_order="left",
        )
        if codes.unknown == "null":
            return frame, None
        return frame, Check(
            unknown_code(codes), self._mapping.label(codes.of), UNKNOWN_CODE, f"a code of {codes.path.name}"
        )


class _Variant:
    """One row of the dataset for each row of the extract."""

    def __init__(self, dataset: Dataset, compiler: Compiler, rules: dict[str, ColumnRule]) -> None:
        self._values: dict[str, pl.Expr] = {}
        self._checks: list[Check] = []
        self._columns = list(dataset.schema)
        for column in dataset.columns:
            if column.name not in self._values:
                compiled = compiler.column(column, rules.get(column.name))
                self._values |= compiled.values
                self._checks += compiled.checks
        self._dropped = [pl.col(name) != 0 for name, rule in rules.items() if rule.drop_zero]
        for start, end in _INTERVALS:
            if start not in self._columns or end not in self._columns:
                continue
            if next(column for column in dataset.columns if column.name == start).first_of_month:
                self._dropped.append((pl.col(end) > pl.col(start)).fill_null(value=True))
            else:
                # a consent may be withdrawn on the day it was given
                first = self._values[start] if end == "withdrawn" else self._values[start].dt.offset_by("1d")
                reversed_ = (self._values[end] < first).fill_null(value=False)
                self._checks.append(Check(reversed_, end, "end_before_start", "an end after the start"))

    def check(self, frame: pl.DataFrame, more: list[Check]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return values (with ROW), and ROW, column, reason, expected of what is bad."""
        checks = [*more, *self._checks]
        flags = frame.select(ROW, *(check.bad.alias(str(index)) for index, check in enumerate(checks)))
        found = [
            flags.filter(pl.col(str(index))).select(
                ROW, column=pl.lit(check.column), reason=pl.lit(check.reason), expected=pl.lit(check.expected)
            )
            for index, check in enumerate(checks)
            if flags[str(index)].any()
        ]
        schema = {ROW: pl.UInt32(), **{name: pl.String() for name in ("column", "reason", "expected")}}
        rows = frame.select(ROW, *(self._values[name].alias(name) for name in self._columns))
        return rows, pl.concat([pl.DataFrame(schema=schema), *found])

    def finish(self, rows: pl.DataFrame, bad_rows: pl.Series) -> pl.DataFrame:
        """Return the sound rows, without those that say nothing."""
        return rows.filter(~pl.col(ROW).is_in(bad_rows.implode()), *self._dropped).select(self._columns)


def _taken(mapping: Mapping, name: str) -> set[str]:
    return {
        rule.code[1]
        for rules in mapping.variants
        for rule in rules.values()
        if rule.code is not None and rule.code[0] == name
    }


def _load(codes: CodeList, taken: set[str]) -> pl.DataFrame:
    """Return a code list's key and taken columns, named `<list>.<column>`."""
    try:
        table = pl.read_csv(codes.path, separator=codes.separator, infer_schema=False, encoding="utf8")
    except (OSError, pl.exceptions.PolarsError):
        raise MappingError(
            f"The code list {codes.path} cannot be read as UTF-8 text with {codes.separator!r}."
        ) from None
    missing = sorted({*codes.key, *taken} - set(table.columns))
    if missing:
        raise MappingError(f"The code list {codes.path} lacks the column(s) {', '.join(missing)}.")
    table = table.select(sorted({*codes.key, *taken}))
    if table.select(codes.key).is_duplicated().any():
        raise MappingError(f"The code list {codes.path} has the same code twice.")
    return table.rename({name: f"{codes.name}.{name}" for name in table.columns})
