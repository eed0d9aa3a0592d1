"""Every number here is synthetic (day + 60) or cannot be a date."""

from __future__ import annotations

import pickle
from datetime import date

import pytest

from kinlink.cpr import CPRClass, normalise
from kinlink.pseudonyms import Kind, Suite, from_text, to_text

O, R, M = CPRClass.ORDINARY, CPRClass.REPLACEMENT, CPRClass.MALFORMED  # noqa: E741


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("6101800010", "6101800010"),
        ("610180-0010", "6101800010"),
        (" 610180 0010 ", "6101800010"),
        ("'6101800010", "6101800010"),
        ("\u20196101800010", "6101800010"),
        ("61.01.80-0010", "6101800010"),
        ("610180\u20130010", "6101800010"),
        ("\ufeff6101800010", "6101800010"),
        ("\uff16\uff11\uff10\uff11\uff18\uff10\uff10\uff10\uff11\uff10", "6101800010"),
        ("610180ab12", "610180AB12"),
        ("61018000", ""),
        ("61018000100", ""),
        ("", ""),
    ],
)
def test_normalise_undoes_how_numbers_are_written(written: str, canonical: str) -> None:
    assert normalise(written, synthetic=True).text == canonical


@pytest.mark.parametrize(
    ("text", "real", "synthetic"),
    [
        ("6101800010", R, O),
        ("9112990010", R, O),
        ("6113800010", R, M),  # month 13
        ("9102800010", R, M),  # 31 February
        ("8902800010", R, O),  # 29 February of a leap year, 1980
        ("8902810010", R, M),
        ("6001800010", M, M),  # day 60 is neither
        ("9201800010", M, M),
        ("3102800010", M, M),
        ("0000000000", M, M),
        ("610180A010", R, R),
        ("61018000AB", R, R),
        ("ABCDEFGHIJ", M, M),
    ],
)
def test_classes(text: str, real: CPRClass, synthetic: CPRClass) -> None:
    assert normalise(text).number_class is real
    assert normalise(text, synthetic=True).number_class is synthetic


@pytest.mark.parametrize(
    ("short_year", "seventh", "is_leap"),
    [("00", "0", False), ("00", "4", True), ("00", "5", True), ("36", "9", True), ("40", "9", True), ("96", "8", True)],
)
def test_century_is_told_by_the_seventh_digit(short_year: str, seventh: str, *, is_leap: bool) -> None:
    number = f"8902{short_year}{seventh}010"  # 29 February: exists in leap years only; 1900 was none
    assert (normalise(number, synthetic=True).number_class is O) == is_leap


def test_nine_digits_gain_a_zero_and_real_numbers_are_malformed_in_synthetic_mode() -> None:
    nobody = f"{date(1858, 2, 1):%d%m%y}5000"  # no one born then lived to get a number
    assert normalise(nobody[1:]).text == nobody
    assert normalise(nobody[1:]).number_class is O
    assert normalise(nobody, synthetic=True).number_class is M
    assert normalise("001800010").number_class is M  # day 00


def test_a_number_shows_its_class_only_and_is_not_pickled() -> None:
    number = normalise("6101800010", synthetic=True)
    assert repr(number) == str(number) == "CPRNumber(ordinary)"
    with pytest.raises(TypeError):
        pickle.dumps(number)


def test_tags_and_text_form() -> None:
    assert Suite.KINLINK_V1.tag(Kind.CPR) == b"kinlink-v1-cpr"
    assert Suite.SYNTHETIC.tag(Kind.ADDRESS) == b"kinlink-synthetic-v1-address"
    assert from_text(to_text("source/prisme", 3, bytes(range(32)))) == ("source/prisme", 3, bytes(range(32)))
    for bad in ("", "kl1.a.b", "kl2.source/prisme.3." + "A" * 43, "kl1.source/prisme.x." + "A" * 43):
        with pytest.raises(ValueError, match="expected a pseudonym"):
            from_text(bad)
    assert Kind.of_wire(Kind.ADDRESS.wire) is Kind.ADDRESS
    assert Kind.of_wire(0) is Suite.of_wire(99) is None
