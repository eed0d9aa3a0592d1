"""From text columns to a dataset's rows: typed, with canonical identifiers; bad rows apart.

1. A row with any bad column is held back whole, and every bad column is named.
2. A reject is file, row, column, reason and expected form; never the value.
3. Intervals are half-open and not empty: where the dataset's dates are rounded to
   months an interval may round to nothing and is dropped, otherwise it is bad.
4. An id of a record stands once in a delivery: of two payers under one id each would be taken for the other.
5. What comes out still holds identifiers, names and addresses: it is for this process's memory only.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from kinlink.delivery.dataset import Dataset
from kinlink.delivery.errors import MappingError
from kinlink.delivery.mapping import CodeList, ColumnRule, Described, Mapping, columns_of
from kinlink.delivery.period import Period
from kinlink.delivery.read import ROW
from kinlink.delivery.refused_values import MAX_PERSON_AMOUNT_ORE, RECORD_NUMBER
from kinlink.delivery.rules import Rules, Sheet, text_of, unknown_code

REJECTS = pl.Schema(
    {"file": pl.String(), "row": pl.UInt32(), "column": pl.String(), "reason": pl.String(), "expected": pl.String()}
)
UNKNOWN_CODE = "unknown_code"
ENCODED = ("fields", "tokens")
_ID = "encoding_id"

_INTERVALS = (("valid_from", "valid_to"), ("start", "end"), ("given", "withdrawn"))


@dataclass(frozen=True, slots=True, repr=False)
class Validated:
    """Rows (`rows_schema`) in file order, and the rejects (REJECTS)."""

    rows: pl.DataFrame
    rejects: pl.DataFrame


def rows_schema(dataset: Dataset, described: Described | None = None) -> pl.Schema:
    """Return the dataset's schema while pseudonym columns hold identifiers and nothing is encoded, all as String."""
    columns = {name: pl.String() if dtype == pl.Binary() else dtype for name, dtype in dataset.schema.items()}
    if described is None:
        return pl.Schema(columns)
    plain = {name: dtype for name, dtype in columns.items() if name not in ENCODED}
    return pl.Schema({**plain, **dict.fromkeys(described.inputs, pl.String())})


class Validator:
    """Applies one mapping to batches of text columns."""

    def __init__(self, mapping: Mapping, period: Period, *, synthetic: bool) -> None:
        """Read the mapping's code lists. Raises MappingError for a bad one."""
        self._mapping = mapping
        self._rules = Rules(mapping, period, synthetic=synthetic)
        self._ids = pl.Series(dtype=pl.String)
        self._codes = {name: _load(codes, _taken(mapping, name)) for name, codes in mapping.codes.items()}

    def validate(self, batch: pl.DataFrame, file: str) -> Validated:
        """Return the rows that a batch of text columns (and ROW) gives."""
        frame = batch.with_columns(pl.exclude(ROW).str.strip_chars().replace("", None))
        for name, text in self._mapping.texts.items():
            frame = frame.with_columns(text_of(text).alias(name))
        sheet = Sheet(frame)
        for name, codes in self._mapping.codes.items():
            self._look_up(sheet, codes, self._codes[name])
        made = [self._variant(sheet, rules) for rules in self._mapping.variants]
        self._check_ids(sheet, made)
        none = pl.DataFrame(schema={ROW: pl.UInt32(), **dict.fromkeys(("column", "reason", "expected"), pl.String())})
        rejects = pl.concat([none, *sheet.rejects]).unique(maintain_order=True).sort(ROW, maintain_order=True)
        sound = ~pl.col(ROW).is_in(rejects[ROW].unique().implode())
        rows = pl.concat([values.filter(sound) for values in made]).drop(ROW)
        return Validated(rows, rejects.select(pl.lit(file).alias("file"), pl.col(ROW).alias("row"), pl.exclude(ROW)))

    def _look_up(self, sheet: Sheet, codes: CodeList, table: pl.DataFrame) -> None:
        """Join a code list to the sheet."""
        sheet.frame = sheet.frame.join(
            table.with_columns(pl.lit(value=True).alias(f"{codes.name}?")),
            left_on=list(codes.of),
            right_on=[f"{codes.name}.{key}" for key in codes.key],
            how="left",
            maintain_order="left",
        )
        if codes.unknown != "null":
            label = self._mapping.label(codes.of)
            sheet.check(unknown_code(codes), label, UNKNOWN_CODE, f"a code of {codes.path.name}")

    def _check_ids(self, sheet: Sheet, made: list[pl.DataFrame]) -> None:
        """Reject rows whose record's id is no record number, or stood in an earlier row."""
        if _ID not in made[0].columns:
            return
        ids = pl.concat([values.select(ROW, _ID) for values in made]).drop_nulls().unique().sort(ROW)
        repeated = ids.filter(pl.col(_ID).is_in(self._ids.implode()) | ~pl.col(_ID).is_first_distinct())
        self._ids = pl.concat([self._ids, ids[_ID]]).unique()
        rule = next((rules[_ID] for rules in self._mapping.variants if _ID in rules), ColumnRule())
        label = self._rules.label(rule, _ID)
        sheet.check(pl.col(ROW).is_in(repeated[ROW].implode()), label, "repeated", "an id that no other row has")
        words = ids.filter(~pl.col(_ID).str.contains(RECORD_NUMBER))[ROW].implode()
        sheet.check(pl.col(ROW).is_in(words), label, "no_number", "a record number: a digit in it, and no blank")

    def _variant(self, sheet: Sheet, rules: dict[str, ColumnRule]) -> pl.DataFrame:
        """Return ROW and the dataset's columns, one row for each of the sheet's that says something."""
        dataset = self._mapping.dataset
        made: dict[str, pl.Expr] = {}
        for column in columns_of(dataset):
            if column.name == _ID and "person_kind" in made:
                made |= self._rules.encoding_id(sheet, column, rules, made["person_kind"])
            elif column.name not in made:
                made |= self._rules.make(sheet, column, rules.get(column.name))
        kept = [made[name] != 0 for name, rule in rules.items() if rule.drop_zero]
        described = self._mapping.described
        if described:
            told = described.columns
            made |= {name: self._rules.described(sheet, name, told.get(name)) for name in described.inputs}
            if _ID in made:
                kept.append(made[_ID].is_not_null())
        for start, end in _INTERVALS:
            if start not in made or end not in made:
                continue
            if next(column for column in dataset.columns if column.name == start).first_of_month:
                kept.append((made[end] > made[start]).fill_null(value=True))
            else:
                # a consent may be withdrawn on the day it was given
                first = made[start] if end == "withdrawn" else made[start].dt.offset_by("1d")
                sheet.check(made[end] < first, end, "end_before_start", "an end after the start")
        for name in made:
            if name.endswith("_ore"):
                large = ~made[name].is_between(-MAX_PERSON_AMOUNT_ORE, MAX_PERSON_AMOUNT_ORE)
                expected = "at most 100 million kroner on a person"
                somebody = pl.any_horizontal(made[who].is_not_null() for who in ("person", _ID) if who in made)
                sheet.check(somebody & large, name, "too_large", expected)
        return sheet.frame.filter(*kept).select(
            ROW, *(made[name].alias(name) for name in rows_schema(dataset, described))
        )


def _taken(mapping: Mapping, name: str) -> set[str]:
    return {
        rule.code[1]
        for rules in (*mapping.variants, mapping.described.columns if mapping.described else {})
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
