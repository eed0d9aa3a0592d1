"""From a mapping's rules to a dataset's columns, one batch at a time, and what makes its rows bad.

1. Reads text columns only, named as in the extract; null is blank.
2. A reject names the extract's column, a stable reason and the form expected.
3. Text that leaves is code, name or category. A text in which ten digits stand as in
   a CPR number makes its row bad, whatever the mapping says.
4. Every intermediate column is computed once and kept in the sheet: expressions that
   nest would be computed again for each rule that reads them.
"""

from __future__ import annotations

import polars as pl

from kinlink.delivery import identifiers, values
from kinlink.delivery.dataset import Column
from kinlink.delivery.datasets import PersonKind
from kinlink.delivery.mapping import CodeList, ColumnRule, Mapping, Text
from kinlink.delivery.period import Period
from kinlink.delivery.read import ROW
from kinlink.delivery.refused_values import CPR_IN_TEXT
from kinlink.delivery.values import Form
from kinlink.pseudonyms import Kind

_TEXT_LENGTH = 500
_SPACE = " "
_YES, _NO = ("true", "1", "ja", "J"), ("false", "0", "nej", "N")


def text_of(text: Text, separator: str = "-") -> pl.Expr:
    """Return a text, before `replace`. Of several columns none may be blank; joined by a space, all but one may."""
    columns = [pl.col(name) for name in text.of]
    value = columns[0]
    if len(columns) > 1:
        value = pl.concat_str(columns, separator=separator, ignore_nulls=separator == _SPACE)
    if text.next_by:
        value = value.shift(-1).over(text.next_by)
    if text.slice:
        value = value.str.slice(text.slice[0] - 1, text.slice[1])
    value = values.clean(value, text.absent)
    for name, allowed in text.when.items():
        value = pl.when(pl.col(name).fill_null("").is_in(list(allowed))).then(value)
    return value


def unknown_code(codes: CodeList) -> pl.Expr:
    """Return whether a row has a code that the list, joined to it, lacks."""
    return pl.all_horizontal(pl.col(name).is_not_null() for name in codes.of) & pl.col(f"{codes.name}?").is_null()


