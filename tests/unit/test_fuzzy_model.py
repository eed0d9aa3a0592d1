"""The model of fuzzy linkage: by hand, against the recordlinkage toolkit, and what it refuses."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from bench.record_linkage import fitted
from linker.linkage.fuzzy.blocking import CAPS
from linker.linkage.fuzzy.chance import Chance
from linker.linkage.fuzzy.classes import CLASSES, MATCH, RANDOM
from linker.linkage.fuzzy.comparison import compare
from linker.linkage.fuzzy.drift import Alarm, Drift, alarms
from linker.linkage.fuzzy.encodings import encoded
from linker.linkage.fuzzy.fitting import FuzzyLinkageError, Sample, State, fit, one_round
from linker.linkage.fuzzy.model import Model, m_of
from linker.linkage.fuzzy.plan import Evidence, Field, Level, Plan
from linker.linkage.fuzzy.problems import Problem
from linker.linkage.fuzzy.scoring import score

E, N, X = Level.EQUAL, Level.NULL, Level.ELSE
TWO = (RANDOM, MATCH)
SECOND = np.array([False, True])


def plan(fields: int) -> Plan:
    evidence = [Evidence.GIVEN_NAME, Evidence.SURNAME, Evidence.BIRTH_DATE, Evidence.ADDRESS, Evidence.ADDRESS]
    return Plan("s-1", tuple(Field(f"f{n}", 8, evidence[n % 5], by_frequency=False) for n in range(fields)))


def sample(rows: dict[tuple[int, ...], float], records: int, total: float | None = None) -> Sample:
    """A sample of which all pairs are candidates, unless `total` says that there are more, all of them ELSE."""
    patterns = np.array(list(rows), np.uint8)
    counts = np.array(list(rows.values()), float)
    chance = np.stack([np.bincount(column, counts, minlength=len(Level)) for column in patterns.T])
    chance[:, Level.NULL] = 0
    others = (total or counts.sum()) - counts.sum()
    chance[:, X] += others
    return Sample(
        plan(patterns.shape[1]), patterns, counts, Chance(chance, np.ones(len(chance))), counts.sum() + others, records
    )


def start(m: float, u: float, share: float, fields: int = 2) -> State:
    row = np.zeros((2, len(Level)))
    row[0, [E, X]], row[1, [E, X]] = (m, 1 - m), (u, 1 - u)
    return State(np.tile(row[0], (fields, 1)), np.tile(row[1], (fields, 1)), np.array([1 - share, share]))


def test_one_round_is_what_bayes_rule_gives_by_hand() -> None:
    found = sample({(E, E): 30, (E, X): 10, (X, E): 10, (X, X): 50}, records=100)
    state = start(0.9, 0.1, 0.1)
    mixed = np.array([[0.0, 0.0], [1.0, 1.0]])
    new = one_round(found, mixed, SECOND, state, state, 0.0, keep_m=False)
    # Matches among 30 equal on both: .1·.81 of .1·.81 + .9·.01 = .9; on one: .1·.09 of .09 = .1; on none: .001 of .73.
    both, one, none = 30 * 0.9, 10 * 0.1, 50 * 0.001 / 0.73
    matches = both + 2 * one + none
    assert new.shares[1] == pytest.approx(matches / 100)
    assert new.m[0, E] == pytest.approx((both + one) / matches)
    assert new.u[1, E] == pytest.approx((40 - both - one) / (100 - matches))


def test_of_equal_matches_only_those_that_chance_counted_are_taken_out() -> None:
    """Of 28 matches that are equal on the second field a quarter is counted: of 40, 33 by chance, and not 12."""
    found = sample({(E, E): 30, (E, X): 10, (X, E): 10, (X, X): 50}, records=100)
    found = replace(found, chance=Chance(found.chance.counts, np.array([1, 0.25])))
    state = start(0.9, 0.1, 0.1)
    new = one_round(found, np.array([[0.0, 0.0], [1.0, 1.0]]), SECOND, state, state, 0.0, keep_m=False)
    both, one, none = 30 * 0.9, 10 * 0.1, 50 * 0.001 / 0.73
    equal, others = both + one, one + none
    assert new.u[0, E] == pytest.approx((40 - equal) / (100 - equal - others))
    assert new.u[1, E] == pytest.approx((40 - equal / 4) / (100 - equal / 4 - others))


def test_null_is_no_evidence_by_hand() -> None:
    found = sample({(E, N): 20, (X, N): 80}, records=100)
    mixed = np.array([[0.0, 0.0], [1.0, 1.0]])
    new = one_round(found, mixed, SECOND, start(0.9, 0.1, 0.1), start(0.9, 0.1, 0.1), 0, keep_m=False)
    # .1·.9 of .1·.9 + .9·.1 = .5; .1·.1 of .1·.1 + .9·.9 = .01/.82
    assert new.shares[1] == pytest.approx((20 * 0.5 + 80 * 0.01 / 0.82) / 100)
    assert new.m[1] == pytest.approx(start(0.9, 0.1, 0.1).m[1])


def test_weights_are_bits() -> None:
    model = Model("s-1", ("f0",), (True,), ((0, 0.8, 0, 0, 0, 0, 0.2, 0),), ((0, 0.1, 0, 0, 0, 0, 0.9, 0),), {}, 1, 1)
    assert model.weights()[0, [N, E, Level.BAND_1]] == pytest.approx([0, 3, 0])
    assert model.weights()[0, X] == pytest.approx(np.log2(0.2 / 0.9))


@pytest.mark.parametrize("seed", range(5))
def test_two_classes_on_binary_fields_agree_with_ecm(seed: int) -> None:
    """Where all pairs are candidates, the prior is free and u is learnt, both maximise the same likelihood."""
    drawn = np.random.default_rng(seed)
    fields, pairs = 5, 20_000
    match = drawn.random(pairs) < drawn.uniform(0.05, 0.3)
    m, u = drawn.uniform(0.7, 0.97, fields), drawn.uniform(0.02, 0.25, fields)
    agree = drawn.random((pairs, fields)) < np.where(match[:, None], m, u)
    patterns, counts = np.unique(agree.astype(np.uint8), axis=0, return_counts=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the toolkit's, from pandas
        theirs = fitted(patterns, counts)
    levels = np.where(patterns == 1, E, X)
    found = sample({tuple(map(int, row)): count for row, count in zip(levels, counts, strict=True)}, records=pairs)
    ours = fit(found, TWO, held=0.0)
    assert ours.per_record["match"] == pytest.approx(theirs.matches, abs=2e-4)
    assert np.array(ours.m)[:, E] == pytest.approx(theirs.m, abs=2e-4)
    assert np.array(ours.u)[:, E] == pytest.approx(theirs.u, abs=2e-4)


HEALTHY = {(E, E, E): 400.0, (E, E, X): 60.0, (E, X, E): 60.0, (X, E, E): 60.0, (X, X, E): 200.0, (E, X, X): 300.0}
REFUSED = {
    "one field": (sample({(E, N): 500.0, (X, N): 500.0}, 1_000), Problem.TOO_FEW_FIELDS),
    "three records": (sample({(E, E): 3.0}, 3, 1e6), Problem.TOO_FEW_RECORDS),
    "no matches": (sample({(E, X, X): 900.0, (X, E, X): 800.0}, 1_000, 1e6), Problem.TOO_FEW_RECORDS),
    "more matches than records": (sample({(E, E, E): 3_000.0, (X, X, E): 5.0}, 1_000, 1e6), Problem.LABELS),
}


@pytest.mark.parametrize("case", REFUSED)
def test_no_model_is_made_of(case: str) -> None:
    found, problem = REFUSED[case]
    with pytest.raises(FuzzyLinkageError) as error:
        fit(found)
    assert error.value.problem is problem


def test_model_of_a_healthy_sample() -> None:
    model = fit(sample(HEALTHY, 1_000, 1e6))
    assert model.per_record["match"] + model.per_record["moved"] == pytest.approx(0.58, abs=0.05)
    assert (model.weights()[:, E] > 5).all()


def test_agreement_likelier_by_chance_than_among_matches_is_refused() -> None:
    """Classes that are not what they are called: a field that nearly all pairs agree on, but matches do not."""
    rows = {(E, E, X): 500.0, (X, X, E): 99_500.0}
    with pytest.raises(FuzzyLinkageError, match="f2") as error:
        fit(sample(rows, 1_000), TWO, held=0.0)
    assert error.value.problem is Problem.LABELS


def test_model_that_does_not_settle_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linker.linkage.fuzzy.fitting.ROUNDS", 2)
    with pytest.raises(FuzzyLinkageError) as error:
        fit(sample(HEALTHY, 1_000, 1e6))
    assert error.value.problem is Problem.NOT_CONVERGED


def test_few_records_keep_what_is_known() -> None:
    kept = fit(sample(HEALTHY, 1_000, 1e6))
    few = fit(sample({(E, E, E): 2.0, (E, X, X): 1.0}, 3, 3_000), start=kept, keep_m=True)
    assert few.m == kept.m
    assert few.rounds == 0


def test_kept_model_reads_back() -> None:
    kept = fit(sample(HEALTHY, 1_000, 1e6))
    assert Model.from_json(kept.to_json()) == kept


def test_kept_model_of_another_schema_is_refused() -> None:
    kept = fit(sample(HEALTHY, 1_000, 1e6))
    with pytest.raises(FuzzyLinkageError) as error:
        m_of(kept, plan(2))
    assert error.value.problem is Problem.OTHER_FIELDS


def test_household_members_are_no_matches() -> None:
    """One address, one surname, other given names and birth dates: many such pairs do not become matches."""
    rows = {(E, E, E, E, E): 700.0, (X, E, X, E, E): 1_500.0, (E, E, E, X, X): 80.0, (X, E, X, X, X): 900.0}
    model = fit(sample(rows, 1_000, 1e7), CLASSES)
    assert model.per_record["match"] == pytest.approx(0.7, abs=0.03)
    assert model.per_record["moved"] == pytest.approx(0.08, abs=0.02)
    assert model.per_record["same_household"] == pytest.approx(1.5, abs=0.1)


def test_drift_names_the_field_that_moved_and_fewer_matches() -> None:
    before = fit(sample(HEALTHY, 1_000, 1e6))
    same = fit(sample({row: count * 2 for row, count in HEALTHY.items()}, 2_000, 2e6))
    assert alarms(before, same) == []
    worse = fit(sample({**HEALTHY, (E, E, X): 200.0, (E, E, E): 260.0}, 1_000, 1e6))
    assert [(alarm.drift, alarm.field) for alarm in alarms(before, worse)] == [(Drift.FIELD, "f2")]
    fewer = fit(sample({row: count * (0.6 if row.count(E) > 1 else 1) for row, count in HEALTHY.items()}, 1_000, 1e6))
    assert [alarm.drift for alarm in alarms(before, fewer)] == [Drift.MATCHES]
    assert alarms(before, replace(before, compared=(True, True, False))) == [Alarm(Drift.COMPARED, "f2", 1.0)]


def test_rare_value_weighs_more_by_hand() -> None:
    """Two persons, each with a record of his own: of 16 persons 15 have the one's name and 1 the other's."""
    two = Plan(
        "s-1",
        (
            Field("name", 8, Evidence.SURNAME, by_frequency=True),
            Field("date", 8, Evidence.BIRTH_DATE, by_frequency=False),
        ),
    )
    values = [bytes([n] * 8) for n in range(1, 20)]
    persons = pl.DataFrame(
        {
            "record": [f"p{n:02}" for n in range(16)],
            "name": [values[0]] * 15 + [values[1]],
            "date": values[:16],
            "tokens": [[value] for value in values[:16]],
        }
    )
    both = encoded(two, persons[[0, 15]], persons)
    row = (0.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.2, 0.0)
    chance = ((0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0), (0.0, 1 / 16, 0.0, 0.0, 0.0, 0.0, 15 / 16, 0.0))
    model = Model("s-1", ("name", "date"), (True, True), (row, row), chance, {"match": 0.5}, 2, 1)
    scored = score(both, compare(both, CAPS), model, TWO)
    assert scored["right"].to_list() == [0, 15]
    common, rare = scored["weight"]
    assert common == pytest.approx(np.log2(0.8 / (15 / 16)) + np.log2(0.8 * 16), abs=0.05)
    assert rare == pytest.approx(np.log2(0.8 * 16) + np.log2(0.8 * 16), abs=0.05)
