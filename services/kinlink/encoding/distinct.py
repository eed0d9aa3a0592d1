"""One computation for each distinct value of a column, however many rows have it."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl


def per_distinct(column: pl.Series, function: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Return the function's result for each row; null stays null.

    The function gets the distinct values, ascending and without null, and returns as many in the same order.
    """
    distinct = column.drop_nulls().unique().sort()
    results = function(distinct)
    if not distinct.len():
        return results.clear(column.len())
    index = distinct.search_sorted(column.fill_null(distinct[0]))
    return results.gather(index.set(column.is_null(), None))
