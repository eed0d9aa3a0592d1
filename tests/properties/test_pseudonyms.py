"""What holds for all identifiers and keys: the algebra that the doors and conversion stand on."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from kinlink import ristretto255
from kinlink.cpr import CPRClass, normalise

_MESSAGES = st.lists(st.binary(max_size=40), min_size=1, max_size=5)
_SCALARS = st.integers(1, 2**252).map(lambda number: number.to_bytes(32, "little"))
_TAG = b"kinlink-synthetic-v1-cpr"


@settings(max_examples=50, deadline=None)
@given(_MESSAGES, _SCALARS)
def test_blind_and_plain_door_agree(messages: list[bytes], key: bytes) -> None:
    hashed = ristretto255.hash_to_group(messages, _TAG)
    scalars = ristretto255.random_scalars(len(messages))
    evaluated = ristretto255.multiply(key, ristretto255.multiply_each(scalars, hashed))
    unblinded = ristretto255.multiply_each(ristretto255.invert_batch(scalars), evaluated)
    assert unblinded == ristretto255.multiply(key, hashed)


@settings(max_examples=50, deadline=None)
@given(_MESSAGES, _SCALARS, _SCALARS, _SCALARS)
def test_two_sources_meet_in_the_linkage_domain(messages: list[bytes], a: bytes, b: bytes, linkage: bytes) -> None:
    hashed = ristretto255.hash_to_group(messages, _TAG)
    direct = ristretto255.multiply(linkage, hashed)
    for source in (a, b):
        pseudonyms = ristretto255.multiply(source, hashed)
        assert ristretto255.multiply(ristretto255.quotient(linkage, source), pseudonyms) == direct


@settings(max_examples=50, deadline=None)
@given(_MESSAGES, _SCALARS, _SCALARS)
def test_multiplication_commutes(messages: list[bytes], a: bytes, b: bytes) -> None:
    hashed = ristretto255.hash_to_group(messages, _TAG)
    assert ristretto255.multiply(a, ristretto255.multiply(b, hashed)) == ristretto255.multiply(
        b, ristretto255.multiply(a, hashed)
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(_SCALARS, min_size=1, max_size=20))
def test_batch_inverses_are_the_inverses(scalars: list[bytes]) -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    inverses = ristretto255.invert_batch(b"".join(scalars))
    for index, scalar in enumerate(scalars):
        inverse = int.from_bytes(inverses[32 * index : 32 * index + 32], "little")
        assert inverse * int.from_bytes(scalar, "little") % order == 1


@given(st.text(max_size=14) | st.from_regex(r"[0-9A-Z '.\-]{8,12}", fullmatch=True), st.booleans())
def test_normalising_is_total_idempotent_and_canonical(text: str, synthetic: bool) -> None:
    number = normalise(text, synthetic=synthetic)
    if number.number_class is CPRClass.MALFORMED:
        assert number.text == ""
    else:
        assert re.fullmatch("[0-9]{6}[0-9A-Z]{4}", number.text)
        assert normalise(number.text, synthetic=synthetic) == number
    assert text not in repr(number) or text in "CPRNumber(ordinary) CPRNumber(replacement) CPRNumber(malformed)"
