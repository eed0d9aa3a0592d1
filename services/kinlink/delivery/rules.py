"""From a mapping's rules to expressions: each column's value, and what would make its row bad.

1. Reads text columns only, named as in the extract; null is blank.
2. A check names the extract's column, a stable reason and the form expected.
3. Text that leaves is code, name or category. A text in which ten digits stand as in
   a CPR number makes its row bad, whatever the mapping says.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from kinlink.delivery import identifiers, values
from kinlink.delivery.datasets import Column, Kind, PersonKind
from kinlink.delivery.mapping import CodeList, ColumnRule, Mapping, Text
from kinlink.delivery.period import Period

# Day (also + 60), month, year, serial: the intake refuses the same.
_CPR_IN_TEXT = r"(?:^|[^0-9])(?:0[1-9]|[12]\d|3[01]|6[1-9]|[78]\d|9[01])(?:0[1-9]|1[0-2])\d{2}[- ]?\d{4}(?:[^0-9]|$)"
_TEXT_LENGTH = 500
_YES, _NO = ("true", "1", "ja", "J"), ("false", "0", "nej", "N")


@dataclass(frozen=True, slots=True)
class Check:
    """When `bad`, the row is held back: `column` of the extract is not of the `expected` form."""

    bad: pl.Expr
    column: str
    reason: str
    expected: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A dataset's column: its values, by name, and its checks."""

    values: dict[str, pl.Expr]
    checks: tuple[Check, ...]


def text_of(text: Text) -> tuple[pl.Expr, pl.Expr]:
    """Return a text and whether `replace` does not know it."""
    columns = [pl.col(name) for name in text.of]
    value = columns[0] if len(columns) == 1 else pl.concat_str(columns, separator="-")
    if text.next_by:
        value = value.shift(-1).over(text.next_by)
    if text.slice:
        value = value.str.slice(text.slice[0] - 1, text.slice[1])
    value = values.clean(value, text.absent)
    for name, allowed in text.when.items():
        value = pl.when(pl.col(name).fill_null("").is_in(list(allowed))).then(value)
    if not text.replace:
        return value, pl.lit(value=False)
    replaced = value.replace_strict(text.replace, default=None, return_dtype=pl.String)
    return replaced, value.is_not_null() & replaced.is_null()


def unknown_code(codes: CodeList) -> pl.Expr:
    """Return whether a row has a code that the list, joined to it, lacks."""
    return pl.all_horizontal(pl.col(name).is_not_null() for name in codes.of) & pl.col(f"{codes.name}?").is_null()


