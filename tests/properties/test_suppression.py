"""What holds for every pattern of the engine, against a slow and obvious second implementation of the attack."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linker.disclosure.attackers import insiders, lone_contributors, outsider
from linker.disclosure.certificate import uncertified
from linker.disclosure.classification import Classification
from linker.disclosure.linking import CrossTable, link
from linker.disclosure.needs import down, needs
from linker.disclosure.suppression import Pattern, protect, prove
from linker.disclosure.system import LinkedSystem
from tests.disclosure import NO_RULE, cells_of, contributions, flags, flat
from tests.plain_attacker import PlainAttacker, failures

A, B, C = ("a1", "a2", "a3"), ("b1", "b2", "b3"), ("c1", "c2")
NESTED = Classification("a", A, {"a12": ("a1", "a2"), "a23": ("a2", "a3"), "Total": A})
ONE = (CrossTable("ab", (NESTED, flat("b", B))),)
SEVERAL = (
    CrossTable("ab", (NESTED, flat("b", B))),
    CrossTable("bc", (flat("b", B), flat("c", C))),
    CrossTable("ac", (flat("a", A), flat("c", C))),
)
POLICY = replace(NO_RULE, threshold=3, p_percent=15, dominance=((1, 75),), interval_minimum=20)
Fact = tuple[str, str, str, int, int]

FACTS = st.lists(
    st.tuples(st.sampled_from(A), st.sampled_from(B), st.sampled_from(C), st.integers(0, 25), st.integers(1, 900)),
    min_size=4,
    max_size=45,
)
SLOW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def system_of(tables: Sequence[CrossTable], facts: Sequence[Fact], *, nonnegative: bool = True) -> LinkedSystem:
    return link(tables, contributions(facts, ("a", "b", "c")), nonnegative=nonnegative)


def assert_no_attacker_wins(system: LinkedSystem, pattern: Pattern) -> None:
    """A proven pattern stands against plain attackers; one that is not fails although everything may be hidden."""
    for attacker in pattern.attackers if pattern.proven else ():
        below = down(system, pattern.needs, attacker)
        known = [int(cell) for cell in attacker.known]
        assert failures(system, pattern.needs, pattern.hidden, known, below) == ([], [])
    assert not pattern.unchecked
    everything = ~system.shown | (system.contributors > 0)
    for demand in pattern.failures:
        attacker = pattern.attackers[demand.attacker]
        found = PlainAttacker(system, everything, [int(cell) for cell in attacker.known]).range(demand.cell)
        value = system.values[demand.cell]
        below = down(system, pattern.needs, attacker)[demand.cell]
        assert found.high < value + pattern.needs.up[demand.cell] if demand.side > 0 else found.low > value - below


@pytest.mark.parametrize("tables", [ONE, SEVERAL], ids=["one table", "several tables"])
@pytest.mark.parametrize("lone", [False, True], ids=["outsider", "lone contributors"])
@SLOW
@given(facts=FACTS)
def test_no_plain_attacker_learns_more_than_a_proven_pattern_says(
    tables: Sequence[CrossTable], lone: bool, facts: list[Fact]
) -> None:
    system = system_of(tables, facts)
    assert_no_attacker_wins(system, protect(system, replace(POLICY, singletons=lone)))


@SLOW
@given(facts=FACTS)
def test_no_insider_learns_more_when_cells_are_shown_again(facts: list[Fact]) -> None:
    """An insider's own cells and the cells of a clean-up overlap: what is shown stays known to all."""
    system = system_of(ONE, facts)
    cells = cells_of(system, ONE[0])
    known = {b: flags(system, (cell for codes, cell in cells.items() if codes[1] == b)) for b in B}
    pattern = protect(system, POLICY, insiders=insiders(known))
    assert_no_attacker_wins(system, pattern)


@SLOW
@given(facts=FACTS, signs=st.lists(st.sampled_from([-1, 1]), min_size=60, max_size=60))
def test_amounts_that_can_be_negative_have_no_bound_at_zero(facts: list[Fact], signs: list[int]) -> None:
    signed = [(*fact[:4], fact[4] * sign) for fact, sign in zip(facts, signs, strict=False)]
    system = system_of(ONE, signed, nonnegative=False)
    pattern = protect(system, POLICY)
    assert_no_attacker_wins(system, pattern)


