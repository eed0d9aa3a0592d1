"""Units of the suppression engine: classifications, linking, needs, the attacker's program, and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from linker.disclosure.attackers import Attacker, lone_contributors, outsider
from linker.disclosure.classification import Classification, ClassificationError
from linker.disclosure.elimination import eliminate
from linker.disclosure.linking import CrossTable, link
from linker.disclosure.needs import Needs, down, needs
from linker.disclosure.programs import DOWN, UP, Attack, NoAnswer
from linker.disclosure.relations import CombinationFacts, Relation, RelationError, related
from linker.disclosure.suppression import protect, prove
from linker.disclosure.system import LinkedSystem, NotAdditiveError, joined
from tests.disclosure import NO_RULE, cells_of, contributions, flags, flat

A, B = ("a1", "a2", "a3"), ("b1", "b2")
TABLE = CrossTable("ab", (flat("a", A), flat("b", B)))
FEW = replace(NO_RULE, threshold=2, interval_minimum=10)


def grid(amounts: dict[tuple[str, str], list[int]]) -> LinkedSystem:
    """Return the system of TABLE; each amount is one contributor's."""
    people = iter(range(1000))
    facts = [(*place, next(people), each) for place, several in amounts.items() for each in several]
    return link([TABLE], contributions(facts, ("a", "b")))


FULL = {(a, b): [40, 50, 60] for a in A for b in B}


@pytest.mark.parametrize("sums", [{"a1": A}, {"x": ("a9",)}, {"x": ()}])
def test_classification_is_refused_when_a_sum_is_no_sum_of_leaves(sums: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ClassificationError):
        Classification("a", A, sums)


def test_link_makes_equal_regions_of_different_tables_one_cell() -> None:
    total = CrossTable("a", (flat("a", A),))
    facts = [(a, b, i, 10) for i, (a, b) in enumerate((a, b) for a in A for b in B)]
    system = link([TABLE, total], contributions(facts, ("a", "b")))
    crossed, single = cells_of(system, TABLE), cells_of(system, total)
    assert {single[a,] for a in A} == {crossed[a, "Total"] for a in A}
    assert len(system) == len(crossed)
    assert system.shown.all()


def test_link_keeps_atoms_that_no_table_shows_where_tables_cross() -> None:
    tables = [CrossTable("a", (flat("a", A),)), CrossTable("b", (flat("b", B),))]
    facts = [(a, b, i, 10 + i) for i, (a, b) in enumerate((a, b) for a in A for b in B)]
    system = link(tables, contributions(facts, ("a", "b")))
    assert int((~system.shown).sum()) == len(facts)
    assert sorted(system.values[~system.shown]) == [10, 11, 12, 13, 14, 15]


def test_link_counts_a_contributor_once_with_its_net_amount() -> None:
    facts = [("a1", "b1", 7, 30), ("a1", "b1", 7, -10), ("a2", "b1", 7, 5), ("a2", "b1", 8, 4), ("a3", "b2", 9, 0)]
    system = link([TABLE], contributions(facts, ("a", "b")), nonnegative=False)
    cell = cells_of(system, TABLE)["Total", "Total"]
    assert (system.values[cell], system.contributors[cell]) == (29, 2)
    assert (system.largest[cell], system.second[cell], system.absolute[cell]) == (25, 4, 29)
    assert system.sole[cell] == -1
    assert system.sole[cells_of(system, TABLE)["a1", "Total"]] == 7


def test_link_names_who_is_alone_in_a_cell_though_it_contributes_nothing() -> None:
    """Whoever is alone among a measure's rows knows that its own 0 is all there is."""
    facts = [("a1", "b1", 7, 0), ("a2", "b1", 7, 5), ("a2", "b1", 8, 0), ("a3", "b1", 8, 0), ("a3", "b1", 9, 0)]
    system = link([TABLE], contributions(facts, ("a", "b")))
    cells = cells_of(system, TABLE)
    assert [int(system.sole[cells[a, "b1"]]) for a in A] == [7, 7, -1]
    assert [int(system.contributors[cells[a, "b1"]]) for a in A] == [0, 1, 0]


def test_link_refuses_a_leaf_that_no_table_has() -> None:
    with pytest.raises(ClassificationError, match="axis a"):
        link([TABLE], contributions([("a9", "b1", 1, 1)], ("a", "b")))


def test_system_is_refused_when_a_sum_is_not_the_sum_of_its_parts() -> None:
    system = grid(FULL)
    with pytest.raises(NotAdditiveError):
        replace(system, values=system.values + flags(system, [3]))


