"""Can names be read from encodings with a public list of names? Unhardened encodings are the control: they must fall.

What is found is stated in shares of the distinct names and of the persons. The most frequent names fall to counting
alone, with or without hardening: whatever can be compared can be counted. Hardening keeps it from going further.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from kinlink.encoding.encode import Encoder
from kinlink.encoding.filters import FilterMaker
from kinlink.encoding.keys import EncodingKey
from kinlink.encoding.schema import LinkageSchema, find
from kinlink.encoding.tokens import tokens
from tests.privacy.encoding_attacker import ListAttacker, NameList, Reading, local_names, name_list

SCHEMA = find("dk-person-1")
# Bloom filters as they were first proposed: sparse, and each bit a filter's own.
UNHARDENED = replace(SCHEMA, taps=1, fields=tuple(replace(field, hashes=8) for field in SCHEMA.fields))
# Diffused, but of filters as sparse as those.
SPARSE = replace(UNHARDENED, taps=SCHEMA.taps)
KEY = EncodingKey(bytes(range(32)), "familiestatistik", 1)
KEYS = [EncodingKey(bytes([number] * 32), "familiestatistik", 1) for number in range(1, 6)]


@dataclass(frozen=True)
class Town:
    country: NameList
    names: list[str]
    counts: NDArray[np.int64]
    truth: NDArray[np.int64]

    def encodings(self, schema: LinkageSchema, key: EncodingKey) -> list[bytes]:
        field = schema.field("family_name")
        bits, diffusion = (key.derive(schema.name, use, field.key) for use in ("bits", "diffusion"))
        return [row.tobytes() for row in FilterMaker(field, bits, diffusion, schema.taps).encode(self.names)]

    def shares(self, reading: NDArray[np.int64]) -> tuple[float, float]:
        """Return which share of the distinct names was read, and of the persons."""
        right = reading == self.truth
        return float(right.mean()), float(self.counts[right].sum() / self.counts.sum())


@pytest.fixture(scope="module")
def town() -> Town:
    generator = np.random.default_rng(20140101)
    country = name_list(1000, generator)
    counted = Counter(local_names(country, 40_000, 0.05, generator))
    index = {name: i for i, name in enumerate(country.names)}
    truth = np.array([index[name] for name in counted])
    return Town(country, list(counted), np.array(list(counted.values())), truth)


def read(town: Town, schema: LinkageSchema, key: EncodingKey, known: int = 0) -> Reading:
    first = town.truth[np.argsort(-town.counts, kind="stable")[:known]] if known else None
    return ListAttacker(town.country, 2).read(town.encodings(schema, key), town.counts, first)


def test_unhardened_encodings_are_read(town: Town, say: Callable[..., None]) -> None:
    """The control: of plain Bloom filters a list of names and frequencies reads nearly all under most keys."""
    names = [town.shares(read(town, UNHARDENED, key).by_pattern)[0] for key in KEYS]
    say(least=min(names), most=max(names))
    assert min(names) > 0.5, "the attacker's luck depends on the key"
    assert float(np.median(names)) > 0.95


@pytest.mark.parametrize("key", KEYS)
def test_hardened_encodings_give_away_only_what_counting_does(
    town: Town, key: EncodingKey, say: Callable[..., None]
) -> None:
    reading = read(town, SCHEMA, key)
    counted, learnt = town.shares(reading.by_frequency), town.shares(reading.by_pattern)
    say(names_by_counting=counted[0], persons_by_counting=counted[1], names=learnt[0], persons=learnt[1])
    assert learnt[0] < 0.05
    assert learnt[1] < counted[1] + 0.05
    assert counted[1] < 0.45, "the few most frequent names, which many persons have"


@pytest.mark.parametrize(
    ("schema", "least", "most"), [(UNHARDENED, 0.95, 1.0), (SPARSE, 0.4, 1.0), (SCHEMA, 0.0, 0.06)]
)
def test_known_names_teach_little_about_others(
    town: Town, schema: LinkageSchema, least: float, most: float, say: Callable[..., None]
) -> None:
    """Who knows the hundred most frequent names for certain; filters have to be half full for diffusion to help."""
    known = 100
    others = np.argsort(-town.counts, kind="stable")[known:]
    for key in KEYS[:3]:
        reading = read(town, schema, key, known).by_pattern
        share = float((reading[others] == town.truth[others]).mean())
        say(others=share)
        assert least <= share <= most


def test_tokens_of_a_known_person_are_found_only_without_a_key() -> None:
    """Who knows a person's name and birth date computes the tokens; without the key they are others."""
    person = {"record": ["1"], **{f.name: [None] for f in SCHEMA.fields}}
    person |= {"given_name": ["Anne"], "family_name": ["Jensen"], "birth_date": ["1980-02-29"]}
    delivered = set(Encoder(SCHEMA, KEY).encode(pl.DataFrame(person))["tokens"][0])
    rule = next(rule for rule in SCHEMA.tokens if rule.name == "given_date")
    forms = dict(zip(rule.parts, (pl.Series(["AM"]), pl.Series(["290280"])), strict=True))
    keyed = tokens(rule, KEY.derive(SCHEMA.id, "token", rule.name), forms)[0]
    assert keyed in delivered, "the attacker knows the rule: only the key is missing"
    assert tokens(rule, b"", forms)[0] not in delivered
    assert (
        tokens(rule, EncodingKey(bytes(range(32)), "another", 1).derive(SCHEMA.id, "token", rule.name), forms)[0]
        not in delivered
    )
