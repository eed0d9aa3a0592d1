"""Linkage schemas, encoding keys and the encoder on input that is wrong or empty."""

from __future__ import annotations

import pickle
import re

import polars as pl
import pytest

from kinlink.encoding.encode import Encoder, RecordsError
from kinlink.encoding.keys import EncodingKey, EncodingKeyError
from kinlink.encoding.normalise import rules_of
from kinlink.encoding.schema import RECORD, TOKENS, EncodedFrameError, SchemaError, check_frame, find, read
from kinlink.encoding.tokens import listed

SCHEMA = find("dk-person-1")
KEY = EncodingKey(bytes(range(32)), "familiestatistik", 1)
ENCODER = Encoder(SCHEMA, KEY)
TEXT = """
name = "small-1"
normalisation = "plain-1"
taps = 3
swapped = [["given", "family"]]
[[fields]]
name = "given"
kind = "text"
describes = "person"
gram = 2
bits = 64
hashes = 4
key = "name"
[[fields]]
name = "family"
kind = "text"
describes = "family"
gram = 2
bits = 64
hashes = 4
key = "name"
[[tokens]]
name = "names"
parts = ["given.sound", "family.sound"]
"""
ANNE = {
    "record": ["1"],
    "given_name": ["Anne"],
    "family_name": ["Jensen"],
    "birth_date": ["1980-02-29"],
    "street": ["Vestergade"],
    "house_number": ["3"],
    "floor_door": ["1. th"],
    "postcode": ["8800"],
}


def records(**changes: str | None) -> pl.DataFrame:
    values = ANNE | {name: [value] for name, value in changes.items()}
    return pl.DataFrame(values, schema=dict.fromkeys(values, pl.String))


WRONG = {
    'bits = 64\nhashes = 4\nkey = "name"\n[[fields]]': ("", "field given: bits is missing"),
    "bits = 64": ("bits = 100", "field given: bits must be a power of two"),
    "gram = 2": ("gram = 9", "field given: gram must be 1 to 3"),
    "hashes = 4": ("hashes = 5", "field family: gram, positional, bits, hashes differ"),
    '"person"': ('"dog"', "field given: describes must be one of person, family, address"),
    "taps = 3": ("taps = 0", "taps must be 1 to 8"),
    "[[fields]]": ("[[fields]]\nsize = 1", "field given: size is unknown"),
    'name = "family"': ('name = "given"', "field given stands twice"),
    'name = "given"': ('name = "record"', "field record: name must be"),
    'swapped = [["given", "family"]]': ('swapped = [["given"]]', "swapped must be a list of pairs"),
    '"family"]]': ('"surname"]]', "has no field surname"),
    '"given.sound"': ('"given"', "token names: a part is written field.form"),
    "given.sound": ("surname.sound", "has no field surname"),
    '"plain-1"': ('"plain-9"', "normalisation 'plain-9' is unknown"),
    'name = "small-1"\n': ("", "name is missing"),
}


EXPECTED = {"given": "aa53f4a3a0c073d0", "family": "640ad2f2d74d61b9"}
EXPECTED_TOKENS = ["c8ca3843f9078035"]


@pytest.mark.parametrize("part", WRONG)
def test_schema_is_refused_with_the_field_at_fault(part: str) -> None:
    replacement, message = WRONG[part]
    assert part in TEXT
    if "bits is missing" in message:
        part, replacement = "bits = 64\n", ""
    with pytest.raises(SchemaError, match=re.escape(message)):
        read(TEXT.replace(part, replacement, 1))


@pytest.mark.parametrize(("part", "place"), [('"text"', "field given: kind"), ("sound", "token names: form")])
def test_schema_with_a_rule_that_its_normalisation_lacks_is_refused(part: str, place: str) -> None:
    with pytest.raises(SchemaError, match=place):
        rules_of(read(TEXT.replace(part, '"echo"' if part[0] == '"' else "echo")))


def test_id_follows_what_is_said_and_not_how() -> None:
    schema = read(TEXT)
    assert read("# A comment.\n" + TEXT).id == schema.id
    assert read(TEXT.replace("taps = 3", "taps = 2")).id != schema.id
    assert read(TEXT.replace("plain-1", "danish-1").replace('"text"', '"name"')).id != schema.id


def test_schema_is_found_by_name_and_by_its_very_id_only() -> None:
    assert find(SCHEMA.id) == SCHEMA
    with pytest.raises(SchemaError, match=f"another version; this one is {SCHEMA.id}"):
        find("dk-person-1.0000000000000000")
    with pytest.raises(SchemaError, match="'se-person-1' is unknown; there are dk-person-1, febrl-1"):
        find("se-person-1")


def test_key_shows_nothing_and_keys_of_uses_differ() -> None:
    assert repr(KEY) == "EncodingKey(familiestatistik, version 1)"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(KEY)
    other = EncodingKey(bytes(range(32)), "other", 1)
    uses = [
        ("a.1", "bits", "x"),
        ("a.1", "bits", "y"),
        ("a.1", "token", "x"),
        ("b.1", "bits", "x"),
        ("a", ".1bits", "x"),
    ]
    assert len({key.derive(*use) for key in (KEY, other) for use in uses}) == 2 * len(uses)
    assert EncodingKey(bytes(range(32)), "familiestatistik", 1) == KEY != other


