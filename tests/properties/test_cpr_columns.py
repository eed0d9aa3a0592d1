"""The column expressions and the one-number rule are the same rule."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinlink import cpr
from kinlink.delivery import identifiers

CLASSES = {"cpr": cpr.CPRClass.ORDINARY, "replacement": cpr.CPRClass.REPLACEMENT, None: cpr.CPRClass.MALFORMED}

digits = st.text("0123456789", min_size=0, max_size=12)
dated = st.builds(
    "{:02}{:02}{:02}{:04}".format,
    st.integers(61, 99),
    st.integers(0, 13),
    st.integers(0, 99),
    st.integers(0, 9999),
)
real_form = st.builds(
    # in memory only: what the rule for real days says, on generated numbers
    "{:02}{:02}{:02}{:04}".format,
    st.integers(0, 33),
    st.integers(1, 13),
    st.integers(0, 99),
    st.integers(0, 9999),
)
lettered = st.from_regex(r"\A[0-9]{6}[0-9A-Za-z]{4}\Z")
noise = st.text(" -.'’\u00a0\u2010\u2212\ufeff\x1c\t", max_size=3)
written = st.one_of(digits, dated, real_form, lettered, st.text(max_size=14)).flatmap(
    lambda text: st.tuples(noise, noise, st.integers(0, 12)).map(
        lambda parts: parts[0] + text[: parts[2]] + parts[1] + text[parts[2] :]
    )
)


@pytest.mark.parametrize("synthetic", [True, False])
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(written, min_size=1, max_size=40))
def test_columns_agree_with_the_rule_for_one_number(synthetic: bool, texts: list[str]) -> None:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String}).with_columns(
        number=identifiers.compact(pl.col("text"))
    )
    frame = frame.with_columns(kind=identifiers.classify(pl.col("number"), synthetic=synthetic))
    for text, number, kind in frame.iter_rows():
        expected = cpr.normalise(text, synthetic=synthetic)
        assert CLASSES[kind] is expected.number_class
        if kind is not None:
            assert number == expected.text
