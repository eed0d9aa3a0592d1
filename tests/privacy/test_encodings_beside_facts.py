"""What do encodings tell somebody who has the linker's facts too, or knows some persons? Much: no hardening helps.

These are the limits that `docs/explanation/threat-model.md` states. A test that fails because less is read is good
news, and the page is to be changed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from kinlink.encoding.filters import FilterMaker, grams
from kinlink.encoding.keys import EncodingKey
from kinlink.encoding.normalise import rules_of
from kinlink.encoding.schema import LinkageSchema, find
from tests.privacy.encoding_attacker import local_names, name_list
from tests.privacy.neighbour_attacker import NeighbourAttacker
from tests.privacy.test_encoding_attacks import UNHARDENED

SCHEMA = find("dk-person-1")
KEY = EncodingKey(bytes(range(32)), "familiestatistik", 1)

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


def encodings(schema: LinkageSchema, name: str, values: list[str]) -> list[bytes]:
    field = schema.field(name)
    bits, diffusion = (KEY.derive(SCHEMA.name, use, field.key) for use in ("bits", "diffusion"))
    return [row.tobytes() for row in FilterMaker(field, bits, diffusion, schema.taps).encode(values)]


@cache
def town() -> tuple[tuple[str, ...], Indices]:
    """Return the country's names, and those that a municipality has, most frequent first."""
    generator = np.random.default_rng(20140101)
    country = name_list(1000, generator)
    index = {name: place for place, name in enumerate(country.names)}
    held, counts = np.unique(
        [index[name] for name in local_names(country, 40_000, 0.05, generator)], return_counts=True
    )
    return country.names, held[np.argsort(-counts, kind="stable")]


def bigram_likeness(names: tuple[str, ...]) -> Floats:
    """Return the Dice coefficient of the names' bigrams."""
    found = grams(names, 2, positional=False)
    pairs = np.stack([found.characters.astype(np.int64), found.ordinal], axis=1)
    distinct, inverse = np.unique(pairs, axis=0, return_inverse=True)
    has = np.zeros((len(names), len(distinct)))
    has[found.value, inverse.ravel()] = 1
    sizes = has.sum(axis=1)
    likeness: Floats = 2 * (has @ has.T) / (sizes[:, None] + sizes)
    return likeness


@pytest.mark.parametrize(
    ("schema", "known", "least", "most"),
    [(UNHARDENED, 100, 0.3, 1.0), (SCHEMA, 100, 0.0, 0.15), (SCHEMA, 500, 0.3, 0.8)],
    ids=["unhardened", "hundred known", "half known"],
)
def test_known_names_teach_others_by_likeness(
    schema: LinkageSchema, known: int, least: float, most: float, say: Callable[..., None]
) -> None:
    """Diffusion makes likeness noisy: a hundred known names read few others, half of all the rest."""
    names, held = town()
    made = encodings(schema, "family_name", [names[place] for place in held])
    attacker = NeighbourAttacker(made[:known], held[:known], bigram_likeness(names)[:, held[:known]])
    share = float((attacker.read(made[known:]) == held[known:]).mean())
    say(others=share)
    assert least <= share <= most


@pytest.mark.parametrize(("known", "least"), [(20, 0.2), (100, 0.5), (200, 0.8)])
def test_birth_dates_are_read_by_who_has_the_age_anchors_and_knows_some_persons(
    known: int, least: float, say: Callable[..., None]
) -> None:
    """The facts say the month, and dates differ in few digits: whom one knows tells the day of the others."""
    first = date(1925, 1, 1)
    days = [first + timedelta(day) for day in range((date(2014, 1, 1) - first).days)]
    texts = rules_of(SCHEMA).normalise(pl.Series(days), "date").to_list()
    digits = np.array([[int(sign) for sign in text] for text in texts])
    anchor = np.array([12 * day.year + day.month - (day.day == 1) for day in days])  # rounded up to a first of month
    born = np.random.default_rng(1).integers(len(days), size=known + 500)
    made = encodings(SCHEMA, "birth_date", [texts[day] for day in born])
    whom, others = born[:known], born[known:]
    likeness = np.stack([(digits == digits[day]).mean(axis=1) for day in whom], axis=1)
    attacker = NeighbourAttacker(made[:known], whom, likeness)
    possible = anchor[others][:, None] == anchor
    assert possible.sum(axis=1).min() >= 28, "without the encodings a guess is right once a month"
    share = float((attacker.read(made[known:], possible) == others).mean())
    say(others=share)
    assert share >= least


@pytest.mark.parametrize(("persons", "least"), [(40_000, 0.6), (650_000, 0.8)])
def test_given_names_are_read_by_who_counts_them_by_sex_and_birth_year(
    persons: int, least: float, say: Callable[..., None]
) -> None:
    """Names come and go; how often each was given in which years is public, and the facts have sex and age anchor.

    500 names with Zipf-Mandelbrot frequencies, each in fashion around some year for 8 to 25 years; the municipality's
    frequencies differ by a lognormal factor. Equal values have equal encodings, and that is all that is used.
    """
    drawn = np.random.default_rng(3)
    names, spans = np.arange(500), np.arange(1925, 2015, 5)
    peak, fashion = drawn.uniform(1915, 2015, len(names)), drawn.uniform(8, 25, len(names))
    wave = 0.02 + np.exp(-(((spans - peak[:, None]) / fashion[:, None]) ** 2) / 2)
    country = wave / wave.sum(axis=1, keepdims=True) / (names[:, None] + 2.7) ** 1.05
    country /= country.sum()
    local = country * np.exp(drawn.normal(0, 0.2, len(names)))[:, None]
    counts = drawn.multinomial(persons, (local / local.sum()).ravel()).reshape(country.shape)
    held = names[counts.sum(axis=1) > 0]

    by_rank = np.zeros_like(held)
    by_rank[np.argsort(-counts[held].sum(axis=1), kind="stable")] = np.argsort(-country.sum(axis=1))[: len(held)]
    by_years = np.array([_likeliest(counts[name], country * persons, names % 2 == name % 2) for name in held])
    shares = [float(counts[held][read == held].sum() / persons) for read in (by_rank, by_years)]
    say(persons_by_rank=shares[0], persons_by_years=shares[1])
    assert shares[0] < 0.4
    assert shares[1] >= least


def _likeliest(counted: Indices, expected: Floats, same_sex: NDArray[np.bool_]) -> int:
    """Return the name whose profile over the years, and whose frequency, fits best what was counted."""
    profile = expected / expected.sum(axis=1, keepdims=True)
    years = (counted * np.log(profile)).sum(axis=1)
    total = counted.sum() + 0.5
    apart = np.log(total) - np.log(expected.sum(axis=1) + 0.5)
    return int(np.where(same_sex, years - apart**2 / (0.3**2 + 1 / total) / 2, -np.inf).argmax())
