"""Expectation-maximisation over distinct level patterns (Winkler 1988; Fellegi and Sunter 1969, §3.3).

1. The model is over the whole cross product: pairs that share no token count as random, so that the share of matches is
   not that among the candidates, which household members fill.
2. Within a class a field either agrees, with the levels' m, or is as by chance, with u; for a class where only a share
   of pairs agrees, a mixture of both. All classes share m and u. Fields are independent given the class; a null is
   no evidence.
3. u is what chance counted, less what of it the fit attributes to agreement.
4. m starts from, and is held by a few records' weight to, what the schema expects.
5. What was fitted is looked at before it is used: it must have stood still; agreement must be likelier among matches
   than by chance on every compared field; records of which each has at most one person cannot have more matches than
   records; and a few dozen matches are no sample. Otherwise there is a named problem and no model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linker.linkage.fuzzy.chance import Chance, Counts
from linker.linkage.fuzzy.classes import CLASSES, PairClass, agreement
from linker.linkage.fuzzy.comparison import Levels
from linker.linkage.fuzzy.model import Model, Numbers, default_m, m_of
from linker.linkage.fuzzy.plan import Level, Plan
from linker.linkage.fuzzy.problems import FuzzyLinkageError, Problem

HELD = 5.0  # records' weight of the expected m
ROUNDS = 2_000
STILL = 1e-6
FEWEST_FIELDS = 2
FEWEST_RECORDS, FEWEST_MATCHES = 200, 50
FLOOR = 1e-12
Flags = npt.NDArray[np.bool_]
EXPECTED = {"same_address": 0.5, "same_household": 0.5, "match": 0.5, "moved": 0.05}  # pairs per record


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What a model is fitted to: distinct `patterns` with their `counts`, how all pairs fall by level, and how many.

    `records`: to be linked, each to one person at most; `many`: may have several matches each (one file with itself).
    """

    plan: Plan
    patterns: Levels
    counts: Numbers
    chance: Chance
    total: float
    records: int
    many: bool = False

    @property
    def compared(self) -> tuple[bool, ...]:
        """Which fields any two records could be compared on."""
        return tuple(bool(row.sum() > 2) for row in self.chance.counts)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where a fit stands: m and u by field and level, and each class's share of all pairs."""

    m: Numbers
    u: Numbers
    shares: Numbers


def fit(
    sample: Sample,
    classes: tuple[PairClass, ...] = CLASSES,
    *,
    start: Model | None = None,
    keep_m: bool = False,
    held: float = HELD,
) -> Model:
    """Return the model of a sample. `classes`: the first is the random one.

    `start`: what to begin from and to be held to; without it, what the schema expects. `keep_m`: only the classes'
    shares and u are fitted, for a sample too small for more. `held`: how many records' weight the start has. Raises
    FuzzyLinkageError: too few fields, too few records, not converged, labels.
    Cost: rounds times patterns times classes. The order of patterns changes nothing.
    """
    if sum(sample.compared) < FEWEST_FIELDS:
        raise FuzzyLinkageError(
            Problem.TOO_FEW_FIELDS,
            f"fewer than {FEWEST_FIELDS} fields have values on both sides: deliver more of the schema's fields",
        )
    if not keep_m and not sample.many and sample.records < FEWEST_RECORDS:
        raise FuzzyLinkageError(
            Problem.TOO_FEW_RECORDS,
            f"{sample.records} records are too few for a model of their own ({FEWEST_RECORDS}): use an earlier one",
        )
    order = np.lexsort(sample.patterns.T[::-1])
    sample = Sample(
        sample.plan,
        sample.patterns[order],
        sample.counts[order],
        sample.chance,
        sample.total,
        sample.records,
        sample.many,
    )
    m = default_m(sample.plan) if start is None else m_of(start, sample.plan)
    per_record = np.array([0.0, *((start.per_record if start else EXPECTED).get(c.name, 0.1) for c in classes[1:])])
    shares = per_record * sample.records / sample.total
    shares[0] = max(1 - shares.sum(), 0.1)
    expected = state = State(m, chance_of(sample.chance.counts, np.zeros_like(m)), shares / shares.sum())
    mixed, match = agreement(classes, sample.plan), np.array([c.match for c in classes])
    for rounds in range(1, ROUNDS + 1):
        new = one_round(sample, mixed, match, state, expected, held, keep_m=keep_m)
        moved = max(
            float(np.abs(new.m - state.m).max()),
            float(np.abs(new.u - state.u).max()),
            float(np.abs(new.shares[1:] - state.shares[1:]).max() / max(new.shares[1:].max(), FLOOR)),
        )
        state = new
        if moved < STILL:
            return _checked(sample, classes, state, 0 if keep_m else rounds)
    raise FuzzyLinkageError(
        Problem.NOT_CONVERGED,
        f"the model had not settled after {ROUNDS} rounds: use an earlier model",
    )