@pytest.mark.parametrize(
    ("contributed", "change", "primary"),
    [
        ([5], {"threshold": 2}, True),
        ([5, 5], {"threshold": 2}, False),
        ([100, 50, 15], {"p_percent": 15}, False),
        ([100, 50, 14], {"p_percent": 15}, True),
        ([75, 25], {"dominance": ((1, 75),)}, False),
        ([76, 24], {"dominance": ((1, 75),)}, True),
        ([60, 30, 10], {"dominance": ((2, 90),)}, False),
        ([60, 31, 9], {"dominance": ((2, 90),)}, True),
    ],
)
def test_cell_is_primary_by_the_rule_and_not_at_its_edge(
    contributed: list[int], change: dict[str, object], *, primary: bool
) -> None:
    system = grid({**FULL, ("a1", "b1"): contributed})
    found = needs(system, replace(NO_RULE, **change))  # type: ignore[arg-type]
    assert bool(found.primary[cells_of(system, TABLE)["a1", "b1"]]) is primary


def test_need_is_the_largest_of_its_three_and_ends_at_zero() -> None:
    policy = replace(NO_RULE, threshold=3, p_percent=15, interval_percent=5, interval_minimum=20)
    cases = {(1000, 1): 150, (100, 100): 20, (12, 3): 20}
    for contributed, width in cases.items():
        system = grid({**FULL, ("a1", "b1"): list(contributed)})
        cell = cells_of(system, TABLE)["a1", "b1"]
        found = needs(system, policy)
        assert (found.up[cell], found.down[cell]) == (width, min(width, sum(contributed)))


def test_count_must_be_possible_at_zero_and_at_the_threshold() -> None:
    facts = [("a1", "b1", i, 1) for i in range(3)] + [(a, "b2", 10 + i, 1) for i, a in enumerate(A * 9)]
    system = link([TABLE], contributions(facts, ("a", "b")), counted=True)
    found = needs(system, replace(NO_RULE, threshold=5))
    cell = cells_of(system, TABLE)["a1", "b1"]
    assert (found.up[cell], found.down[cell]) == (2, 3)


def test_zeros_are_primary_only_where_the_policy_says_so() -> None:
    system = grid({**FULL, ("a1", "b1"): []})
    cell = cells_of(system, TABLE)["a1", "b1"]
    assert not needs(system, replace(FEW, threshold=3)).primary[cell]
    assert needs(system, replace(FEW, threshold=3, zeros_are_disclosive=True)).primary[cell]


def test_a_lone_contributor_is_asked_for_no_less_than_what_it_knows_to_be_there() -> None:
    system = grid({**FULL, ("a1", "b1"): [500], ("a1", "b2"): [30]})
    found = needs(system, replace(NO_RULE, threshold=3, interval_minimum=100))
    cell = cells_of(system, TABLE)["a1", "Total"]
    first = next(each for each in lone_contributors(system) if cells_of(system, TABLE)["a1", "b1"] in each.known)
    assert down(system, found, outsider())[cell] == 100
    assert down(system, found, first)[cell] == 30


def test_a_lone_contributor_is_asked_for_no_less_than_it_gave_where_it_is_one_of_several() -> None:
    facts = [("a1", "b1", 1, 500), ("a1", "b2", 1, 40), ("a1", "b2", 2, 60)]
    system = link([TABLE], contributions(facts, ("a", "b")))
    cells = cells_of(system, TABLE)
    found = needs(system, replace(NO_RULE, threshold=3, interval_minimum=90))
    [first] = lone_contributors(system)
    below = down(system, found, first)
    assert (below[cells["a1", "b2"]], below[cells["a1", "Total"]]) == (60, 60)
    assert protect(system, replace(NO_RULE, threshold=3, interval_minimum=90, singletons=True)).proven


def test_shown_cell_stays_known_when_an_attacker_that_knows_it_is_gone() -> None:
    """It once moved again, and the proof of a clean-up leant on it."""
    system = grid(FULL)
    found = needs(system, FEW)
    cells = cells_of(system, TABLE)
    attack = Attack(system, found, np.ones(len(system), bool))
    cell = cells["a1", "b1"]
    own = Attacker("insider", np.array([cell, cells["a2", "b1"]]))
    attack.show(cell)
    attack.know(own.known)
    attack.forget(own.known)
    for side in (UP, DOWN):
        answer = attack.extreme(cell, side, 1)
        assert not isinstance(answer, NoAnswer)
        assert answer[cell] == 0
    attack.hide(cell)
    answer = attack.extreme(cell, UP, 1)
    assert not isinstance(answer, NoAnswer)
    assert answer[cell] > 0


