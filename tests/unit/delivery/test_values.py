"""Dates, amounts and numbers as extracts write them."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from kinlink.delivery import values
from kinlink.delivery.errors import MappingError
from kinlink.delivery.values import NumberForm

DANISH = NumberForm(",", ".", trailing_minus=True)
ENGLISH = NumberForm(".", ",")


def evaluate(expression: pl.Expr, text: str) -> object:
    return pl.DataFrame({"text": [text]}).select(expression).item()


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("1.234,56-", DANISH, -123456),
        ("1.234,56", DANISH, 123456),
        ("-1.234,56", DANISH, -123456),
        ("+5", DANISH, 500),
        ("1234,5", DANISH, 123450),
        ("0,07", DANISH, 7),
        ("12.345.678,00", DANISH, 1234567800),
        ("1,234.56", DANISH, None),
        ("1.23", DANISH, None),
        ("1.2345", DANISH, None),
        ("1,234", DANISH, None),
        ("-1,00-", DANISH, None),
        ("1.234,56 kr.", DANISH, None),
        (",50", DANISH, None),
        ("", DANISH, None),
        ("12e3", DANISH, None),
        ("1234567890123456", DANISH, None),
        ("1,234.56", ENGLISH, 123456),
        ("1,00-", NumberForm(","), None),
        ("1.234,56", NumberForm(","), None),
    ],
)
def test_amount_is_read_in_its_own_form_only(text: str, form: NumberForm, expected: int | None) -> None:
    assert evaluate(values.parse_amount(pl.col("text"), form).value, text) == expected


@pytest.mark.parametrize(("text", "expected"), [("123456", 123456), ("-7", -7), ("1,5", None), ("0", 0)])
def test_amount_in_ore_is_a_whole_number(text: str, expected: int | None) -> None:
    assert evaluate(values.parse_amount(pl.col("text"), NumberForm(), 1).value, text) == expected


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("28-02-2014", "dd-mm-yyyy", date(2014, 2, 28)),
        ("31-02-2014", "dd-mm-yyyy", None),
        ("29-02-2012", "dd-mm-yyyy", date(2012, 2, 29)),
        ("29-02-1900", "dd-mm-yyyy", None),
        ("1-2-2014", "dd-mm-yyyy", None),
        ("2014-02-01", "dd-mm-yyyy", None),
        ("01.02.14", "dd.mm.yy", date(2014, 2, 1)),
        ("01.02.50", "dd.mm.yy", date(1950, 2, 1)),
        ("01.02.49", "dd.mm.yy", date(2049, 2, 1)),
        ("01x02x14", "dd.mm.yy", None),
        ("20140201", "yyyymmdd", date(2014, 2, 1)),
        ("2014021", "yyyymmdd", None),
        ("201402011", "yyyymmdd", None),
        ("201402", "yyyymm", date(2014, 2, 1)),
        ("201413", "yyyymm", None),
        ("201402010000", "yyyymmddhhmi", date(2014, 2, 1)),
        ("2009-53", "yyyy-ww", date(2009, 12, 28)),
        ("2014-1", "yyyy-ww", date(2013, 12, 30)),
        ("2014-53", "yyyy-ww", None),
        ("2014-0", "yyyy-ww", None),
        ("0201-02-01", "yyyy-mm-dd", None),
    ],
)
def test_date_is_read_in_its_own_form_only(text: str, form: str, expected: date | None) -> None:
    assert evaluate(values.parse_date(pl.col("text"), form, 50).value, text) == expected


@pytest.mark.parametrize(("form", "pivot"), [("dd-mm", None), ("dd.mm.yy", None)])
def test_date_form_without_a_sure_year_is_refused(form: str, pivot: int | None) -> None:
    with pytest.raises(MappingError, match="year"):
        values.parse_date(pl.col("text"), form, pivot)


@pytest.mark.parametrize(
    ("day", "month", "following"),
    [
        (date(2014, 3, 1), date(2014, 3, 1), date(2014, 3, 1)),
        (date(2014, 3, 2), date(2014, 3, 1), date(2014, 4, 1)),
        (date(2014, 12, 31), date(2014, 12, 1), date(2015, 1, 1)),
    ],
)
def test_rounding_to_months(day: date, month: date, following: date) -> None:
    frame = pl.DataFrame({"day": [day]})
    assert frame.select(values.month_of(pl.col("day"))).item() == month
    assert frame.select(values.next_month(pl.col("day"))).item() == following


def test_clean_makes_blanks_and_markers_absent() -> None:
    frame = pl.DataFrame({"text": [" a ", "", "  ", "9999-12-31", None]})
    assert frame.select(values.clean(pl.col("text"), ("9999-12-31",))).to_series().to_list() == [
        "a",
        None,
        None,
        None,
        None,
    ]