def log_ratios(patterns: Levels, mixed: Numbers, m: Numbers, u: Numbers) -> Numbers:
    """Return ln P(pattern | class) / P(pattern | random): one row a class, one column a pattern."""
    found = np.zeros((len(mixed), len(patterns)))
    for field, column in enumerate(patterns.T):
        ratio = np.ones(len(Level))
        ratio[1:] = np.maximum(m[field, 1:], FLOOR) / np.maximum(u[field, 1:], FLOOR)
        by_class = np.log(mixed[:, field, None] * ratio + (1 - mixed[:, field, None]))
        found += by_class[:, column]
    return found


def one_round(
    sample: Sample, mixed: Numbers, match: Flags, state: State, expected: State, held: float, *, keep_m: bool
) -> State:
    """Return the state after one expectation and one maximisation. `mixed`: as `classes.agreement`; `match`: by row."""
    logs = log_ratios(sample.patterns, mixed, state.m, state.u) + np.log(np.maximum(state.shares, FLOOR))[:, None]
    logs -= logs.max(axis=0)
    weights = np.exp(logs)
    weights *= sample.counts / weights.sum(axis=0)
    agreed, counted = np.zeros_like(state.m), np.zeros_like(state.m)
    for field, column in enumerate(sample.patterns.T):
        by_level = np.stack([np.bincount(column, row, minlength=len(Level)) for row in weights])
        one = mixed[:, field, None] * state.m[field]
        either = one + (1 - mixed[:, field, None]) * state.u[field]
        by_level = by_level * one / np.maximum(either, FLOOR)
        agreed[field] = counted[field] = by_level.sum(axis=0)
        counted[field, Level.EQUAL] -= (1 - sample.chance.matches[field]) * by_level[match, Level.EQUAL].sum()
    sums = agreed + held * expected.m
    totals = sums.sum(axis=1, keepdims=True)
    m = state.m if keep_m else np.where(totals > 0, sums / np.maximum(totals, FLOOR), state.m)
    trust = sample.records / (sample.records + held)
    shares = trust * weights.sum(axis=1) / sample.total + (1 - trust) * expected.shares
    shares[0] = 1 - shares[1:].sum()
    return State(m, chance_of(sample.chance.counts, counted), shares)


def chance_of(chance: Counts, agreed: Counts) -> Numbers:
    """Return u: what chance counted by field and level, less what of it is due to agreement."""
    left = np.where(chance > 0, np.maximum(chance - agreed, np.minimum(chance, 0.5)), 0)
    return np.asarray(left / np.maximum(left.sum(axis=1, keepdims=True), FLOOR))


def _checked(sample: Sample, classes: tuple[PairClass, ...], state: State, rounds: int) -> Model:
    names = tuple(field.name for field in sample.plan.fields)
    per_record = {
        c.name: float(share * sample.total / sample.records)
        for c, share in zip(classes[1:], state.shares[1:], strict=True)
    }
    matches = sample.records * sum(per_record[c.name] for c in classes if c.match)
    wrong = [
        name
        for name, compared, m, u in zip(names, sample.compared, state.m, state.u, strict=True)
        if compared and m[Level.EQUAL] <= u[Level.EQUAL]
    ]
    if wrong:
        raise FuzzyLinkageError(
            Problem.LABELS,
            f"what the model calls matches agrees less often than chance on {', '.join(wrong)}: see whether these "
            "fields were filled and encoded as the schema says, or use an earlier model",
        )
    if not sample.many and matches > sample.records * 1.1:
        raise FuzzyLinkageError(
            Problem.LABELS,
            "the model expects more matches than there are records: it took household members or neighbours for "
            "matches; deliver more of the schema's fields, or use an earlier model",
        )
    if rounds and matches < FEWEST_MATCHES:
        raise FuzzyLinkageError(
            Problem.TOO_FEW_RECORDS,
            f"the model expects fewer than {FEWEST_MATCHES} matches, too few to learn from: use an earlier model",
        )
    return Model(
        sample.plan.schema_id,
        names,
        sample.compared,
        tuple(tuple(map(float, row)) for row in state.m),
        tuple(tuple(map(float, row)) for row in state.u),
        per_record,
        sample.records,
        rounds,
    )
