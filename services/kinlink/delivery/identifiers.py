"""Identifiers as whole columns: CPR numbers, replacement numbers, addresses.

1. `classify` agrees with `kinlink.cpr.normalise` on every text (a property test
   holds them together); this is the fast copy, that one is the rule.
2. A null or blank text, and a text of zeros only, is absent: registers fill an
   unknown parent with zeros.
3. An address is one text of five normalised codes, made in `address` and nowhere
   else. Road codes 9900-9999 stand for "no fixed address" and are null, so that
   those who have none are never one household.
4. Nothing here keeps, logs or returns a text that it refused.
"""

from __future__ import annotations

import polars as pl

from kinlink.cpr import IGNORED

# Python's \s holds four separators that the regular expressions of polars do not.
_NOISE = f"[\x1c-\x1f{IGNORED}]"


def compact(text: pl.Expr) -> pl.Expr:
    """Return the characters of a number: NFKC, upper case, noise removed, a lost leading zero restored."""
    bare = text.str.normalize("NFKC").str.replace_all(_NOISE, "").str.to_uppercase()
    return pl.when(bare.str.contains(r"^[0-9]{9}$")).then(pl.lit("0") + bare).otherwise(bare)


def absent(compacted: pl.Expr) -> pl.Expr:
    """Return whether a compacted text stands for nobody: null, empty, or zeros only."""
    return compacted.is_null() | compacted.str.contains(r"^0*$")


def classify(compacted: pl.Expr, *, synthetic: bool) -> pl.Expr:
    """Return "cpr", "replacement" or null (malformed) for compacted numbers, by the rules of `kinlink.cpr`."""
    digits = compacted.str.contains(r"^[0-9]{10}$")
    lettered = compacted.str.contains(r"^[0-9]{6}[0-9A-Z]{4}$")
    part = pl.when(digits).then(compacted)
    day = part.str.slice(0, 2).cast(pl.Int32)
    month = part.str.slice(2, 2).cast(pl.Int32)
    year = _year(part.str.slice(4, 2).cast(pl.Int32), part.str.slice(6, 1).cast(pl.Int32))
    shifted = day.is_between(61, 91)
    real_day = day - 60 if synthetic else day
    ordinary = digits & real_day.is_between(1, _days_in_month(month, year))
    replacement = lettered & ~digits if synthetic else lettered & (~digits | shifted)
    return pl.when(ordinary).then(pl.lit("cpr")).when(replacement).then(pl.lit("replacement"))


def _year(short_year: pl.Expr, seventh: pl.Expr) -> pl.Expr:
    """Return the full year: the year's two digits and the century that the seventh digit tells."""
    return (
        pl.when(seventh <= 3)
        .then(1900 + short_year)
        .when(seventh.is_in([4, 9]))
        .then(pl.when(short_year <= 36).then(2000 + short_year).otherwise(1900 + short_year))
        .otherwise(pl.when(short_year <= 57).then(2000 + short_year).otherwise(1800 + short_year))
    )


def _days_in_month(month: pl.Expr, year: pl.Expr) -> pl.Expr:
    """Return 28 to 31, or 0 for a month that is none."""
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return (
        pl.when(month == 2)
        .then(pl.when(leap).then(29).otherwise(28))
        .when(month.is_in([4, 6, 9, 11]))
        .then(30)
        .when(month.is_between(1, 12))
        .then(31)
        .otherwise(0)
    )


def is_company(compacted: pl.Expr) -> pl.Expr:
    """Return whether a compacted text has the form of a CVR number: eight digits, or "DK" and eight digits."""
    return compacted.str.contains(r"^(?:DK)?[1-9][0-9]{7}$")


def address(municipality: pl.Expr, road: pl.Expr, house: pl.Expr, floor: pl.Expr, door: pl.Expr) -> pl.Expr:
    """Return `municipality|road|house|floor|door`, or null without a fixed address.

    Codes are compared as the register means them, not as they are padded: digits
    without leading zeros, letters in upper case, no inner space; an empty or zero
    floor or door is empty. Null when municipality, road or house number is missing, or the
    road code is 9900-9999.
    """
    parts = [_code(part) for part in (municipality, road, house, floor, door)]
    road_code = parts[1].cast(pl.Int32, strict=False)
    fixed = (parts[0] != "") & (parts[1] != "") & (parts[2] != "") & ~road_code.is_between(9900, 9999)
    return pl.when(fixed).then(pl.concat_str(parts, separator="|"))


def _code(text: pl.Expr) -> pl.Expr:
    bare = text.fill_null("").str.normalize("NFKC").str.replace_all(r"[\s.]", "").str.to_uppercase()
    return bare.str.strip_chars_start("0")
