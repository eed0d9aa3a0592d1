"""The whole of it: encoded records and persons in, each record's person, review or nothing out, and the model.

A delivery that is too small for a model of its own is linked with the kept one, or with what the schema expects; the
outcome says which. A model that does not settle, or whose classes are not what they are called, links nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from linker.linkage.fuzzy.assignment import Thresholds, assign
from linker.linkage.fuzzy.blocking import CAPS, Caps
from linker.linkage.fuzzy.chance import level_counts
from linker.linkage.fuzzy.comparison import Compared, compare
from linker.linkage.fuzzy.encodings import Encoded, encoded
from linker.linkage.fuzzy.estimates import refits
from linker.linkage.fuzzy.fitting import Sample, fit
from linker.linkage.fuzzy.model import Model
from linker.linkage.fuzzy.plan import Plan
from linker.linkage.fuzzy.problems import FuzzyLinkageError, Problem
from linker.linkage.fuzzy.scoring import score


class Basis(StrEnum):
    """Where the model's m comes from."""

    FITTED = "fitted"
    KEPT = "kept"
    EXPECTED = "expected"


@dataclass(frozen=True, slots=True, eq=False)
class Linkage:
    """`records`: schema ASSIGNED. `refitted`: their probabilities by models refitted, for `estimates.estimate`.

    `pairs`: candidates compared. `dropped`: tokens that the caps left out. `unblocked`: records without one in use.
    """

    records: pl.DataFrame
    refitted: tuple[pl.DataFrame, ...]
    model: Model
    basis: Basis
    pairs: int
    dropped: int
    unblocked: int


def link(
    plan: Plan,
    records: pl.DataFrame,
    persons: pl.DataFrame,
    thresholds: Thresholds,
    *,
    weights: pl.DataFrame | None = None,
    kept: Model | None = None,
    caps: Caps = CAPS,
) -> Linkage:
    """Link `records` to `persons`, frames as in `encodings.encoded`. `weights` as in `assignment.assign`.

    `kept`: the model of an earlier run; begun from, and used as it is for few records. Raises FuzzyLinkageError if what
    was delivered does not fit the plan, or the model is refused; then nothing is linked. Deterministic; the order
    of rows changes nothing. Cost: candidate pairs times fields.
    """
    both = encoded(plan, records, persons)
    if not both.total:
        raise FuzzyLinkageError(Problem.TOO_FEW_RECORDS, "there are no records, or no persons: deliver both first")
    compared = compare(both, caps)
    sample = sampled(both, compared)
    model, basis = modelled(sample, kept)
    found = assign(both, score(both, compared, model), thresholds, weights)
    again = refits(both, compared, sample, model, found) if basis is Basis.FITTED else []
    return Linkage(found, tuple(again), model, basis, len(compared.pattern), compared.dropped, compared.unblocked)


def sampled(both: Encoded, compared: Compared) -> Sample:
    """Return what a model is fitted to."""
    return Sample(
        both.plan,
        compared.patterns,
        compared.counts.astype(float),
        level_counts(both),
        float(both.total),
        len(both.left),
        both.within,
    )


def modelled(sample: Sample, kept: Model | None = None) -> tuple[Model, Basis]:
    """Return the model to use, and where it comes from. Raises FuzzyLinkageError as `fit`."""
    try:
        return fit(sample, start=kept), Basis.FITTED
    except FuzzyLinkageError as error:
        if error.problem is not Problem.TOO_FEW_RECORDS:
            raise
    return fit(sample, start=kept, keep_m=True), Basis.KEPT if kept else Basis.EXPECTED