class Compiler:
    """Makes expressions for the columns of one mapping, for one period."""

    def __init__(self, mapping: Mapping, period: Period, *, synthetic: bool) -> None:
        self._mapping = mapping
        self._period = period
        self._synthetic = synthetic

    def column(self, column: Column, rule: ColumnRule | None) -> Compiled:
        """Return the column's values and checks; without a rule it is null."""
        if rule is None:
            empty = {column.name: pl.lit(None, column.dtype if not _is_identifier(column) else pl.String())}
            if column.kind_column:
                empty[column.kind_column] = pl.lit(None, pl.String())
            return Compiled(empty, ())
        label = self._label(rule, column.name)
        if column.kind is Kind.ADDRESS:
            assert rule.text is not None  # noqa: S101 - the mapping file's check
            return Compiled({column.name: identifiers.address(*(pl.col(name) for name in rule.text.of))}, ())
        text, unknown = self._text(rule)
        if _is_identifier(column):
            return self._identifier(column, rule, text, label)
        compiled, checks = self._value(column, rule, text, label)
        if rule.text and rule.text.replace:
            checks = (Check(unknown, label, "not_allowed", "one of " + ", ".join(rule.text.replace)), *checks)
        if not column.nullable:
            compiled_bad = pl.any_horizontal([check.bad for check in checks]) if checks else pl.lit(value=False)
            missing = compiled.is_null() & ~compiled_bad & ~self._unknown_code(rule)
            checks = (*checks, Check(missing, label, "missing", "a value"))
        return Compiled({column.name: compiled}, checks)

    def _text(self, rule: ColumnRule) -> tuple[pl.Expr, pl.Expr]:
        if rule.text:
            return text_of(rule.text)
        text = pl.col(f"{rule.code[0]}.{rule.code[1]}") if rule.code else pl.lit(rule.value, pl.String())
        return text, pl.lit(value=False)

    def _unknown_code(self, rule: ColumnRule) -> pl.Expr:
        """Return whether the code list lacks the row's code, which is a reject of its own."""
        if rule.code is None or self._mapping.codes[rule.code[0]].unknown == "null":
            return pl.lit(value=False)
        return unknown_code(self._mapping.codes[rule.code[0]])

    def _label(self, rule: ColumnRule, name: str) -> str:
        """Return the columns of the extract that a rule reads, as the source's owner knows them."""
        if rule.text:
            of = rule.text.of
        elif rule.code:
            of = self._mapping.codes[rule.code[0]].of
        else:
            return name
        return self._mapping.label(of)

    def _identifier(self, column: Column, rule: ColumnRule, text: pl.Expr, label: str) -> Compiled:
        number = identifiers.compact(text)
        nobody = identifiers.absent(number)
        if "cvr" in rule.not_a_person:
            nobody = nobody | identifiers.is_company(number)
        kind = identifiers.classify(number, synthetic=self._synthetic)
        expected = "a CPR number, ten digits beginning with a real date"
        if column.kind_column is None:
            kind = pl.when(kind == PersonKind.CPR).then(kind)
        else:
            expected += ", or a replacement number"
        checks = [Check(~nobody & kind.is_null(), label, "not_a_cpr", expected)]
        if not column.nullable:
            checks.append(Check(nobody, label, "missing", expected))
        present = ~nobody & kind.is_not_null()
        made: dict[str, pl.Expr] = {column.name: pl.when(present).then(number)}
        if column.kind_column:
            made[column.kind_column] = pl.when(present).then(kind)
        return Compiled(made, tuple(checks))

    def _value(self, column: Column, rule: ColumnRule, text: pl.Expr, label: str) -> tuple[pl.Expr, tuple[Check, ...]]:
        match column.dtype:
            case pl.Date():
                return self._date(column, rule, text, label)
            case pl.Boolean():
                parsed = values.parse_boolean(text, _YES, _NO)
            case pl.List():
                return text.fill_null("").str.split(rule.split).list.eval(
                    pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != "")
                ), ()
            case pl.String():
                return text, self._text_checks(column, text, label)
            case _ if column.name.endswith("_ore"):
                return self._amount(rule, text, label)
            case _:
                parsed = values.parse_integer(text, column.dtype)
        return parsed.value, (Check(parsed.bad, label, parsed.reason, parsed.expected),)

    @staticmethod
    def _text_checks(column: Column, text: pl.Expr, label: str) -> tuple[Check, ...]:
        if column.values:
            bad = ~text.is_in(list(column.values)).fill_null(value=True)
            return (Check(bad, label, "not_allowed", "one of " + ", ".join(column.values)),)
        bad = text.str.contains(_CPR_IN_TEXT).fill_null(value=False)
        long = (text.str.len_chars() > _TEXT_LENGTH).fill_null(value=False)
        return (
            Check(bad, label, "looks_like_cpr", "a text without a CPR number"),
            Check(long, label, "too_long", f"at most {_TEXT_LENGTH} characters"),
        )

    def _amount(self, rule: ColumnRule, text: pl.Expr, label: str) -> tuple[pl.Expr, tuple[Check, ...]]:
        parsed = values.parse_amount(text, self._mapping.numbers, 100 if rule.unit == "kroner" else 1)
        value = -parsed.value if rule.negative else parsed.value
        checks = [Check(parsed.bad, label, parsed.reason, parsed.expected)]
        if rule.times:
            times = values.parse_integer(pl.col(rule.times), pl.Int64())
            value = value * times.value
            missing = pl.col(rule.times).is_null() & parsed.value.is_not_null()
            checks.append(Check(times.bad | missing, rule.times, times.reason, times.expected))
        return value, tuple(checks)

    def _date(self, column: Column, rule: ColumnRule, text: pl.Expr, label: str) -> tuple[pl.Expr, tuple[Check, ...]]:
        if rule.period:
            return pl.lit(self._period.start if rule.period == "start" else self._period.end, pl.Date()), ()
        parsed = values.parse_date(text, rule.date, rule.pivot)
        value, checks = parsed.value, [Check(parsed.bad, label, parsed.reason, parsed.expected)]
        for name in rule.latest:
            other = values.parse_date(pl.col(name), rule.date, rule.pivot)
            value = pl.max_horizontal(value, other.value)
            checks.append(Check(other.bad, name, other.reason, other.expected))
        if rule.add_days:
            value = value.dt.offset_by(f"{rule.add_days}d")
        if column.first_of_month:
            value = values.month_of(value) if column.name.endswith("_month") else values.next_month(value)
        return value, tuple(checks)


def _is_identifier(column: Column) -> bool:
    return column.kind is not None or column.kind_column is not None
