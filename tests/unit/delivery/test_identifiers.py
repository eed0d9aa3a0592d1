"""Numbers and addresses as columns; the classes of numbers are in tests/properties."""

from __future__ import annotations

import polars as pl
import pytest

from kinlink.delivery import identifiers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("610180-0010", "6101800010"),
        ("'6101800010", "6101800010"),
        (" 610180 0010 ", "6101800010"),
        ("61.01.80.0010", "6101800010"),
        ("６101800010", "6101800010"),
        ("131800010", "0131800010"),  # month 31: nobody's number
        ("61018000", "61018000"),
        ("610180ab12", "610180AB12"),
    ],
)
def test_compact_undoes_how_a_number_was_written(text: str, expected: str) -> None:
    assert pl.DataFrame({"text": [text]}).select(identifiers.compact(pl.col("text"))).item() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", True), ("0000000000", True), ("0", True), (None, True), ("6101800010", False), ("00000A", False)],
)
def test_absent_is_blank_or_zeros(text: str | None, expected: bool) -> None:
    frame = pl.DataFrame({"text": [text]}, schema={"text": pl.String})
    assert frame.select(identifiers.absent(pl.col("text"))).item() is expected


@pytest.mark.parametrize(("text", "expected"), [("12345678", True), ("DK12345678", True), ("6101800010", False)])
def test_company_is_eight_digits(text: str, expected: bool) -> None:
    assert pl.DataFrame({"text": [text]}).select(identifiers.is_company(pl.col("text"))).item() is expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("0101", "0123", "012A", "02", "  tv"), "101|123|12A|2|TV"),
        (("101", "123", "12a", "2.", "TV"), "101|123|12A|2|TV"),
        (("0101", "0123", "0007", "", ""), "101|123|7||"),
        (("0101", "0123", "0007", "00", "0000"), "101|123|7||"),
        (("0101", "9900", "0007", "", ""), None),
        (("0101", "9999", "0007", "", ""), None),
        (("0101", "9899", "0007", "", ""), "101|9899|7||"),
        (("0000", "0123", "0007", "", ""), None),
        (("0101", "", "0007", "", ""), None),
        (("0101", "0123", None, "", ""), None),
    ],
)
def test_address_is_one_text_for_one_place(parts: tuple[str | None, ...], expected: str | None) -> None:
    frame = pl.DataFrame(
        {name: [part] for name, part in zip("abcde", parts, strict=True)}, schema=dict.fromkeys("abcde", pl.String)
    )
    assert frame.select(identifiers.address(*map(pl.col, "abcde"))).item() == expected
