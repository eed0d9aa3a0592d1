"""What holds for every fit: the order of pairs, of fields and of classes changes nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from linker.linkage.fuzzy.chance import Chance
from linker.linkage.fuzzy.classes import CLASSES, agreement
from linker.linkage.fuzzy.comparison import BITS, as_codes, as_levels
from linker.linkage.fuzzy.fitting import FuzzyLinkageError, Sample, fit, log_ratios
from linker.linkage.fuzzy.model import Model
from linker.linkage.fuzzy.plan import Evidence, Field, Level, Plan

EVIDENCE = (Evidence.GIVEN_NAME, Evidence.SURNAME, Evidence.BIRTH_DATE, Evidence.ADDRESS, Evidence.ADDRESS)
LEVELS = st.sampled_from([level for level in Level if level is not Level.SWAPPED])
KINDS = st.sampled_from(
    [
        (Level.EQUAL,) * 5,
        (Level.ELSE, Level.EQUAL, Level.ELSE, Level.EQUAL, Level.EQUAL),
        (Level.EQUAL, Level.EQUAL, Level.EQUAL, Level.ELSE, Level.ELSE),
        (Level.ELSE, Level.ELSE, Level.ELSE, Level.EQUAL, Level.EQUAL),
    ]
)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    rows: dict[tuple[int, ...], float] = {(Level.EQUAL,) * 5: float(draw(st.integers(200, 600)))}
    for _ in range(draw(st.integers(3, 25))):
        base = list(draw(KINDS))
        for _ in range(draw(st.integers(0, 2))):
            base[draw(st.integers(0, 4))] = draw(LEVELS)
        rows[tuple(base)] = rows.get(tuple(base), 0) + draw(st.integers(1, 60))
    patterns, counts = np.array(list(rows), np.uint8), np.array(list(rows.values()))
    chance = np.stack([np.bincount(column, counts, minlength=len(Level)) for column in patterns.T])
    chance[:, Level.NULL] = 0
    chance[:, Level.EQUAL] += 2_000
    chance[:, Level.BAND_1 : Level.SWAPPED] += 50_000
    plan = Plan("s", tuple(Field(f"f{n}", 8, EVIDENCE[n], by_frequency=False) for n in range(5)))
    counted = np.array([draw(st.floats(0, 1)) for _ in range(5)])
    return Sample(plan, patterns, counts, Chance(chance, counted), float(chance[0].sum()), 1_000)


def outcome(sample: Sample, classes: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Model | str:
    try:
        return fit(sample, tuple(CLASSES[n] for n in classes))
    except FuzzyLinkageError as error:
        return error.problem


def assert_same(one: Model | str, other: Model | str, fields: list[int]) -> None:
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return
    for mine, theirs in ((one.m, other.m), (one.u, other.u)):
        np.testing.assert_allclose(np.array(mine)[fields], np.array(theirs), atol=1e-5)
    for name, pairs in one.per_record.items():
        np.testing.assert_allclose(pairs, other.per_record[name], atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(samples(), st.randoms(use_true_random=False), st.permutations([1, 2, 3, 4]), st.permutations(range(5)))
def test_order_of_pairs_fields_and_classes_changes_nothing(
    sample: Sample, random: object, classes: list[int], fields: list[int]
) -> None:
    rows = list(range(len(sample.patterns)))
    random.shuffle(rows)  # type: ignore[attr-defined]
    permuted = Sample(
        Plan("s", tuple(sample.plan.fields[n] for n in fields)),
        sample.patterns[rows][:, fields],
        sample.counts[rows],
        Chance(sample.chance.counts[fields], sample.chance.matches[fields]),
        sample.total,
        sample.records,
    )
    assert_same(outcome(sample), outcome(permuted, (0, *classes)), fields)


@settings(max_examples=40, deadline=None)
@given(samples())
def test_a_model_is_probabilities(sample: Sample) -> None:
    model = outcome(sample)
    if isinstance(model, str):
        return
    for rows in (np.array(model.m), np.array(model.u)):
        assert (rows >= 0).all()
        np.testing.assert_allclose(rows.sum(axis=1), 1)
    ratios = log_ratios(sample.patterns, agreement(CLASSES, sample.plan), np.array(model.m), np.array(model.u))
    assert np.isfinite(ratios).all()
    assert (ratios[0] == 0).all()


@given(st.lists(st.lists(st.integers(0, (1 << BITS) - 1), min_size=7, max_size=7), min_size=1, max_size=20))
def test_a_pattern_is_its_levels(rows: list[list[int]]) -> None:
    levels = np.array(rows, np.uint8)
    assert (as_levels(as_codes(levels), 7) == levels).all()
