"""What holds for every pattern of the engine, against a slow and obvious second implementation of the attack."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from linker.disclosure.attackers import insiders, lone_contributors, outsider
from linker.disclosure.certificate import fits, uncertified
from linker.disclosure.classification import Classification
from linker.disclosure.elimination import eliminate
from linker.disclosure.linking import CrossTable, link
from linker.disclosure.needs import down, needs
from linker.disclosure.pattern import Pattern
from linker.disclosure.suppression import protect, prove
from linker.disclosure.system import LinkedSystem
from tests.disclosure import NO_RULE, cells_of, contributions, flags, flat
from tests.plain_attacker import PlainAttacker, failures
from tests.registries import random_registry

A, B, C = ("a1", "a2", "a3"), ("b1", "b2", "b3"), ("c1", "c2")
NESTED = Classification("a", A, {"a12": ("a1", "a2"), "a23": ("a2", "a3"), "Total": A})
ONE = (CrossTable("ab", (NESTED, flat("b", B))),)
SEVERAL = (
    CrossTable("ab", (NESTED, flat("b", B))),
    CrossTable("bc", (flat("b", B), flat("c", C))),
    CrossTable("ac", (flat("a", A), flat("c", C))),
)
POLICY = replace(NO_RULE, threshold=3, p_percent=15, dominance=((1, 75),), interval_minimum=20)
REGISTRY_POLICY = replace(NO_RULE, threshold=3, p_percent=15, interval_minimum=20, singletons=True)
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
    pattern = protect(system, POLICY, insiders=insiders(system, known))
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


@pytest.mark.parametrize("axes", [(A, B[:2]), (A[:2], B[:2], C)], ids=["two axes", "three axes"])
@SLOW
@given(counts=st.lists(st.integers(0, 7), min_size=8, max_size=8))
def test_counts_agree_with_all_whole_tables_that_fit(axes: Sequence[tuple[str, ...]], counts: list[int]) -> None:
    """Enumerates every table of whole numbers up to 12: each hidden small count can be 0 and the threshold."""
    system = counts_of(axes, counts)
    pattern = protect(system, replace(NO_RULE, threshold=4))
    assert pattern.proven
    worlds = tables_that_fit(system, pattern.hidden)
    assume(worlds is not None)
    for cell in np.flatnonzero(pattern.needs.primary):
        possible = worlds @ system.atoms.toarray().T[cell]
        assert possible.min() == 0
        assert possible.max() >= 4


def counts_of(axes: Sequence[tuple[str, ...]], counts: Sequence[int]) -> LinkedSystem:
    """Return a table of counts; with one contributor at least."""
    names, people = "abc"[: len(axes)], iter(range(10_000))
    table = CrossTable("counts", tuple(flat(name, leaves) for name, leaves in zip(names, axes, strict=True)))
    pairs = zip(product(*axes), counts, strict=False)
    facts = [(*place, next(people), 1) for place, count in pairs for _ in range(count)]
    return link([table], contributions(facts or [(*(each[0] for each in axes), 0, 1)], names), counted=True)


def tables_that_fit(system: LinkedSystem, hidden: np.ndarray) -> np.ndarray | None:
    """Return all tables, rows of atoms up to 12, that agree with what is shown; None if they are too many."""
    told = system.atoms.toarray().T[~hidden].astype(np.int64)
    values, worlds = system.values[~hidden], np.zeros((1, 0), np.int64)
    for atom in range(system.atoms.shape[0]):
        more = np.repeat(worlds, 13, axis=0)
        worlds = np.column_stack([more, np.tile(np.arange(13), len(worlds))])
        sums, left = worlds @ told[:, : atom + 1].T, told[:, atom + 1 :].any(axis=1)
        worlds = worlds[((sums == values) | (left & (sums < values))).all(axis=1)]
        if len(worlds) > 100_000:
            return None
    return worlds


@pytest.mark.parametrize(("size", "seed", "mean"), [(3, 7, 6), (5, 1, 8)])
def test_counts_of_three_axes_are_proven_by_whole_tables(size: int, seed: int, mean: int) -> None:
    """A linear program's answer for such tables has halves of families; these two were refused for it."""
    order = random.Random(seed)  # noqa: S311 - a test must repeat itself
    axes = [tuple(f"{name}{number}" for number in range(size)) for name in "abc"]
    system = counts_of(axes, [int(order.expovariate(1 / mean)) for _ in range(size**3)])
    pattern = protect(system, replace(NO_RULE, threshold=5))
    assert pattern.proven
    incidence, atoms = system.atoms.toarray().T.astype(np.int64), system.atom_cells()
    worlds = [(system.values + witness)[atoms] for witness in pattern.witnesses]
    assert not any((world % 1).any() or (world < 0).any() for world in worlds)
    possible = np.array([incidence @ world.astype(np.int64) for world in worlds])
    assert (possible[:, ~pattern.hidden] == system.values[~pattern.hidden]).all()
    assert (possible[:, pattern.needs.primary].min(axis=0) == 0).all()
    assert (possible[:, pattern.needs.primary].max(axis=0) >= 5).all()


