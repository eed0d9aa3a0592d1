"""Somebody with a source's encodings and a public list of names: what can be read without the key?

The attacker knows the schema, the normalisation, all names and how often each occurs in the country, but not the key
nor how often each occurs among the encoded. It aligns the most frequent encodings with the most frequent names
(Christen, Ranbaduge, Vatsalan, Schnell 2017) and extends that in rounds: from names taken as known it learns what each
gram does to each bit, by ridge regression; predicts the bits of all names; takes the pairs that it is most sure of as
known. Frequencies rule out names that are far too rare or too frequent.

Names: the frequent ones are common Danish given and family names, written down here; the rest is put together of
syllables, so that the list is as long and as alike in itself as a real one. Frequencies are Zipf-Mandelbrot's; those
among the encoded differ from the country's by a lognormal factor and by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinlink.encoding.filters import grams

Floats = NDArray[np.float64]

_SEEDS: Final = 20
_ROUNDS: Final = 10

_FAMILY_NAMES: Final = """
jensen nielsen hansen pedersen andersen christensen larsen sorensen rasmussen jorgensen petersen madsen
kristensen olsen thomsen christiansen poulsen johansen moller mortensen knudsen jakobsen jacobsen mikkelsen
olesen frederiksen laursen henriksen lund schmidt eriksen holm kristiansen clausen simonsen svendsen andreasen
iversen jeppesen mogensen jespersen nissen lauridsen frandsen ostergard jepsen kjer carlsen vestergard jessen
norgard dahl christoffersen skov sondergard bertelsen bruun lassen bach gregersen friis johnsen steffensen
kjeldsen bech krogh danielsen lauritsen mathiesen andresen brandt winther toft ravn mathiasen dam holst nilsson
lind berg schou overgard kristoffersen schultz klausen karlsen paulsen hermansen thorsen koch thygesen bak kruse
juhl
"""
_ONSETS: Final = "b br d f fr g gr h j k kl l m n p r s sk st t v"
_VOWELS: Final = ("a", "e", "i", "o", "u")
_CODAS: Final = ("", "l", "n", "r", "s", "nd", "rg", "k", "m")
_ENDS: Final = ("sen", "gard", "borg", "lund", "strup", "by", "mann", "holm", "", "")


@dataclass(frozen=True)
class NameList:
    """Names and their share of the country, most frequent first."""

    names: tuple[str, ...]
    share: Floats


def name_list(count: int, generator: np.random.Generator) -> NameList:
    """Return so many names with Zipf-Mandelbrot shares."""
    names = dict.fromkeys(_FAMILY_NAMES.split())
    while len(names) < count:
        syllables = [
            str(generator.choice(_ONSETS.split())) + str(generator.choice(_VOWELS)) + str(generator.choice(_CODAS))
            for _ in range(generator.integers(1, 3))
        ]
        names["".join(syllables) + str(generator.choice(_ENDS))] = None
    weight = 1 / (np.arange(count) + 2.7) ** 1.05
    return NameList(tuple(names)[:count], weight / weight.sum())


def local_names(country: NameList, persons: int, spread: float, generator: np.random.Generator) -> list[str]:
    """Draw the names of so many persons of a municipality, whose shares differ by a lognormal factor."""
    share = country.share * np.exp(generator.normal(0, spread, len(country.names)))
    return [country.names[i] for i in generator.choice(len(country.names), persons, p=share / share.sum())]


@dataclass(frozen=True)
class Reading:
    """What an attacker says: a name for each distinct encoding, in rounds; index into the list, -1 for none."""

    by_frequency: NDArray[np.int64]
    by_pattern: NDArray[np.int64]


class ListAttacker:
    """Reads distinct encodings that each occur so often. `gram` is the schema's."""

    def __init__(self, country: NameList, gram: int) -> None:
        self._country = country
        found = grams(country.names, gram, positional=False)
        pairs = np.stack([found.characters.astype(np.int64), found.ordinal], axis=1)
        distinct, inverse = np.unique(pairs, axis=0, return_inverse=True)
        self._features = np.zeros((len(country.names), len(distinct)))
        self._features[found.value, inverse.ravel()] = 1

    def read(
        self, encodings: list[bytes], counts: NDArray[np.int64], known: NDArray[np.int64] | None = None
    ) -> Reading:
        """Name the encodings, at first by frequency, then by what those taken as known teach.

        `known`: the true names of the most frequent encodings, where the attacker has them from elsewhere.
        """
        order = np.argsort(-counts, kind="stable")
        by_frequency = np.full(len(encodings), -1)
        by_frequency[order[: len(self._country.names)]] = np.arange(min(len(order), len(self._country.names)))
        bits = np.unpackbits(np.frombuffer(b"".join(encodings), np.uint8).reshape(len(encodings), -1), axis=1)
        signs = bits.astype(float) * 2 - 1
        prior = self._prior(counts)
        seeds = _SEEDS if known is None else len(known)
        known_encodings, known_names = order[:seeds], by_frequency[order[:seeds]] if known is None else known
        named = by_frequency
        for round_ in range(1, _ROUNDS + 1):
            scores = self._learnt(signs, known_encodings, known_names) + prior
            named, margin = _one_to_one(scores)
            size = min(len(encodings), int(seeds * 1.5**round_))
            sure = np.argsort(-margin, kind="stable")[:size]
            sure = sure[named[sure] >= 0]
            known_encodings, known_names = sure, named[sure]
        return Reading(by_frequency, named)

    def _prior(self, counts: NDArray[np.int64]) -> Floats:
        """Return how unlikely a name's share makes a count: squared distance of logarithms, in their usual spread."""
        expected = np.log(self._country.share * counts.sum() + 0.5)
        observed = np.log(counts + 0.5)
        spread = np.sqrt(0.3**2 + 1 / (counts + 0.5))
        unlikely: Floats = ((observed[:, None] - expected[None, :]) / spread[:, None]) ** 2 / 2
        return -unlikely

    def _learnt(self, signs: Floats, encodings: NDArray[np.int64], names: NDArray[np.int64]) -> Floats:
        """Return a log likelihood for each encoding (row) and name (column), as the known pairs teach."""
        features, targets = self._features[names], signs[encodings]
        mean = targets.mean(axis=0)
        gram = features @ features.T + 2.0 * np.eye(len(names))
        weights = features.T @ np.linalg.solve(gram, targets - mean)
        predicted = np.clip(self._features @ weights + mean, -0.98, 0.98)
        # A bit is +1 with probability (1 + predicted) / 2.
        likelihood: Floats = signs @ np.arctanh(predicted).T + 0.5 * np.log(1 - predicted**2).sum(axis=1)
        return likelihood


def _one_to_one(scores: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Give each encoding its best name, each name to the encoding surest of it; and how sure: the lead on the next."""
    best = scores.argmax(axis=1)
    two = np.partition(scores, -2, axis=1)[:, -2:]
    margin = two[:, 1] - two[:, 0]
    order = np.argsort(-margin, kind="stable")
    _, first = np.unique(best[order], return_index=True)
    named = np.full(len(scores), -1)
    named[order[first]] = best[order[first]]
    return named, margin