@SLOW
@given(facts=FACTS, seed=st.integers(0, 2**32))
def test_pattern_is_the_same_when_rows_and_tables_are_shuffled(facts: list[Fact], seed: int) -> None:
    order = random.Random(seed)  # noqa: S311 - a test must repeat itself
    shuffled, tables = list(facts), list(SEVERAL)
    order.shuffle(shuffled)
    order.shuffle(tables)
    policy = replace(POLICY, singletons=True)
    first, second = system_of(SEVERAL, facts), system_of(tables, shuffled)
    assert first.labels == second.labels
    assert np.array_equal(protect(first, policy).hidden, protect(second, policy).hidden)


@SLOW
@given(facts=FACTS, low=st.integers(1, 6), more=st.integers(0, 6))
def test_a_higher_threshold_never_shrinks_the_primary_set(facts: list[Fact], low: int, more: int) -> None:
    system = system_of(SEVERAL, facts)
    few, many = (needs(system, replace(POLICY, threshold=each)).primary for each in (low, low + more))
    assert not (few & ~many).any()


@SLOW
@given(st.lists(st.integers(0, 7), min_size=6, max_size=6))
def test_counts_agree_with_all_whole_tables_that_fit(counts: list[int]) -> None:
    """Enumerates every table of whole numbers up to 12: each hidden small count can be 0 and the threshold."""
    table = CrossTable("ab", (flat("a", A), flat("b", B[:2])))
    people = iter(range(100))
    places = list(product(A, B[:2]))
    facts = [(*place, next(people), 1) for place, count in zip(places, counts, strict=True) for _ in range(count)]
    if not facts:
        return
    system = link([table], contributions(facts, ("a", "b")), counted=True)
    pattern = protect(system, replace(NO_RULE, threshold=4))
    atoms = system.atoms.toarray().T
    worlds = np.stack(np.meshgrid(*[np.arange(12)] * atoms.shape[1], indexing="ij"), -1).reshape(-1, atoms.shape[1])
    for cell in np.flatnonzero(~pattern.hidden):
        worlds = worlds[worlds @ atoms[cell] == system.values[cell]]
    for cell in np.flatnonzero(pattern.needs.primary) if pattern.proven else ():
        possible = worlds @ atoms[cell]
        assert possible.min() == 0
        assert possible.max() >= 4


def test_attack_on_a_given_pattern_agrees_with_the_plain_attack_cell_by_cell() -> None:
    """Random patterns, most of them bad: the engine's attack fails just the cells that the plain one fails."""
    order = random.Random(3)  # noqa: S311 - a test must repeat itself
    failed = 0
    for _ in range(30):
        facts = [
            (order.choice(A), order.choice(B), order.choice(C), order.randrange(25), order.randrange(1, 900))
            for _ in range(40)
        ]
        system = system_of(SEVERAL, facts)
        found = needs(system, POLICY)
        hidden = found.primary | ~system.shown | (np.array([order.random() for _ in range(len(system))]) < 0.2)
        for attacker in (outsider(), *lone_contributors(system)):
            below = down(system, found, attacker)
            known = [int(cell) for cell in attacker.known]
            narrow, _ = failures(system, found, hidden, known, below)
            pattern = prove(system, found, (attacker,), hidden)
            assert sorted({demand.cell for demand in pattern.failures}) == narrow
            assert not pattern.unchecked
            failed += len(narrow)
    assert failed > 100, "patterns must be bad enough to tell"


def test_certificate_refuses_witnesses_that_do_not_fit() -> None:
    """A witness that breaks a sum, moves a shown or a known cell, goes below 0 or is missing certifies nothing."""
    facts = [(a, b, "c1", 7 * i + j, 300 + 10 * i) for i, a in enumerate(A) for j, b in enumerate(B)]
    system = system_of(ONE, facts)
    pattern = protect(system, replace(POLICY, interval_minimum=50))
    assert pattern.proven
    assert pattern.needs.primary.any()

    def left(witnesses: Sequence[np.ndarray], hidden: np.ndarray = pattern.hidden) -> int:
        return len(uncertified(system, pattern.needs, pattern.attackers, hidden, witnesses))

    honest = list(pattern.witnesses)
    assert left(honest) == 0
    assert left([]) > 0
    a_cell = np.flatnonzero(pattern.hidden)[0]
    assert left([witness + 1.0 * (np.arange(len(system)) == a_cell) for witness in honest]) > 0
    shown = pattern.hidden.copy()
    shown[a_cell] = False
    assert left(honest, shown) > 0
    assert left([100 * witness for witness in honest]) > 0