@pytest.mark.parametrize(("secret", "purpose"), [(b"short", "x"), (bytes(32), "x"), (bytes(range(32)), "")])
def test_secret_that_is_none_is_refused(secret: bytes, purpose: str) -> None:
    with pytest.raises(EncodingKeyError):
        EncodingKey(secret, purpose, 1)


def test_encoding_is_that_of_this_version() -> None:
    """Bits of a person, as version 1 of the encoder makes them: if they change, so must `ENCODER`."""
    encoder = Encoder(read(TEXT), KEY)
    made = encoder.encode(pl.DataFrame({"record": ["1"], "given": ["anne"], "family": ["jensen"]}))
    assert {name: made[name][0].hex() for name in ("given", "family")} == EXPECTED
    assert [token.hex() for token in made[TOKENS][0]] == EXPECTED_TOKENS


@pytest.mark.parametrize(
    "changes",
    [
        {"birth_date": None},
        {"given_name": "Jensen", "family_name": "Anne"},
        {"street": None, "house_number": None, "floor_door": None, "postcode": None},
        {"family_name": "Sørensen"},
        {"given_name": None},
        {"postcode": "8080"},
        {"birth_date": None, "given_name": "Jensen", "family_name": "Anne"},
    ],
)
def test_a_record_with_an_error_shares_a_token(changes: dict[str, str | None]) -> None:
    first, second = (set(ENCODER.encode(frame)[TOKENS][0]) for frame in (records(), records(**changes)))
    assert first & second


def test_swapped_names_have_each_others_bits() -> None:
    first, second = ENCODER.encode(records()), ENCODER.encode(records(given_name="Jensen", family_name="Anne"))
    assert first["given_name"][0] == second["family_name"][0]
    assert first["family_name"][0] == second["given_name"][0]


def test_whole_names_and_addresses_are_split() -> None:
    whole = pl.DataFrame({
        "record": ["1"], "full_name": ["Jensen, Anne"], "birth_date": ["290280"],
        "address_line": ["Vesterg. 3, 1.th., 8800 Viborg"],
    })  # fmt: skip
    apart = ENCODER.encode(records(birth_date="29-02-80"))
    assert ENCODER.encode(whole).equals(apart)


def test_dates_may_be_dates() -> None:
    assert ENCODER.encode(records().with_columns(pl.col("birth_date").str.to_date())).equals(ENCODER.encode(records()))


def test_empty_fields_and_no_rows_are_encoded_as_nothing() -> None:
    empty = ENCODER.encode(records(**{name: "" for name in ANNE if name != "record"}))
    assert check_frame(empty, SCHEMA).drop(RECORD, TOKENS).null_count().row(0) == (1,) * 7
    assert empty[TOKENS].to_list() == [[]]
    assert check_frame(ENCODER.encode(records().clear()), SCHEMA).height == 0
    nothing = pl.DataFrame({"record": ["1"], **{name: [None] for name in ANNE if name != "record"}})
    assert ENCODER.encode(nothing).equals(empty)


def test_tokens_of_a_row_are_distinct_and_in_order_of_their_bytes() -> None:
    low, high, last = b"\x01" + bytes(7), bytes(7) + b"\x02", b"\xff" * 8
    made = [[low, None, last, high], [high, None, None, high], [last, low, None, None]]
    columns = [pl.Series(column, dtype=pl.Binary) for column in made]
    found = listed(columns)
    assert found.dtype == pl.List(pl.Binary)
    assert found.to_list() == [[high, low, last], [low], [last], [high]]
    assert listed([column.clear() for column in columns]).to_list() == []


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (records().drop("postcode"), "column postcode is missing"),
        (records().drop("record"), "column record is missing"),
        (records(cpr=None), "column cpr is unknown"),
        (records().with_columns(postcode=8800), "column postcode is Int32; expected String"),
        (records().with_columns(record=pl.lit(None, pl.String)), "unique and not null"),
        (pl.concat([records(), records()]), "unique and not null"),
    ],
)
def test_records_that_do_not_fit_are_refused(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(RecordsError, match=message):
        ENCODER.encode(frame)


GOOD = ENCODER.encode(records())


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (GOOD.drop("street"), "column street is missing"),
        (GOOD.with_columns(x=1), "columns that schema .* does not have: x"),
        (GOOD.with_columns(street=pl.lit("a")), "column street is String; expected Binary"),
        (GOOD.with_columns(street=pl.lit(b"a")), "column street must hold 64 bytes"),
        (GOOD.with_columns(tokens=pl.lit(None, pl.List(pl.Binary))), "column tokens must not be null"),
        (GOOD.with_columns(tokens=pl.lit([b"short"], pl.List(pl.Binary))), "column tokens must hold lists of 8 bytes"),
        (pl.concat([GOOD, GOOD]), "column record must be unique"),
    ],
)
def test_frame_that_is_not_the_schemas_is_refused(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(EncodedFrameError, match=message):
        check_frame(frame, SCHEMA)