def test_pattern_hides_everything_where_one_contributor_has_it_all() -> None:
    """Everything is a proof; with the total shown there is none."""
    system = grid({("a1", "b1"): [500]})
    pattern = protect(system, replace(FEW, singletons=False))
    assert pattern.needs.primary.any()
    assert pattern.proven
    total = flags(system, [cells_of(system, TABLE)["Total", "Total"]])
    assert not prove(system, pattern.needs, (outsider(),), pattern.needs.primary & ~total).proven


def test_elimination_protects_the_sum_of_two_cells_that_a_lone_contributor_could_split() -> None:
    system = grid({**FULL, ("a1", "b1"): [40], ("a1", "b2"): [50, 60]})
    primary = flags(system, (cells_of(system, TABLE)["a1", b] for b in B))
    total = cells_of(system, TABLE)["a1", "Total"]
    with_rule, without = (
        eliminate(system, primary, may_hide=system.contributors > 0, lone=lone) for lone in (True, False)
    )
    assert with_rule[total]
    assert not without[total]


def test_table_within_some_leaves_shares_cells_with_tables_that_have_the_axis() -> None:
    only = CrossTable("only", (flat("b", B),), {"a": ("a2",)})
    facts = [(a, b, i, 10 + i) for i, (a, b) in enumerate((a, b) for a in A for b in B)]
    system = link([TABLE, only], contributions(facts, ("a", "b")))
    crossed, within = cells_of(system, TABLE), cells_of(system, only)
    assert {code[0]: cell for code, cell in within.items()} == {b: crossed["a2", b] for b in (*B, "Total")}
    alone = link([only], contributions(facts, ("a", "b")))
    assert alone.values[cells_of(alone, only)["Total",]] == 12 + 13
    with pytest.raises(ClassificationError, match="within a"):
        link([replace(only, within={"a": ()})], contributions(facts, ("a", "b")))


def test_table_that_is_not_shown_joins_with_cells_that_are_not_shown() -> None:
    earlier = CrossTable("earlier", (flat("b", B),), {"a": ("a1", "a2")}, shown=False)
    facts = [(a, b, i, 10 + i) for i, (a, b) in enumerate((a, b) for a in A for b in B)]
    system = link([TABLE, earlier], contributions(facts, ("a", "b")))
    assert sorted(system.values[~system.shown]) == [10 + 12, 11 + 13, 10 + 11 + 12 + 13]
    assert not system.shown[system.tables["earlier"]].any()
    with pytest.raises(ClassificationError, match="axis a"):
        link([TABLE, CrossTable("a", (flat("a", A[:2]),))], contributions(facts, ("a", "b")))
    assert link([TABLE, CrossTable("a", (flat("a", A[:2]),), {"a": A[:2]})], contributions(facts, ("a", "b")))


def adults_and_children(families: list[tuple[str, int, int]]) -> tuple[LinkedSystem, list[dict[str, int]]]:
    """Return families, adults, children and persons of each place as one system, and their cells by code."""
    table = (flat("a", A),)
    columns: dict[str, list[int]] = {
        "families": [1 for _ in families],
        "adults": [adults for _, adults, _ in families],
        "children": [children for *_, children in families],
        "persons": [adults + children for _, adults, children in families],
    }
    places = [place for place, *_ in families]
    parts = [
        link(
            [CrossTable(name, table)],
            contributions([(place, i, n) for i, (place, n) in enumerate(zip(places, column, strict=True))], ("a",)),
            counted=True,
        )
        for name, column in columns.items()
    ]
    system = joined(parts)
    return system, [{code[0]: cell for code, cell in cells_of(system, CrossTable(n, table)).items()} for n in columns]


def test_combination_of_measures_that_is_nothing_gives_the_third_away_and_hides_it() -> None:
    """Persons are adults and children: where few families have adults, a second measure of the place must be hidden."""
    families = [("a1", 2, 2)] * 3 + [("a2", 2, 1)] * 8 + [("a3", 1, 3)] * 9
    system, (_, adults, children, persons) = adults_and_children(families)
    equations = [Relation(a, {persons[a]: 1, adults[a]: -1, children[a]: -1}) for a in A]
    both = related(system, equations)
    assert both.equations.shape[0] == system.equations.shape[0] + len(A)
    primary = flags(both, [adults["a2"]])
    found = Needs(primary, 4 * primary.astype(np.int64), 4 * primary.astype(np.int64))
    policy = replace(NO_RULE, threshold=5)
    assert not eliminate(system, primary, may_hide=system.shown)[[persons["a2"], children["a2"]]].any()
    assert eliminate(both, primary, may_hide=both.shown)[[persons["a2"], children["a2"]]].any()
    pattern = protect(both, policy, found)
    assert pattern.proven
    assert pattern.hidden[[persons["a2"], children["a2"]]].any()
    up, down_ = pattern.ranges()
    assert up[adults["a2"]] >= 4
    assert down_[adults["a2"]] >= 4
    assert not up[~pattern.hidden].any()
    with pytest.raises(NotAdditiveError):
        related(system, [Relation("wrong", {persons["a1"]: 1, adults["a1"]: -1})])


