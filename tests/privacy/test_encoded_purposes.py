"""Two purposes encode the same people: no token and no filter of one is one of the other, nor like it.

Keys come from where sources get them: a key store with two purposes, and the service's own handing out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kinlink.encoding.encode import Encoder
from kinlink.encoding.keys import EncodingKey
from kinlink.encoding.schema import TOKENS, find
from kinlink.pseudonyms import Kind
from pseudonymizer.encoding_keys import EncodingKeys
from pseudonymizer.keyset import KeyName
from pseudonymizer.policy import Policy
from tests.payer_town import FIELDS, town
from tests.unit import encoding_key_fixtures as fixtures
from tests.unit import key_fixtures as given

SCHEMA = find("dk-person-1")
PURPOSES = ("familie", "andet")
PEOPLE = town(300, 1).persons
_GRANTS = [
    {"name": f"encodes for {purpose}", "caller": "source/prisme", "operation": "encode"}
    | {"domain": f"linkage/{purpose}", "kinds": ["encoding"]}
    for purpose in PURPOSES
]
POLICY = Policy.model_validate(
    {
        "suites": ["synthetic"],
        "domain": [
            {"name": "source/prisme", "kinds": ["cpr"]},
            *({"name": f"linkage/{purpose}", "kinds": ["encoding"]} for purpose in PURPOSES),
        ],
        "grant": _GRANTS,
        "budget": [{"caller": "source/prisme", "per_day": 50, "per_year": 500}],
    }
)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, EncodingKey]]:
    """Return what a source is handed for each purpose."""
    monkeypatch.setattr(fixtures, "POLICY", POLICY)
    engine = given.database_in(tmp_path)
    place = fixtures.Place(engine)
    handing: EncodingKeys = place.keys
    found = {}
    for purpose in PURPOSES:
        handed = handing.hand_out(fixtures.PRISME, KeyName(f"linkage/{purpose}", Kind.ENCODING, 0), SCHEMA.id)
        found[purpose] = EncodingKey(handed.secret, purpose, handed.key.version)
    yield found
    engine.dispose()


def encoded(key: EncodingKey) -> pl.DataFrame:
    return Encoder(SCHEMA, key).encode(PEOPLE.select("record", *FIELDS))


def shared(one: pl.DataFrame, other: pl.DataFrame) -> set[str]:
    """Say in which columns the two frames have any value in common, whosever it is."""
    return {name for name in (*FIELDS, TOKENS) if set(_values(one, name)) & set(_values(other, name))}


def alike(one: pl.DataFrame, other: pl.DataFrame, name: str) -> float:
    """Return how far the same persons' filters of a field agree: 1 the same, 0 as bits of chance."""
    both = pl.DataFrame({"one": one[name], "other": other[name]}).drop_nulls().unique()
    first, second = (np.frombuffer(b"".join(both[side].to_list()), np.uint8) for side in ("one", "other"))
    return float(1 - 2 * np.unpackbits(first ^ second).mean())


def _values(frame: pl.DataFrame, name: str) -> list[bytes]:
    return (frame[name].explode() if name == TOKENS else frame[name]).drop_nulls().to_list()


def test_two_purposes_share_no_token_and_no_filter(keys: dict[str, EncodingKey]) -> None:
    one, other = (encoded(keys[purpose]) for purpose in PURPOSES)
    assert shared(one, one) == {*FIELDS, TOKENS}, "what is shared would be found"
    assert shared(one, other) == set()
    for name in FIELDS:
        assert alike(one, one, name) == 1
        assert abs(alike(one, other, name)) < 0.25, name  # a field of few bits and values is alike by chance


def test_one_secret_for_two_purposes_or_versions_would_still_share_nothing(keys: dict[str, EncodingKey]) -> None:
    """The purpose and the version are in every derived key, so that a mix-up of secrets joins nothing."""
    secret = keys["familie"]._secret
    made = [encoded(EncodingKey(secret, *told)) for told in (("familie", 1), ("andet", 1), ("familie", 2))]
    assert [shared(*pair) for pair in combinations(made, 2)] == [set()] * 3
