"""Frames that several later steps read.

A lazy plan is a tree: a frame that is used three times stands in it three times, with
all below it, and the rules of couples and children would make a plan of millions of
nodes. Polars' own `cache()` node is no way out (2.1: its optimiser takes a second on
such plans and panics on some). So such a frame is computed once, where it is
shared. All of them are of the size of the register of residents at most, ids and
codes only; facts never pass here.
"""

from __future__ import annotations

import polars as pl


def shared(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return the same frame, computed."""
    return frame.collect(engine="streaming").lazy()
