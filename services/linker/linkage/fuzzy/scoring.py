"""How likely each candidate pair is a match: the odds of its pattern, adjusted for how rare the equal values are.

1. Odds are those of the match classes against all others, over the cross product.
2. On a field that counts by frequency, an equal value's u is its own share of the persons, not the field's.
3. A record has at most one person, or nobody among its candidates, so these share one probability: P(person) = odds /
   (nobody + sum of the record's odds), nobody being the share of records without a match as the model has it. Two equal
   candidates have a half at most. In one file against itself each pair stands alone.
4. Pairs below a probability of one in a million are left out.
5. Beside its odds a pair has its likeness, how much likelier its levels are of one person than by chance: `at_home`
   with the address, `moved` without. A household explains an agreeing address, so that of two namesakes the odds may
   favour the one at another address; `assignment` links nobody to whom another is preferable in both.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from linker.linkage.fuzzy.classes import CLASSES, PairClass, agreement
from linker.linkage.fuzzy.comparison import Compared
from linker.linkage.fuzzy.encodings import Encoded
from linker.linkage.fuzzy.fitting import FLOOR, log_ratios
from linker.linkage.fuzzy.model import Model, Numbers
from linker.linkage.fuzzy.plan import Level

LEAST = 1e-6
HIGHEST = 700.0  # the largest odds are e to this
NOBODY = 0.05  # least share of records that are taken to be of nobody among the candidates

Logs = npt.NDArray[np.float64]


def score(encoded: Encoded, compared: Compared, model: Model, classes: tuple[PairClass, ...] = CLASSES) -> pl.DataFrame:
    """Return `left`, `right` (rows, UInt32), `weight`, `at_home`, `moved` (bits, Float64), `probability`, in order.

    The weight is the pair's evidence: log2 of its odds over those of any pair before its levels are seen.
    """
    mixed = agreement(classes, encoded.plan)
    shares = class_shares(model, encoded.total, classes)
    ratios = log_ratios(compared.patterns, mixed, np.array(model.m), np.array(model.u))
    rarity = _rarity(encoded, model)
    most = sum((np.maximum(logs.max(initial=0.0), 0.0) for logs in rarity.values()), 0.0)
    hopeful = (
        (_log_odds(ratios, shares, classes) + most > np.log(LEAST)) if len(compared.patterns) else np.empty(0, bool)
    )
    kept = np.flatnonzero(hopeful[compared.pattern]) if len(compared.pattern) else np.empty(0, np.int64)
    left, right, pattern = compared.left[kept], compared.right[kept], compared.pattern[kept]
    logs = ratios[:, pattern]
    for field, by_code in rarity.items():
        equal = compared.patterns[pattern, field] == Level.EQUAL
        logs[:, equal] += mixed[:, field, None] * by_code[encoded.values[field].right[right[equal]]]
    odds = np.minimum(_log_odds(logs, shares, classes), HIGHEST)
    prior = np.array([share for share, c in zip(shares, classes, strict=True) if c.match]).sum()
    weight = (odds - np.log(prior / (1 - prior))) / np.log(2)
    alike = logs[[c.match for c in classes]] / np.log(2)
    likeness = {"at_home": alike[0], "moved": alike[-1]}
    found = pl.DataFrame({"left": left, "right": right, "weight": weight, **likeness, "odds": np.exp(odds)})
    nobody = max(1 - sum(model.per_record.get(c.name, 0.0) for c in classes if c.match), NOBODY)
    if encoded.within:
        probability = pl.col("odds") / (1 + pl.col("odds"))
    else:
        probability = pl.col("odds") / (nobody + pl.col("odds").sum().over("left"))
    return (
        found.with_columns(probability.alias("probability"))
        .filter(pl.col("probability") > LEAST)
        .drop("odds")
        .sort("left", "right")
    )


def class_shares(model: Model, total: int, classes: tuple[PairClass, ...]) -> Numbers:
    """Return the share of all pairs that each class has."""
    shares = np.array([0.0, *(model.per_record[c.name] * model.records / total for c in classes[1:])])
    shares[0] = max(1 - shares.sum(), FLOOR)
    return shares


def _log_odds(ratios: Logs, shares: Numbers, classes: tuple[PairClass, ...]) -> Logs:
    logs = ratios + np.log(np.maximum(shares, FLOOR * FLOOR))[:, None]
    match = np.array([c.match for c in classes])
    return np.asarray(np.logaddexp.reduce(logs[match], axis=0) - np.logaddexp.reduce(logs[~match], axis=0))


def _rarity(encoded: Encoded, model: Model) -> dict[int, Logs]:
    """Return by field ln(u / share of the persons with this value), one a code."""
    found = {}
    for field, (spec, values) in enumerate(zip(encoded.plan.fields, encoded.values, strict=True)):
        if spec.by_frequency and values.filled:
            share = np.maximum(values.counts, 1) / values.counts[1:].sum()
            found[field] = np.log(max(model.u[field][Level.EQUAL], FLOOR)) - np.log(share)
            found[field][0] = 0
    return found
