"""What holds for all records and keys: bits depend on nothing but a record's own values, the schema and the key."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from kinlink.encoding.encode import Encoder, normalise_records
from kinlink.encoding.filters import FilterMaker
from kinlink.encoding.keys import EncodingKey
from kinlink.encoding.schema import TOKENS, Field, check_frame, find

SCHEMA = find("dk-person-1")
KEY = EncodingKey(bytes(range(32)), "familiestatistik", 1)
ENCODER = Encoder(SCHEMA, KEY)
NAMES = [field.name for field in SCHEMA.fields]

written = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "ukendt", "Sørensen", "Anne-Marie", "Vesterg. 3", "1. th", "29-02-1980", "8800", "12B"]),
    st.text(max_size=12),
)
records = st.lists(st.tuples(*[written] * len(NAMES)), max_size=8).map(
    lambda rows: pl.DataFrame(
        [(str(number), *row) for number, row in enumerate(rows)],
        schema=dict.fromkeys(["record", *NAMES], pl.String),
        orient="row",
    )
)


@settings(max_examples=30, deadline=None)
@given(records)
def test_frame_is_the_schemas_and_a_value_is_encoded_if_normalisation_keeps_it(frame: pl.DataFrame) -> None:
    encoded = check_frame(ENCODER.encode(frame), SCHEMA)
    normal = normalise_records(frame, SCHEMA)
    assert encoded["record"].to_list() == frame["record"].to_list()
    for name in NAMES:
        assert encoded[name].is_null().to_list() == normal[name].is_null().to_list()
    nothing = normal.select(pl.all_horizontal(pl.col(NAMES).is_null())).to_series()
    assert encoded.filter(nothing)[TOKENS].list.len().sum() == 0


@settings(max_examples=15, deadline=None)
@given(records, st.integers(2, 4), st.randoms(use_true_random=False))
def test_order_and_batches_change_nothing(frame: pl.DataFrame, rows: int, random: object) -> None:
    whole = ENCODER.encode(frame)
    assert pl.concat([whole.clear(), *ENCODER.batches(frame, rows)]).equals(whole)
    order = list(range(frame.height))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert ENCODER.encode(frame[order]).equals(whole[order])


@settings(max_examples=8, deadline=None)
@given(records, st.binary(min_size=32, max_size=32).filter(any), st.integers(1, 3))
def test_purposes_versions_and_schemas_share_nothing(frame: pl.DataFrame, secret: bytes, version: int) -> None:
    ours = ENCODER.encode(frame)
    for other in (
        EncodingKey(secret, "other", version),
        EncodingKey(bytes(range(32)), "familiestatistik", version + 1),
    ):
        theirs = Encoder(SCHEMA, other).encode(frame)
        assert not set(ours[TOKENS].explode().drop_nulls()) & set(theirs[TOKENS].explode().drop_nulls())
        for name in ("given_name", "street"):
            assert not set(ours[name].drop_nulls()) & set(theirs[name].drop_nulls())


@settings(max_examples=30, deadline=None)
@given(records)
def test_nothing_of_a_value_is_in_the_bytes(frame: pl.DataFrame) -> None:
    encoded = ENCODER.encode(frame)
    out = b"".join(value for name in NAMES for value in encoded[name].drop_nulls())
    out += b"".join(encoded[TOKENS].explode().drop_nulls())
    for source in (frame, normalise_records(frame, SCHEMA)):
        for name in NAMES:
            for value in source[name].drop_nulls():
                assert len(value.encode()) < 4 or value.encode() not in out


def plainly(field: Field, bits_key: bytes, sources: list[list[int]], value: str) -> bytes:
    """Encode one value, slowly and obviously."""
    value = value.replace(" ", "_")
    if field.positional:
        tokens = [(value[i : i + field.gram], i) for i in range(len(value) - field.gram + 1)]
        tokens = [(gram, i) for gram, i in tokens if "_" not in gram]
    else:
        padded = "_" * (field.gram - 1) + value + "_" * (field.gram - 1)
        found = [padded[i : i + field.gram] for i in range(len(padded) - field.gram + 1)]
        tokens = [(gram, found[:i].count(gram)) for i, gram in enumerate(found)]
    filter_ = [0] * field.bits
    for gram, ordinal in tokens:
        packed = sum(ord(character) << 21 * place for place, character in enumerate(gram))
        digest = hashlib.blake2b(packed.to_bytes(8, "big") + ordinal.to_bytes(4, "big"), key=bits_key).digest()
        for hash_ in range(field.hashes):
            filter_[int.from_bytes(digest[2 * hash_ : 2 * hash_ + 2], "little") % field.bits] = 1
    bits = [sum(filter_[source[bit]] for source in sources) % 2 for bit in range(field.bits)]
    return bytes(int("".join(map(str, bits[start : start + 8])), 2) for start in range(0, field.bits, 8))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.text("abcdeæøå _012", max_size=9), max_size=6),
    st.sampled_from(SCHEMA.fields),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_bits_are_those_of_a_slow_encoder(values: list[str], field: Field, gram: int, taps: int) -> None:
    field = Field(field.name, field.kind, field.describes, gram, field.positional, field.bits, field.hashes, field.key)
    maker = FilterMaker(field, b"b" * 32, b"d" * 32, taps)
    sources = [source.tolist() for source in maker._sources]
    expected = [plainly(field, b"b" * 32, sources, value) for value in values]
    assert [row.tobytes() for row in maker.encode(values)] == expected


@given(st.binary(min_size=1, max_size=32), st.sampled_from([64, 128, 256]), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_diffusion_takes_different_bits_and_each_equally_often(key: bytes, bits: int, taps: int) -> None:
    field = Field("x", "name", SCHEMA.fields[0].describes, 2, False, bits, 4, "x")
    sources = np.stack(FilterMaker(field, b"b", key, taps)._sources)
    assert all(len(set(column)) == taps for column in sources.T.tolist())
    assert (np.bincount(sources.ravel(), minlength=bits) == taps).all()
