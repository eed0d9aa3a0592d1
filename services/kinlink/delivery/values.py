"""From an extract's text to typed values, whole columns at a time.

1. Null text is absent. Text of another form than expected is bad: it becomes null,
   never a value, so what was there and has no value is what was bad.
2. Forms are strict: what is not exactly of the declared form is bad. A guess that
   is right nine times of ten moves a decimal point the tenth time.
3. It knows neither columns, files nor datasets, and keeps no text of a bad value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

import polars as pl

from kinlink.delivery.errors import MappingError


@dataclass(frozen=True, slots=True)
class Form:
    """A text read as a form.

    `value` is null where the text is absent or bad; `reason` is a stable word for
    bad, and `expected` says what would have been right.
    """

    value: pl.Expr
    reason: str
    expected: str


@dataclass(frozen=True, slots=True)
class NumberForm:
    """How numbers are written: decimal sign, thousands sign, whether minus may trail."""

    decimal: str = ","
    thousands: str = ""
    trailing_minus: bool = False


# No living person, and no case, is older; what seems to be is a slip of the pen.
EARLIEST = date(1850, 1, 1)

_TOKEN = re.compile(r"yyyy|yy|mm|dd|ww|hh|mi")
_DIGITS = {"yyyy": "[0-9]{4}", "ww": "[0-9]{1,2}"}


def clean(text: pl.Expr, absent: tuple[str, ...] = ()) -> pl.Expr:
    """Return `text` without surrounding space; empty and the `absent` markers become null."""
    stripped = text.str.strip_chars()
    return pl.when(stripped.is_in(["", *absent])).then(None).otherwise(stripped)


def parse_date(text: pl.Expr, form: str, pivot: int | None = None) -> Form:
    """Parse dates written as `form`: yyyy or yy, mm, dd, ww (ISO week), and literal signs.

    Without dd the date is the first of the month; with ww the Monday of the week;
    hh and mi are read and dropped. With yy, years from `pivot` on are 19yy, those
    before it 20yy. A day that is not in the calendar is bad, and so is week 53 of a
    year that has 52.

    Raises:
        MappingError: the form names no year, or has yy and no pivot.
    """
    tokens = _TOKEN.findall(form)
    if "yyyy" not in tokens and "yy" not in tokens:
        raise MappingError(f"the date form {form!r} has no year: write yyyy or yy")
    if "yy" in tokens and pivot is None:
        raise MappingError(f"the date form {form!r} has a two-digit year: set pivot, the first year that is 19yy")
    groups = _groups(text, form)
    year = groups.field("yyyy") if "yyyy" in tokens else _full_year(groups.field("yy"), pivot)
    if "ww" in tokens:
        value = _monday(year.cast(pl.Int32), groups.field("ww").cast(pl.Int32))
    else:
        day = groups.field("dd") if "dd" in tokens else pl.lit("01")
        value = pl.concat_str(year, groups.field("mm"), day, separator="-").str.to_date("%Y-%m-%d", strict=False)
    value = pl.when(value >= EARLIEST).then(value)
    return Form(value, "not_a_date", f"a date written {form}")


def written_date(text: pl.Expr, form: str, pivot: int | None = None) -> pl.Expr:
    """Return dates written as `form` in the way that every linkage schema reads: yyyy-mm-dd, else dd-mm-yy.

    A date is yyyy-mm-dd where the form has yyyy or there is a pivot (as in `parse_date`). What the form leaves out is
    00. The calendar is the schema's matter; text of another form is null.

    Raises:
        MappingError: the form names no year, or a week.
    """
    tokens = _TOKEN.findall(form)
    if ("yyyy" not in tokens and "yy" not in tokens) or "ww" in tokens:
        raise MappingError(f"the date form {form!r} of a birth date has yyyy or yy, mm and dd")
    groups = _groups(text, form)
    month, day = (groups.field(token) if token in tokens else pl.lit("00") for token in ("mm", "dd"))
    if "yyyy" in tokens:
        return pl.concat_str(groups.field("yyyy"), month, day, separator="-")
    short = groups.field("yy")
    if pivot is None:
        return pl.concat_str(day, month, short, separator="-")
    return pl.concat_str(_full_year(short, pivot), month, day, separator="-")


def _full_year(short: pl.Expr, pivot: int | None) -> pl.Expr:
    return pl.when(short.cast(pl.Int32) >= pivot).then(pl.lit("19") + short).otherwise(pl.lit("20") + short)


def _groups(text: pl.Expr, form: str) -> pl.expr.struct.ExprStructNameSpace:
    """Return what stands in the text for each token of a date form."""
    pattern = "".join(
        f"(?<{part}>{_DIGITS.get(part, '[0-9]{2}')})" if _TOKEN.fullmatch(part) else re.escape(part)
        for part in re.split(f"({_TOKEN.pattern})", form)
        if part
    )
    return text.str.extract_groups(f"^{pattern}$").struct


def _monday(year: pl.Expr, week: pl.Expr) -> pl.Expr:
    """Return the Monday of an ISO week; null when the year has no such week."""
    fourth = pl.date(year, 1, 4)
    monday = fourth + pl.duration(days=(week - 1) * 7 - fourth.dt.weekday().cast(pl.Int32) + 1)
    return pl.when((monday.dt.iso_year() == year) & (monday.dt.week() == week)).then(monday)


def parse_amount(text: pl.Expr, form: NumberForm, per_unit: int = 100) -> Form:
    """Parse amounts into integer øre: kroner with at most two decimals, or whole øre.

    `per_unit` is 100 where the extract is in kroner and 1 where it is in øre (then a
    decimal sign is bad). Groups of thousands must be whole, so under the Danish form
    "1.234,56-" is -123456 and "1,234.56" is bad. A sign stands on one side only.
    """
    decimal, thousands = re.escape(form.decimal), re.escape(form.thousands)
    grouped = f"|[0-9]{{1,3}}(?:{thousands}[0-9]{{3}})+" if form.thousands else ""
    cents = f"(?:{decimal}(?<cents>[0-9]{{1,2}}))?" if per_unit == 100 else "(?<cents>)"
    trailing = "(?<back>-?)" if form.trailing_minus else "(?<back>)"
    groups = text.str.extract_groups(f"^(?<front>[+-]?)(?<whole>[0-9]+{grouped}){cents}{trailing}$").struct
    front, back = groups.field("front"), groups.field("back")
    whole = groups.field("whole")
    if form.thousands:
        whole = whole.str.replace_all(form.thousands, "", literal=True)
    # Fifteen digits of kroner are more than the Danish state owes; more would overflow.
    whole_number = pl.when(whole.str.len_bytes() <= 15).then(whole).cast(pl.Int64, strict=False)
    cents_number = groups.field("cents").fill_null("").str.pad_end(2, "0").cast(pl.Int64, strict=False)
    size = whole_number * per_unit + (cents_number if per_unit == 100 else 0)
    negative = (front == "-") | (back == "-")
    value = pl.when((front == "") | (back == "")).then(pl.when(negative).then(-size).otherwise(size))
    example = f"1{form.thousands}234{form.decimal}56" if per_unit == 100 else "123456"
    sign = ", minus in front or behind" if form.trailing_minus else ", minus in front"
    unit = "kroner" if per_unit == 100 else "whole øre"
    expected = f"{unit} written {example}{sign}"
    return Form(value, "not_an_amount", expected)


def parse_integer(text: pl.Expr, dtype: pl.DataType) -> Form:
    """Parse whole numbers of at most nine digits that fit `dtype`."""
    value = text.str.extract(r"^(-?[0-9]{1,9})$").cast(dtype, strict=False)
    return Form(value, "not_a_number", "a whole number")


def parse_boolean(text: pl.Expr, yes: tuple[str, ...], no: tuple[str, ...]) -> Form:
    """Parse the declared words for true and false."""
    value = pl.when(text.is_in(list(yes))).then(True).when(text.is_in(list(no))).then(False)
    return Form(value, "not_allowed", "one of " + ", ".join((*yes, *no)))


def month_of(day: pl.Expr) -> pl.Expr:
    """Return the first day of the month that `day` lies in."""
    return day.dt.truncate("1mo")


def next_month(day: pl.Expr) -> pl.Expr:
    """Return `day` rounded up to a first of month; a first of month is itself."""
    return day.dt.offset_by("-1d").dt.truncate("1mo").dt.offset_by("1mo")