@settings(SLOW, max_examples=4)
@given(seed=st.integers(0, 2**32))
def test_a_random_registry_of_overlapping_tables_never_leaks(seed: int) -> None:
    registry = random_registry(seed)
    pattern = protect(registry.system, REGISTRY_POLICY, registry.needs(REGISTRY_POLICY))
    assert_no_attacker_wins(registry.system, pattern)


def test_random_registries_leak_when_they_are_protected_with_less_care() -> None:
    """The controls: primary cells only, elimination only, and each table by itself."""
    leaks = {"primary": 0, "elimination": 0, "table by table": 0, "with care": 0}
    for seed in (1, 3, 6, 8):
        registry = random_registry(seed)
        system, found = registry.system, registry.needs(REGISTRY_POLICY)
        unshown, may_hide = ~system.shown, system.shown & (system.contributors > 0)
        apart = system.shown.copy()
        for name, alone in registry.alone.items():
            own = protect(alone, REGISTRY_POLICY).hidden[alone.tables[name]]
            apart[system.tables[name][~own]] = False
        hidden = {
            "primary": found.primary,
            "elimination": eliminate(system, found.primary, may_hide=may_hide, lone=False),
            "table by table": apart,
            "with care": protect(system, REGISTRY_POLICY, found).hidden,
        }
        for name, each in hidden.items():
            leaks[name] += len(failures(system, found, each | unshown)[0])
    assert min(leaks["primary"], leaks["elimination"], leaks["table by table"]) > 10, leaks
    assert leaks["with care"] == 0


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


@pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])
def test_table_of_very_large_and_very_small_amounts_is_proven(nonnegative: bool) -> None:
    """Ten kroner stand beside a hundred billion; sums are whole in 64 bits. It was refused for solvers' tolerances."""
    system = wide_amounts(nonnegative=nonnegative)
    pattern = protect(system, WIDE_POLICY)
    assert pattern.proven
    assert pattern.needs.up[pattern.needs.primary].max() > 1_000_000 * pattern.needs.up[pattern.needs.primary].min()
    off = [np.abs(system.equations @ witness).max() for witness in pattern.witnesses]
    assert np.median(off) < 0.5


def test_certificate_refuses_a_witness_that_is_off_by_a_small_need_where_large_cells_move() -> None:
    """What an equation may be off was once a share of what it sums: a small cell could go its whole way for nothing."""
    system = wide_amounts(nonnegative=False)
    found = needs(system, WIDE_POLICY)
    cells = cells_of(system, CrossTable("ab", tuple(map(flat, "ab", WIDE))))
    witness = np.zeros(len(system))
    for row, column in (("a2", "b1"), ("a5", "b3")):
        for place in ((row, column), (row, "Total"), ("Total", column), ("Total", "Total")):
            witness[cells[place]] += 1e13
    everything = np.ones(len(system), bool)
    assert fits(system, found, everything, witness)
    witness[cells["a2", "b3"]] = 500_000
    assert not fits(system, found, everything, witness)


WIDE_POLICY = replace(POLICY, threshold=5, dominance=((1, 75), (2, 90)), interval_minimum=500_000)
WIDE = tuple(f"a{n}" for n in range(6)), tuple(f"b{n}" for n in range(5))


def wide_amounts(*, nonnegative: bool) -> LinkedSystem:
    random_ = np.random.default_rng(1)
    at = [random_.choice(len(leaves), 300, p=random_.dirichlet(np.ones(len(leaves)))) for leaves in WIDE]
    amounts = np.exp(random_.uniform(np.log(1_000), np.log(1e13), 300)).astype(np.int64).tolist()
    facts = [(WIDE[0][a], WIDE[1][b], n, amounts[n]) for n, (a, b) in enumerate(zip(*at, strict=True))]
    table = CrossTable("ab", tuple(map(flat, "ab", WIDE)))
    return link([table], contributions(facts, ("a", "b")), nonnegative=nonnegative)