class Sheet:
    """A batch while columns are made of it: `frame` with ROW, and the rejects found so far."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.rejects: list[pl.DataFrame] = []
        self._made = 0

    def put(self, value: pl.Expr) -> pl.Expr:
        """Compute a column once; return where it stands."""
        self._made += 1
        name = f"~{self._made}"
        self.frame = self.frame.with_columns(value.alias(name))
        return pl.col(name)

    def check(self, bad: pl.Expr, column: str, reason: str, expected: str) -> None:
        """Reject the rows where `bad` is true: `column` of the extract is not of the `expected` form."""
        # As a column first: a large frame is filtered in parts, and polars 2.1 does not broadcast a
        # predicate of literals only (start and end both constants) to them.
        rows = self.frame.with_columns(bad.alias("~bad")).filter("~bad").drop("~bad")
        if rows.height:
            words = {"column": column, "reason": reason, "expected": expected}
            self.rejects.append(rows.select(ROW, **{name: pl.lit(word) for name, word in words.items()}))


class Rules:
    """The rules of one mapping, for one period. Each makes a column of the dataset, identifiers as String."""

    def __init__(self, mapping: Mapping, period: Period, *, synthetic: bool) -> None:
        self._mapping = mapping
        self._period = period
        self._synthetic = synthetic

    def make(self, sheet: Sheet, column: Column, rule: ColumnRule | None) -> dict[str, pl.Expr]:
        """Return where the column's values stand (a person's kind with it); without a rule it is null."""
        if column.kind or column.kind_column:
            if rule is None:
                number = kind = pl.lit(None, pl.String())
            elif column.kind is Kind.ADDRESS:
                number = kind = self._address(sheet, rule)
            else:
                number, kind = self._person(sheet, column, rule)
            return {column.name: number, **({column.kind_column: kind} if column.kind_column else {})}
        if rule is None:
            return {column.name: pl.lit(None, column.dtype)}
        if rule.period:
            day = self._period.start if rule.period == "start" else self._period.end
            return {column.name: sheet.put(pl.lit(day, pl.Date()))}
        text = self._text(sheet, rule, column.name)
        value = self._value(sheet, column, rule, text)
        if not column.nullable:
            known = ~unknown_code(self._codes(rule)) if rule.code else pl.lit(value=True)
            sheet.check(text.is_null() & value.is_null() & known, self.label(rule, column.name), "missing", "a value")
        return {column.name: value}

    def described(self, sheet: Sheet, name: str, rule: ColumnRule | None) -> pl.Expr:
        """Return what is told of a person, as text for the linkage schema; what it cannot use makes no row bad."""
        if rule is None:
            return pl.lit(None, pl.String())
        text = self._text(sheet, rule, name, _SPACE)
        return sheet.put(values.written_date(text, rule.date, rule.pivot)) if rule.date else text

    def encoding_id(
        self, sheet: Sheet, column: Column, rules: dict[str, ColumnRule], kind: pl.Expr
    ) -> dict[str, pl.Expr]:
        """Return where the ids of records stand; null for those of a person with a CPR number, and of a company.

        `kind` is the kind of the row's person. A text that is null stands for nobody to encode, and makes no row bad.
        """
        rule, person = rules.get(column.name), rules.get("person")
        if rule is None:
            return {column.name: pl.lit(None, pl.String())}
        other = (kind == PersonKind.CPR).fill_null(value=False)
        if person and person.text and "cvr" in person.not_a_person:
            number = identifiers.compact(text_of(person.text))
            other = other | identifiers.is_company(number).fill_null(value=False)
        text = sheet.put(pl.when(~other).then(self._text(sheet, rule, column.name)))
        _check_text(sheet, column, text, self.label(rule, column.name))
        return {column.name: text}

    def _codes(self, rule: ColumnRule) -> CodeList:
        assert rule.code is not None  # noqa: S101 - asked by the callers
        return self._mapping.codes[rule.code[0]]

    def label(self, rule: ColumnRule, name: str) -> str:
        """Return the columns of the extract that a rule reads, as the source's owner knows them."""
        if rule.text:
            return self._mapping.label(rule.text.of)
        return self._mapping.label(self._codes(rule).of) if rule.code else name

    def _text(self, sheet: Sheet, rule: ColumnRule, name: str, separator: str = "-") -> pl.Expr:
        if rule.code:
            return pl.col(f"{rule.code[0]}.{rule.code[1]}")
        if not rule.text:
            return sheet.put(pl.lit(rule.value, pl.String()))
        text = sheet.put(text_of(rule.text, separator))
        words = rule.text.replace
        if not words:
            return text
        # a word that `replace` does not know is a reject, and must not look missing as well
        sheet.check(
            text.is_not_null() & ~text.is_in(list(words)), self.label(rule, name), "not_allowed", _one_of(tuple(words))
        )
        return sheet.put(text.replace(words))

    def _address(self, sheet: Sheet, rule: ColumnRule) -> pl.Expr:
        assert rule.text is not None  # noqa: S101 - checked when the mapping was read
        return sheet.put(identifiers.address(*(pl.col(name) for name in rule.text.of)))

    def _person(self, sheet: Sheet, column: Column, rule: ColumnRule) -> tuple[pl.Expr, pl.Expr]:
        label, expected = self.label(rule, column.name), "a CPR number, ten digits beginning with a real date"
        number = sheet.put(identifiers.compact(self._text(sheet, rule, column.name)))
        nobody = identifiers.absent(number)
        if "cvr" in rule.not_a_person:
            nobody = nobody | identifiers.is_company(number)
        number = sheet.put(pl.when(~nobody).then(number))
        kind = identifiers.classify(number, synthetic=self._synthetic)
        if column.kind_column:
            expected += ", or a replacement number"
        else:
            kind = pl.when(kind == PersonKind.CPR).then(kind)
        kind = sheet.put(kind)
        sheet.check(number.is_not_null() & kind.is_null(), label, "not_a_cpr", expected)
        if not column.nullable:
            sheet.check(number.is_null(), label, "missing", expected)
        return number, kind

    def _value(self, sheet: Sheet, column: Column, rule: ColumnRule, text: pl.Expr) -> pl.Expr:
        label = self.label(rule, column.name)
        match column.dtype:
            case pl.Date():
                return self._date(sheet, column, rule, text)
            case pl.Boolean():
                return _read(sheet, text, values.parse_boolean(text, _YES, _NO), label)
            case pl.List():
                entry = pl.element().str.strip_chars()
                return sheet.put(text.fill_null("").str.split(rule.split).list.eval(entry.filter(entry != "")))
            case pl.String():
                _check_text(sheet, column, text, label)
                return text
            case _ if column.name.endswith("_ore"):
                return self._amount(sheet, rule, text, label)
            case _:
                return _read(sheet, text, values.parse_integer(text, column.dtype), label)

    def _amount(self, sheet: Sheet, rule: ColumnRule, text: pl.Expr, label: str) -> pl.Expr:
        per_unit = 100 if rule.unit == "kroner" else 1
        value = _read(sheet, text, values.parse_amount(text, self._mapping.numbers, per_unit), label)
        if rule.times:
            count = pl.col(rule.times)
            times = _read(sheet, count, values.parse_integer(count, pl.Int64()), rule.times)
            sheet.check(count.is_null() & text.is_not_null(), rule.times, "missing", "a whole number")
            value = sheet.put(value * times)
        return -value if rule.negative else value

    def _date(self, sheet: Sheet, column: Column, rule: ColumnRule, text: pl.Expr) -> pl.Expr:
        value = _read(sheet, text, values.parse_date(text, rule.date, rule.pivot), self.label(rule, column.name))
        for name in rule.latest:
            other = values.parse_date(pl.col(name), rule.date, rule.pivot)
            value = pl.max_horizontal(value, _read(sheet, pl.col(name), other, self._mapping.label((name,))))
        if rule.add_days:
            value = value.dt.offset_by(f"{rule.add_days}d")
        if column.first_of_month:
            value = values.month_of(value) if column.name.endswith("_month") else values.next_month(value)
        return sheet.put(value)


def _read(sheet: Sheet, text: pl.Expr, form: Form, label: str) -> pl.Expr:
    """Return the parsed text; reject the rows whose text is not of the form."""
    value = sheet.put(form.value)
    sheet.check(text.is_not_null() & value.is_null(), label, form.reason, form.expected)
    return value


def _check_text(sheet: Sheet, column: Column, text: pl.Expr, label: str) -> None:
    if column.values:
        sheet.check(~text.is_in(list(column.values)), label, "not_allowed", _one_of(column.values))
        return
    sheet.check(text.str.contains(CPR_IN_TEXT), label, "looks_like_cpr", "a text without a CPR number")
    sheet.check(text.str.len_chars() > _TEXT_LENGTH, label, "too_long", f"at most {_TEXT_LENGTH} characters")


def _one_of(words: tuple[str, ...]) -> str:
    return "one of " + ", ".join(words)
