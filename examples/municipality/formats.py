"""How the source systems write a number, an amount and a file: the dirt that hides nothing.

What is chosen here changes how a value looks, not whom a row links to; what breaks links is in `ledger`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from examples.municipality.ledger import EXCHANGED, MISSING, REPLACEMENT, SHORT
from examples.municipality.numbers import Numbers, Texts, exchanged, replacement
from examples.municipality.people import NONE

DUPLICATES = 0.005
_NUMBER_COLUMNS = {"cpr", "personnr", "barncpr", "barn", "registrant"}


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes CPR numbers as the sources have them. `taken`: all numbers that are somebody's."""

    numbers: Numbers
    taken: frozenset[str]

    def plain(self, person: npt.NDArray[Any], dirt: npt.NDArray[Any], rng: np.random.Generator) -> Texts:
        """Ten digits, or what the dirt left of them. Half of the rows of those who changed number have a former one."""
        who = np.maximum(person, 0)
        text = self.numbers.current[who]
        drawn = rng.random(len(who))
        for former, limit in ((self.numbers.former[who], 0.5), (self.numbers.oldest[who], 0.2)):
            text = np.where((former != "") & (drawn < limit), former, text)
        text = np.where((person == NONE) | (dirt == MISSING), "", text)
        text = np.where(dirt == SHORT, text.astype("U8"), text)
        for at in np.flatnonzero(dirt == EXCHANGED):
            text[at] = exchanged(str(text[at]), self.taken) or ""
        for at in np.flatnonzero(dirt == REPLACEMENT):
            text[at] = replacement(str(self.numbers.current[who[at]]), int(who[at]))
        return text

    def written(self, rows: pl.DataFrame, form: str, rng: np.random.Generator) -> pl.Series:
        """The rows' numbers in the extract's form ("hyphen" or "digits"); 5 % in another one."""
        text = pl.Series("cpr", self.plain(rows["person"].to_numpy(), rows["dirt"].to_numpy(), rng))
        return written(text, form, rng)


def written(text: pl.Series, form: str, rng: np.random.Generator) -> pl.Series:
    """Write ten digits with a hyphen or without; 5 % otherwise. Blank and damaged numbers stay as they are."""
    other = pl.Series("other", np.where(rng.random(len(text)) < 0.05, rng.integers(1, 4, len(text)), 0))
    digits = pl.col("cpr")
    hyphen = digits.str.slice(0, 6) + "-" + digits.str.slice(6, 4)
    spaced = digits.str.slice(0, 6) + " " + digits.str.slice(6, 4)
    usual, unusual = (hyphen, digits) if form == "hyphen" else (digits, hyphen)
    whole = digits.str.len_chars() == 10
    shape = (
        pl.when(~whole)
        .then(digits)
        .when(pl.col("other") == 1)
        .then(unusual)
        .when(pl.col("other") == 2)
        .then(spaced)
        .when(pl.col("other") == 3)
        .then(usual + " ")
        .otherwise(usual)
    )
    return pl.DataFrame([text.alias("cpr"), other]).select(shape.alias("cpr")).to_series()


def danish(ore: pl.Expr, *, thousands: bool = False, minus_behind: bool = False) -> pl.Expr:
    """Write øre as kroner with a decimal comma: "1.234,56", a minus in front or behind."""
    kroner, rest = ore.abs() // 100, ore.abs() % 100
    text = kroner.cast(pl.String)
    if thousands:

        def group(value: pl.Expr) -> pl.Expr:
            return (value % 1000).cast(pl.String).str.zfill(3)

        text = (
            pl.when(kroner >= 1_000_000)
            .then(pl.format("{}.{}.{}", kroner // 1_000_000, group(kroner // 1000), group(kroner)))
            .when(kroner >= 1000)
            .then(pl.format("{}.{}", kroner // 1000, group(kroner)))
            .otherwise(text)
        )
    minus = pl.when(ore < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    amount = pl.concat_str([text, pl.lit(","), rest.cast(pl.String).str.zfill(2)])
    return amount + minus if minus_behind else minus + amount


def english(ore: pl.Expr) -> pl.Expr:
    """Write øre as kroner with a decimal point: "1234.56"; ore is not negative."""
    return pl.concat_str([(ore // 100).cast(pl.String), pl.lit("."), (ore % 100).cast(pl.String).str.zfill(2)])


def last_day(end: str, form: str) -> pl.Expr:
    """Write the last day in of a half-open period; null stays null."""
    return pl.col(end).dt.offset_by("-1d").dt.strftime(form)


def shuffled(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Return the rows in random order, so that a file's order tells nothing."""
    return rows[rng.permutation(len(rows))]


def with_duplicates(lines: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Repeat 0.5 % of the lines somewhere in the file.

    Lines of identified persons must all be different. Two equal ones without a number (the same grant to two children)
    cannot be told from a duplicate, so one of them is left out.
    """
    number = next(name for name in lines.columns if name.lower() in _NUMBER_COLUMNS)
    equal = lines.is_duplicated()
    if (equal & (lines[number].fill_null("") != "")).any():
        raise ValueError(f"two true rows would be one line: {lines.columns}")
    lines = lines.unique(maintain_order=True)
    n = max(1, int(len(lines) * DUPLICATES))
    return shuffled(pl.concat([lines, lines[rng.choice(len(lines), n, replace=False)]]), rng)


def write_csv(
    lines: pl.DataFrame,
    path: Path,
    *,
    encoding: str = "utf-8",
    separator: str = ";",
    line_end: str = "\n",
    bom: bool = False,
    mojibake: bool = False,
) -> None:
    """Write the lines; null is blank. `mojibake`: as if UTF-8 had been read as Latin-1 and saved again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    blank = pl.col(pl.String).replace("", None)  # an empty string would be written as two quotes
    lines.with_columns(blank).write_csv(buffer, separator=separator, line_terminator=line_end, include_bom=bom)
    content = buffer.getvalue()
    if mojibake:
        content = content.decode("latin-1").encode()
    elif encoding != "utf-8":
        content = content.decode().encode(encoding)
    path.write_bytes(content)