def test_virtual_cell_that_is_primary_hides_what_gives_it_away() -> None:
    """Adults less families are the second adults: two of them in a2, though adults and families are many."""
    families = [("a1", 2, 2)] * 9 + [("a2", 1, 1)] * 8 + [("a2", 2, 1)] * 2 + [("a3", 2, 3)] * 9
    system, (number, adults, *_) = adults_and_children(families)
    facts = CombinationFacts(contributors=2, absolute=2, largest=1, second=1, sole=-1, nonnegative=True)
    both = related(system, [Relation("second adults of a2", {adults["a2"]: 1, number["a2"]: -1}, facts)])
    virtual = len(both) - 1
    assert (both.values[virtual], both.shown[virtual], both.labels[virtual]) == (2, False, "second adults of a2")
    policy = replace(NO_RULE, threshold=5)
    assert not needs(both, policy).primary.any()
    found = needs(both, policy, flags(both, [virtual]))
    assert (found.up[virtual], found.down[virtual]) == (3, 2)
    assert not prove(both, found, (outsider(),), np.zeros(len(both), bool)).proven
    pattern = protect(both, policy, found)
    assert pattern.proven
    assert pattern.hidden[[adults["a2"], number["a2"]]].any()
    assert not pattern.secondary(both)[virtual]


def test_cells_hidden_before_are_hidden_rather_than_others_as_good() -> None:
    """All are alike but the unsafe one: what is hidden with it is what was hidden before."""
    system = grid({**FULL, ("a1", "b1"): [140, 10]})
    cells = cells_of(system, TABLE)
    policy = replace(FEW, threshold=3)
    for other in A[1:]:
        before = flags(system, [cells["a1", "b2"], cells[other, "b1"], cells[other, "b2"]])
        pattern = protect(system, policy, prefer=before)
        assert pattern.proven
        assert np.array_equal(pattern.secondary(system), before)


def test_relation_between_counts_and_amounts_is_refused() -> None:
    counts, _ = adults_and_children([("a1", 1, 1)])
    both = joined([counts, replace(grid(FULL), tables={})])
    with pytest.raises(RelationError, match="mixed"):
        related(both, [Relation("mixed", {0: 1, len(both) - 1: 1})])


def test_joined_systems_are_protected_as_they_are_alone() -> None:
    amounts = grid({**FULL, ("a1", "b1"): [500], ("a2", "b2"): [70]})
    facts = [("a1", "b1", i, 1) for i in range(1)] + [(a, b, 10 + i, 1) for i, (a, b) in enumerate([*FULL] * 4)]
    counts = link([CrossTable("counts", TABLE.axes)], contributions(facts, ("a", "b")), counted=True)
    counts = replace(counts, tables={"counts": counts.tables["counts"]})
    policy = replace(FEW, threshold=5)
    both = joined([amounts, counts])
    pattern = protect(both, policy)
    assert pattern.proven
    assert np.array_equal(
        pattern.needs.primary, np.concatenate([needs(each, policy).primary for each in (amounts, counts)])
    )
    assert both.tables["counts"].min() >= len(amounts)


def test_a_cell_that_is_known_anyway_protects_nothing_though_no_table_shows_it() -> None:
    """What an earlier release showed and has not changed counts as shown: it once was a hiding place."""
    axes = TABLE.axes
    first = CrossTable("first half", axes, {"month": ("1",)}, shown=False)
    year = CrossTable("year", axes, {"month": ("1", "2")})
    facts = [
        (a, b, month, place, 400 + 7 * place)
        for place, (a, b, month) in enumerate((a, b, month) for a in A for b in B for month in "1122")
    ]
    few = ("a1", "b1", "2")
    facts = [fact for fact in facts if fact[:3] != few] + [(*few, 900, 300)]
    system = link([first, year], contributions(facts, ("a", "b", "month")))
    policy = replace(NO_RULE, threshold=2, interval_minimum=50)
    atom = next(n for n in range(len(system)) if not system.shown[n] and system.contributors[n] == 1)
    found = needs(system, policy, flags(system, [atom]))
    careless = protect(system, policy, found)
    assert careless.proven
    assert not careless.secondary(system).any()
    keep = flags(system, system.tables["first half"])
    pattern = protect(system, policy, found, keep=keep)
    assert pattern.proven
    assert not pattern.hidden[keep].any()
    assert pattern.secondary(system)[cells_of(system, year)["a1", "b1"]]
    up, down_ = pattern.ranges()
    assert up[keep].max() == down_[keep].max() == 0
